"""`vqa chat`: many questions about pictures in the terminal."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqa.cli import options, standard_input
from vqa.cli.output import message_of
from vqa.errors import InputError, VQAError
from vqa.utils.stopping import SIGNALS

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqa.answering import Answer, SamplingParams
    from vqa.chat import Conversation, Worker

_HELP = "/image PATH adds a picture, /new starts again, /quit ends; Ctrl+C stops an answer."
_HEARTBEAT = 0.2  # seconds between looks at the keyboard while no text comes


def chat(
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PHOTO", help="Pictures to begin with; questions are read from standard input."
        ),
    ] = None,
    model: options.Model = "embedded",
    adapter: options.Adapter = None,
    max_new_tokens: options.MaxNewTokens = 256,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
    read: options.Read = "never",
) -> None:
    """Chat about pictures in the terminal."""
    from vqa.answering import SamplingParams
    from vqa.chat import Worker
    from vqa.inputs.images import load_image
    from vqa.loading import load

    if any(map(standard_input.is_stdin, photos or [])):
        raise InputError("standard input holds the questions of a chat: name a picture's file")
    pictures = [load_image(photo) for photo in standard_input.pictures(photos or [])]
    settings = SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    options.announce(model)
    answerer = load(model, adapter, device, dtype, quantize, read)
    with Worker(answerer) as worker:
        typer.echo(_HELP)
        _Terminal(worker, settings, pictures).run()


class _Terminal:
    """One conversation in the terminal, and the pictures for its next question."""

    def __init__(self, worker: Worker, settings: SamplingParams, pictures: list[Image]) -> None:
        self.worker = worker
        self.settings = settings
        self.start(pictures)

    def start(self, pictures: list[Image]) -> None:
        from vqa.chat import Conversation

        self.conversation: Conversation = Conversation()
        self.pictures = pictures

    def run(self) -> None:
        """Read lines until /quit or the end of input."""
        with suppress(ImportError):
            import readline  # noqa: F401  (arrow keys and history at the prompt)
        while True:
            try:
                line = input("> ").strip()
            except EOFError:
                typer.echo()
                return
            except KeyboardInterrupt as stop:
                _go_on(stop)
                typer.echo("\n/quit ends.")
                continue
            except UnicodeDecodeError:
                raise InputError("standard input is no text in UTF-8: no questions") from None
            if line in ("/quit", "/exit"):
                return
            try:
                self.obey(line)
            except VQAError as error:
                typer.echo(message_of(error), err=True)

    def obey(self, line: str) -> None:
        """Do what one line says.

        Raises VQAError; the conversation then stays as it was, and new pictures are dropped.
        """
        from vqa.inputs.images import load_image

        command, _, rest = line.partition(" ")
        if not line:
            return
        if command == "/new":
            self.start([])
            typer.echo("A new conversation: add a picture with /image PATH.")
        elif command == "/image":
            picture = load_image(Path(os.path.expanduser(rest.strip().strip("'\""))))
            self.pictures.append(picture)
            typer.echo(f"{picture.width} x {picture.height} pixels.")
        elif command.startswith("/") and "/" not in command[1:]:
            typer.echo(_HELP)
        elif not self.pictures and not self.conversation.messages:
            typer.echo("Add a picture first: /image PATH.")
        else:
            self.ask(line)

    def ask(self, question: str) -> None:
        pictures, self.pictures = self.pictures, []  # refused ones, too: else no question is left
        conversation = self.conversation.ask(question, pictures)
        answer = self.follow(conversation)
        if answer.finish_reason == "cancelled":
            typer.echo("(stopped)")
        elif answer.finish_reason == "length":
            typer.echo("(cut off: --max-new-tokens)")
        self.conversation = conversation.answered(answer.text)

    def follow(self, conversation: Conversation) -> Answer:
        """Print the answer as it is written; Ctrl+C ends it where it is."""
        job = self.worker.submit(conversation.request(self.settings))
        try:
            for piece in job.follow(_HEARTBEAT):
                if isinstance(piece, str):
                    typer.echo(piece, nl=False)
        except KeyboardInterrupt as stop:
            job.cancel()
            _go_on(stop)
        typer.echo()
        return job.result()


def _go_on(stop: KeyboardInterrupt) -> None:
    """Ctrl-C ends what is being done, any other signal the chat."""
    if getattr(stop, "number", signal.SIGINT) != signal.SIGINT:
        raise stop
    SIGNALS.reset()
