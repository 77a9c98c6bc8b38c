"""`vqa chat`: many questions about pictures in the terminal."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqa.cli import options
from vqa.errors import VQAError

if TYPE_CHECKING:
    from PIL.Image import Image

    from vqa.answering import Answer, Settings
    from vqa.chat import Conversation, Worker

_HELP = "/image PATH adds a picture, /new starts again, /quit ends; Ctrl+C stops an answer."
_HEARTBEAT = 0.2  # seconds between looks at the keyboard while no text comes


def chat(
    photos: Annotated[
        list[str] | None, typer.Argument(metavar="PHOTO", help="Pictures to begin with.")
    ] = None,
    model: options.Model = "embedded",
    adapter: options.Adapter = None,
    max_new_tokens: options.MaxNewTokens = 256,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
) -> None:
    """Chat about pictures in the terminal."""
    from vqa.answering import Settings
    from vqa.chat import Worker
    from vqa.images import load_image

    pictures = [load_image(photo) for photo in photos or []]
    settings = Settings(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    answerer = options.load_answerer(model, adapter, device, dtype, quantize)
    with Worker(answerer) as worker:
        typer.echo(_HELP)
        _Terminal(worker, settings, pictures).run()


class _Terminal:
    """One conversation in the terminal, and the pictures for its next question."""

    def __init__(self, worker: Worker, settings: Settings, pictures: list[Image]) -> None:
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
            except KeyboardInterrupt:
                typer.echo("\n/quit ends.")
                continue
            if line in ("/quit", "/exit"):
                return
            try:
                self.obey(line)
            except VQAError as error:
                typer.echo(str(error), err=True)

    def obey(self, line: str) -> None:
        """Do what one line says.

        Raises VQAError; the conversation then stays as it was, and new pictures are dropped.
        """
        from vqa.images import load_image

        command, _, rest = line.partition(" ")
        if not line:
            return
        if command == "/new":
            self.start([])
            typer.echo("A new conversation: add a picture with /image PATH.")
        elif command == "/image":
            picture = load_image(Path(rest.strip().strip("'\"")).expanduser())
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
        asked = self.conversation.ask(question, pictures)
        answer = self.follow(asked)
        if answer.finish == "cancelled":
            typer.echo("(stopped)")
        elif answer.finish == "length":
            typer.echo("(cut off: --max-new-tokens)")
        self.conversation = asked.answered(answer.text)

    def follow(self, asked: Conversation) -> Answer:
        """Print the answer as it is written; Ctrl+C ends it where it is."""
        job = self.worker.submit(asked.request(self.settings))
        try:
            for piece in job.follow(_HEARTBEAT):
                if isinstance(piece, str):
                    typer.echo(piece, nl=False)
        except KeyboardInterrupt:
            job.cancel()
        typer.echo()
        return job.result()
