"""`vqa serve`: answer over the network in the OpenAI protocol."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from vqa.cli import listening, options
from vqa.errors import InputError


def serve(
    model: options.Model = "embedded",
    adapter: options.Adapter = None,
    adapters: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A folder of adapters, each asked for by its folder's name."
        ),
    ] = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For /v1/embeddings: embedded, a run of `vqa train align`, CLIP or SigLIP.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this computer's need keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    api_keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A key in each line; whoever has none gets 401."),
    ] = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Fetch pictures from http(s) URLs, public ones.")
    ] = False,
    max_new_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Longest answer, whatever is asked for.")
    ] = 1024,
    max_batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="Answers that are written together.")
    ] = 16,
    max_waiting: Annotated[
        int, typer.Option(metavar="N", min=0, help="Requests that wait; others get 429.")
    ] = 64,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
    read: options.Read = "never",
) -> None:
    """Serve models in the OpenAI protocol, and log a line of JSON for each request.

    Chat completions, embeddings, models, and metrics. The log, on standard output, has ids, status,
    times and tokens; no texts, pictures or keys.
    """
    try:
        from vqa.serve.access import ApiKeys
        from vqa.serve.http_app import ServerOptions, create_app
        from vqa.serve.picture_urls import PublicFetcher
        from vqa.serve.running import run
    except ModuleNotFoundError as error:
        raise InputError(f"serving needs {error.name}: pip install 'vqa[serve]'") from error
    keys = ApiKeys.of_file(api_keys) if api_keys is not None else None
    listening.check_address(host, port)
    if keys is None and not listening.is_loopback(host):
        raise InputError(
            f"--host {host} lets other computers in: give the keys that they need by --api-keys "
            "FILE (openssl rand -hex 24 > FILE makes one)"
        )
    from vqa.loading import load_adapters, text_reader

    reader = text_reader(read, stored=False)
    named = _adapters(adapters) if adapters is not None else {}
    name = _public_name(model)
    if name in named:
        raise InputError(f"--adapters {adapters}: {name} is the model's own name: rename it")
    options.announce(model)
    on_model = {name: adapter, **{other: str(path) for other, path in named.items()}}
    answerers = load_adapters(model, on_model, device, dtype, quantize, reader)
    for public, answerer in answerers.items():
        answerer.name = public  # errors are replies: they say no path of this computer
    space = None
    if embeddings is not None:
        encoder = options.load_dual_encoder(embeddings, device)
        space = replace(encoder, name=_public_name(embeddings))
    app = create_app(
        answerers,
        ServerOptions(
            host,
            keys,
            PublicFetcher() if allow_urls else None,
            max_new_tokens,
            max_batch,
            max_waiting,
            sys.stdout,
            reader,
        ),
        space,
    )
    typer.echo(f"vqa: serving {', '.join(answerers)} at {_address(host, port)}", err=True)
    run(app, host, port)


def _address(host: str, port: int) -> str:
    return f"http://{listening.shown(host)}:{port}/v1 (Ctrl+C ends it)"


def _public_name(model: str) -> str:
    """Return the name that clients know: of a path, which is not for them, the last part."""
    return Path(model).resolve().name if "/" in model and Path(model).exists() else model


def _adapters(folder: Path) -> dict[str, Path]:
    """Return the adapters, and runs, in a folder by their names."""
    from vqa.models.checkpoints import is_adapter

    if not folder.is_dir():
        raise InputError(f"--adapters {folder}: no such directory")
    named = {path.name: path for path in sorted(folder.iterdir()) if is_adapter(str(path))}
    if not named:
        raise InputError(f"--adapters {folder} holds no folder with an adapter_config.json")
    return named
