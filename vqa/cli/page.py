"""`vqa app`: start the page."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vqa.cli import listening, options
from vqa.errors import InputError, VQAError
from vqa.loading import check_fusion
from vqa.models.model_files import EMBEDDED_NAMES, holds_model
from vqa.models.runs import resolve_weights
from vqa.utils import streams

_SETTINGS = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",  # a traceback belongs into the terminal
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": "true",
    # which looks through half a million objects of torch's, 0.3 s in which no answer is written
    "runner.postScriptGC": "false",
    "server.enableAgentApi": "false",
    "server.enableCORS": "true",
    "server.enableStaticServing": "false",
    "server.enableXsrfProtection": "true",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "100",  # MB
    "server.showEmailPrompt": "false",
    # one of each kind, or the page would not be dark where the browser is
    "theme.light.primaryColor": "#2f5f9e",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#f4f5f7",
    "theme.light.textColor": "#22262b",
    "theme.dark.primaryColor": "#3f78c0",
    "theme.dark.backgroundColor": "#15181c",
    "theme.dark.secondaryBackgroundColor": "#20252b",
    "theme.dark.textColor": "#e6e8eb",
}


def app_command(
    model: options.Model = "embedded",
    adapter: options.Adapter = None,
    port: Annotated[int, typer.Option(help="Port of the page.", min=1, max=65535)] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other computers in.")
    ] = "127.0.0.1",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
    read: options.Read = "never",
    min_confidence: options.MinConfidence = None,
    history: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where conversations are kept; default: for this user."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Another name by which browsers reach the page, as through a proxy (repeatable).",
        ),
    ] = None,
) -> None:
    """Open a page to chat about pictures in the browser."""
    _check_model(model, adapter)
    check_fusion(model, adapter, quantize)
    listening.check_address(host, port)
    allowed = tuple(map(_allowed, allow_host or ()))
    # this package brings what takes pictures, which `vqa --help` can do without
    from vqa.chat.history import History, history_directory
    from vqa.chat.page_options import ENVIRONMENT, ModelChoice, PageOptions

    History(history or history_directory()).close()  # says now what is wrong with it
    page = Path(__file__).resolve().parents[2] / "app" / "server.py"  # never by a name to import:
    if not page.is_file():  # the user's own directory may hold an `app.py` or `app/`
        raise VQAError(f"{page} is missing: install vqa again.")
    page_options = PageOptions(
        ModelChoice(model, adapter, device, dtype, quantize, read),
        min_confidence,
        str(history.absolute()) if history else None,
        listening.is_loopback(host) and not allowed,  # who comes by another name may be anybody
        host,
        allowed,
    )
    environment = {
        # threads of the model that spin while they wait would keep the page from being drawn
        "OMP_WAIT_POLICY": "passive",
        **os.environ,
        ENVIRONMENT: json.dumps(asdict(page_options)),
    }
    settings = {**_SETTINGS, "server.address": host, "server.port": str(port)}
    typer.echo(f"The page: http://{listening.shown(host)}:{port} (Ctrl+C ends it)", err=True)
    streams.prepare_exec()
    os.execve(sys.executable, _streamlit(page, settings), environment)


def _streamlit(page: Path, settings: dict[str, str]) -> list[str]:
    # -P: what lies in the working directory must not pose as a module of ours or of Streamlit.
    command = [sys.executable, "-P", "-m", "vqa.utils.processes", "run", str(page)]
    return command + [f"--{name}={value}" for name, value in settings.items()]


def _check_model(model: str, adapter: str | None) -> None:
    """Refuse at once what cannot be a model; the page itself would find out only later."""
    path = Path(resolve_weights(model))
    if path.exists() and model not in EMBEDDED_NAMES:
        if not holds_model(path):
            raise InputError(f"{model} holds no model: no config.json, no adapter_config.json.")
    elif path.is_absolute() or model.startswith(".") or model.count("/") > 1 or not model:
        raise InputError(f"{model!r}: no such directory; check --model.")
    if (
        adapter is not None
        and not (Path(resolve_weights(adapter)) / "adapter_config.json").is_file()
    ):
        raise InputError(f"{adapter} holds no adapter: no adapter_config.json.")


def _allowed(name: str) -> str:
    """Return a name, with or without a port, as browsers write it. Raises InputError for others."""
    from vqa.utils.allowed_hosts import HOST

    address = name.strip().lower()
    if not address.isascii():
        with suppress(UnicodeError):
            address = address.encode("idna").decode()
    if not HOST.fullmatch(address):
        raise InputError(
            f"--allow-host {name!r} is no name: write it as the browser does, without http:// and "
            "path, as in vqa.example.org, vqa.example.org:8443 or [2001:db8::1]."
        )
    return address
