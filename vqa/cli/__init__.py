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

from vqa.cli import output
from vqa.cli.ask import ask
from vqa.cli.chat import chat
from vqa.cli.classify import classify, score_caption
from vqa.cli.compare import compare
from vqa.cli.data import data_app
from vqa.cli.doctor import doctor
from vqa.cli.evaluate import evaluate
from vqa.cli.export import export, verify
from vqa.cli.merge import average, merge
from vqa.cli.models import models_app
from vqa.cli.page import app_command
from vqa.cli.predict import merge_predictions, predict
from vqa.cli.read import read
from vqa.cli.report import report
from vqa.cli.score import score
from vqa.cli.search import search_app
from vqa.cli.serve import serve
from vqa.cli.train import train
from vqa.errors import VQAError
from vqa.models.runs import UnfinishedRun
from vqa.utils import streams
from vqa.utils.console import one_line
from vqa.utils.stopping import SIGNALS, Stopped, stopping
from vqa.version import __version__


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Typer itself would end at Ctrl-C without a word."""
        with stopping():
            return super().invoke(ctx)


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
app.command()(serve)
app.command()(train)
app.command()(merge)
app.command()(average)
app.command()(export)
app.command()(verify)
app.command()(predict)
app.command()(merge_predictions)
app.command()(score)
app.command()(compare)
app.command()(report)
app.command("eval")(evaluate)
app.command()(classify)
app.command()(score_caption)
app.command()(read)
app.command()(doctor)
app.add_typer(search_app, name="search")
app.add_typer(models_app, name="models")
app.add_typer(data_app, name="data")


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"vqa {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Answers questions about pictures."""
    output.forget()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process. VQA_DEBUG=1 shows tracebacks and library logs."""
    with SIGNALS.installed():
        code = _run(arguments)
        SIGNALS.idle()
    sys.exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    debug = bool(os.environ.get("VQA_DEBUG"))
    if not debug:
        _quiet()
    SIGNALS.work()
    try:
        result = app(args=arguments, prog_name="vqa", standalone_mode=False)
        if SIGNALS.ending:  # Typer ends at Ctrl-C without a word, where no command has begun
            raise Stopped(SIGNALS.received)
        if sys.stdout is not None:
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except typer.TyperException as error:  # options and arguments
        return _usage(error)
    except BrokenPipeError:  # the reader wants no more, as in `vqa ... | head`
        streams.discard_output()
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if SIGNALS.ending and not isinstance(error, Stopped):
            error = Stopped(SIGNALS.received)  # what it breaks off may fail in ways of its own
        elif debug:
            raise
        streams.discard_output()
        return _fail(*_message_and_code(error))


def _message_and_code(error: BaseException) -> tuple[str, int]:
    """Return the message of a failure, and the exit code."""
    if isinstance(error, VQAError):
        return output.message_of(error), error.exit_code
    if isinstance(error, OSError) and error.strerror:  # a full disk, a directory without access
        code = 2 if error.errno == errno.ENAMETOOLONG else 1
        name = error.filename2 or error.filename  # of a copy or a new name, where it was to go
        return f"{name}: {error.strerror}" if name else error.strerror, code
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
    typer.echo(f"vqa: {one_line(message, 3000)}", err=True)
    return code


def _show_note(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning of the library, as of an unfinished run, in one line."""
    typer.echo(f"vqa: {message}", err=True)


def _quiet() -> None:
    """Keep the libraries' notes to developers out of the terminal."""
    for name, value in (
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"),
    ):
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("once", category=UnfinishedRun)
    warnings.showwarning = _show_note
    for name in ("bitsandbytes", "torchao", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
