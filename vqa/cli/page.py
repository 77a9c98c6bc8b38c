"""`vqa app`: start the page, and build the answerer that it asks."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqa.cli import options
from vqa.cli.confidence import MinConfidence
from vqa.errors import InputError, VQAError
from vqa.model_choice import Choice

if TYPE_CHECKING:
    from vqa.answering import Answerer

_OPTIONS_OF_PAGE = "VQA_APP"  # environment variable from the command to the page, JSON
_SETTINGS = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",  # a traceback belongs into the terminal
    "client.toolbarMode": "minimal",
    "logger.hideWelcomeMessage": "true",
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


@dataclass(frozen=True)
class PageOptions:
    """What the page is told by the command."""

    choice: Choice = field(default_factory=Choice)  # the model it begins with
    min_confidence: float | None = None  # an answer of less is "not sure"
    history: str | None = None  # directory of the conversations; None: the user's own
    local: bool = True  # only this computer reaches the page


def page_options() -> PageOptions:
    """What `vqa app` was asked for; the embedded model where the page was started otherwise."""
    found = json.loads(os.environ.get(_OPTIONS_OF_PAGE, "{}"))
    return PageOptions(**{**found, "choice": Choice(**found.get("choice", {}))})


def build_answerer(choice: Choice) -> Answerer:
    """Load what answers on the page. Takes seconds to minutes; raises VQAError."""
    return options.load_answerer(
        choice.name, choice.adapter, choice.device, choice.dtype, choice.quantize
    )


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
    min_confidence: MinConfidence = None,
    history: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where conversations are kept; default: for this user."),
    ] = None,
) -> None:
    """Open a page to chat about pictures in the browser."""
    _check_model(model, adapter)
    options.check_fusion(model, adapter, quantize)
    _check_address(host, port)
    from vqa.chat.history import History, history_directory

    History(history or history_directory()).close()  # says now what is wrong with it
    page = Path(__file__).resolve().parents[2] / "app" / "server.py"  # never by a name to import:
    if not page.is_file():  # the user's own directory may hold an `app.py` or `app/`
        raise VQAError(f"{page} is missing: install vqa again.")
    wanted = PageOptions(
        Choice(model, adapter, device, dtype, quantize),
        min_confidence,
        str(history.absolute()) if history else None,
        _is_loopback(host),
    )
    environment = {
        # threads of the model that spin while they wait would keep the page from being drawn
        "OMP_WAIT_POLICY": "passive",
        **os.environ,
        _OPTIONS_OF_PAGE: json.dumps(asdict(wanted)),
    }
    settings = {**_SETTINGS, "server.address": host, "server.port": str(port)}
    typer.echo(f"The page: http://{_shown(host)}:{port} (Ctrl+C ends it)", err=True)
    os.execve(sys.executable, _streamlit(page, settings), environment)


def _streamlit(page: Path, settings: dict[str, str]) -> list[str]:
    # -P: what lies in the working directory must not pose as a module of ours or of Streamlit.
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(page)]
    return command + [f"--{name}={value}" for name, value in settings.items()]


def _check_model(model: str, adapter: str | None) -> None:
    """Refuse at once what cannot be a model; the page itself would find out only later."""
    path = Path(model)
    if path.exists() and model not in ("embedded", "embedded/base"):
        if not any((path / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise InputError(f"{model} holds no model: no config.json, no adapter_config.json.")
    elif path.is_absolute() or model.startswith(".") or model.count("/") > 1 or not model:
        raise InputError(f"{model!r}: no such directory; check --model.")
    if adapter is not None and not (Path(adapter) / "adapter_config.json").is_file():
        raise InputError(f"{adapter} holds no adapter: no adapter_config.json.")


def _check_address(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"Cannot listen on {host}, port {port} ({error.strerror}): try another --port."
        ) from error


def _is_loopback(host: str) -> bool:
    address = socket.getaddrinfo(host, None)[0][4][0]
    return ipaddress.ip_address(str(address).partition("%")[0]).is_loopback


def _shown(host: str) -> str:
    host = "localhost" if host in ("0.0.0.0", "::") else host
    return f"[{host}]" if ":" in host else host
