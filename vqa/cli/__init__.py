"""The `vqa` command. Every failure is one line: exit code 2 for wrong input, 1 for a failed run."""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from vqa.cli.ask import ask
from vqa.cli.chat import chat
from vqa.cli.classify import classify, score_caption
from vqa.cli.compare import compare
from vqa.cli.data import data_app
from vqa.cli.merge import average, merge
from vqa.cli.models import models_app
from vqa.cli.page import app_command
from vqa.cli.predict import merge_predictions, predict
from vqa.cli.report import report
from vqa.cli.score import score
from vqa.cli.search import search_app
from vqa.cli.train import train
from vqa.errors import VQAError
from vqa.version import __version__


class _Interrupted(VQAError):
    exit_code = 130  # as a shell has it


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Typer itself would end at Ctrl+C without a word."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _Interrupted("interrupted") from error


app = typer.Typer(
    cls=_Commands,
    help="Answers questions about pictures.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(ask)
app.command()(chat)
app.command("app")(app_command)
app.command()(train)
app.command()(merge)
app.command()(average)
app.command()(predict)
app.command()(merge_predictions)
app.command()(score)
app.command()(compare)
app.command()(report)
app.command()(classify)
app.command()(score_caption)
app.add_typer(search_app, name="search")
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vqa {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Answers questions about pictures."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process. VQA_DEBUG=1 shows tracebacks and library logs."""
    debug = bool(os.environ.get("VQA_DEBUG"))
    if not debug:
        _quiet()
    try:
        result = app(args=arguments, prog_name="vqa", standalone_mode=False)
        sys.stdout.flush()
        code = result if isinstance(result, int) else 0
    except typer.TyperException as error:  # options and arguments
        code = _usage(error)
    except BrokenPipeError:  # the reader has seen enough, as in `vqa ... | head`
        _drop_output()
        code = 1
    except Exception as error:
        if debug:
            raise
        _drop_output()
        code = _fail(*_told(error))
    sys.exit(code)


def _drop_output() -> None:
    """Output that could not be written must not fail once more when the process ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: Exception) -> tuple[str, int]:
    """What to say about a failure, and the exit code."""
    if isinstance(error, VQAError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.strerror:  # a full disk, a directory without access
        code = 2 if error.errno == errno.ENAMETOOLONG else 1
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror, code
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"{what} (set VQA_DEBUG=1 for the traceback)", 1


def _usage(error: typer.TyperException) -> int:
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if not message and context is not None:  # a group without its command: help was printed
        return error.exit_code
    command = context.command_path if context is not None else "vqa"
    return _fail(f"{message.rstrip('.')} (see {command} --help)", error.exit_code)


def _fail(message: str, code: int) -> int:
    """Print one line, whatever a file name or a library has put into the message."""
    line = " ".join(message.split())
    line = "".join(char if char.isprintable() else "?" for char in line)
    typer.echo(f"vqa: {line}", err=True)
    return code


def _quiet() -> None:
    """Keep the libraries' notes to developers out of the terminal."""
    for name, value in (
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"),
    ):
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore")
    for name in ("bitsandbytes", "torchao", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
