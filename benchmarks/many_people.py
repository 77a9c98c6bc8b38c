"""Many people ask short questions while a guest is given a very long answer: who waits how long.

    python benchmarks/many_people.py                    the embedded model, 20 people, 2,048 tokens
    python benchmarks/many_people.py --pause 0          all of them at the same moment

Everybody asks about a picture of their own, through the service that the page uses, and waits until
the answer is stored; before each question they think for up to `--pause` seconds. The long answer
is sampled at random, so that it does not end by itself. With `--dtype float32` each answer must be
what the same model answers alone; in 16 bits a batch rounds otherwise, and those that differ are
counted. The same is measured with answers that are written one after the other.
"""

from __future__ import annotations

import io
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vqa.answering import Answer, Answerer, Request, SamplingParams, SupportsClearing
from vqa.chat import Conversation, Worker
from vqa.chat.history import History
from vqa.chat.page_options import ModelChoice
from vqa.chat.service import ChatService, Upload
from vqa.inputs.images import load_image
from vqa.loading import load_choice

ROOT = Path(__file__).parents[1]
QUESTIONS = ("Is there a cat in the picture?", "What is in the picture?", "Is it outside?")
RANDOM = 1000.0  # a temperature at which every token is as likely as the end
SETTINGS = SamplingParams(max_new_tokens=256)  # as the page begins with


@dataclass(frozen=True)
class Person:
    """Somebody with a picture, what they ask about it, and what must be answered."""

    name: str
    picture: Upload
    questions: Sequence[str]
    answers: Sequence[str]


@dataclass(frozen=True)
class Waits:
    """How long short answers took, in seconds."""

    answers: int
    differing: list[str]  # from what is answered alone
    median: float
    longest: float
    long_ended: bool  # the long answer, before the last of the others: then some had it easier


class OneAfterTheOther:
    """An answerer without its batches."""

    def __init__(self, answerer: Answerer) -> None:
        self.name = answerer.name
        self.answer = answerer.answer
        self._answerer = answerer

    def clear_caches(self) -> None:
        """Drop what the answerer has cached."""
        if isinstance(self._answerer, SupportsClearing):
            self._answerer.clear_caches()

    def stream(self, request: Request, cancel: Event | None = None) -> Iterator[str | Answer]:
        """Stream as the answerer does."""
        return self._answerer.stream(request, cancel)


def people_with(answerer: Answerer, count: int, questions: int) -> list[Person]:
    """Make people with crops of the examples that nobody else has, and what is answered to them."""
    paths = sorted((ROOT / "examples").glob("*.jpg"))
    people = []
    for number in range(count):
        edge = 5 * (number // len(paths) + 1)
        picture = load_image(paths[number % len(paths)])
        picture = picture.crop((edge, edge, picture.width - edge, picture.height - edge))
        file = io.BytesIO()
        picture.save(file, "PNG")
        asked = [QUESTIONS[(number + turn) % len(QUESTIONS)] for turn in range(questions)]
        talk, answers = Conversation(), []
        for turn, question in enumerate(asked):
            talk = talk.ask(question, [] if turn else [picture])
            answers.append(answerer.answer([talk.request(SETTINGS)])[0].text)
            talk = talk.answered(answers[-1])
        upload = Upload(f"{number}.png", file.getvalue())
        people.append(Person(f"person {number}", upload, asked, answers))
    return people


def measure(answerer: Answerer, people: Sequence[Person], tokens: int, pause: float) -> Waits:
    """Let a guest ask for a long answer, then all people ask, and look at what was stored."""
    if isinstance(answerer, SupportsClearing):
        answerer.clear_caches()
    with tempfile.TemporaryDirectory() as folder, Worker(answerer) as worker:
        history = History(Path(folder))
        service = ChatService(history, lambda: worker)
        guest = history.start("guest")
        settings = SamplingParams(max_new_tokens=tokens, temperature=RANDOM)
        long = service.ask("guest", guest, "Describe it.", [people[0].picture], settings)
        job = service.job(long)
        assert job is not None
        next(job.follow())  # its first word
        with ThreadPoolExecutor(len(people)) as pool:
            waits = [*pool.map(lambda person: _converse(service, person, pause), people)]
        ended = job.done
        service.stop("guest", long)
        service.wait(long)
        every = [wait for one in waits for wait in one]
        differing = [line for person in people for line in _differing(history, person)]
        history.close()
    return Waits(len(every), differing, statistics.median(every), max(every), ended)


def _converse(service: ChatService, person: Person, pause: float) -> list[float]:
    key, waits = service.history.start(person.name), []
    draw = random.Random(person.name)
    for turn, question in enumerate(person.questions):
        time.sleep(draw.uniform(0, pause))
        began = time.perf_counter()
        pictures = [] if turn else [person.picture]
        service.wait(service.ask(person.name, key, question, pictures, SETTINGS))
        waits.append(time.perf_counter() - began)
    return waits


def _differing(history: History, person: Person) -> Iterator[str]:
    """Yield what of a person's conversations is not what was asked and is to be answered."""
    expected = [
        text for pair in zip(person.questions, person.answers, strict=True) for text in pair
    ]
    (conversation,) = history.conversations(person.name)
    texts = [turn.text for turn in history.branch(person.name, conversation.id)]
    if texts != expected:
        yield f"{person.name}: expected {expected}, stored {texts}"


def main(
    model: Annotated[str, typer.Option(help="As for `vqa app`.")] = "embedded",
    people: Annotated[int, typer.Option(min=1, help="Who ask short questions.")] = 20,
    questions: Annotated[int, typer.Option(min=1, help="Of each of them.")] = 2,
    tokens: Annotated[int, typer.Option(min=1, help="Of the long answer.")] = 2048,
    pause: Annotated[float, typer.Option(min=0, help="Most seconds before a question.")] = 10.0,
    dtype: Annotated[str, typer.Option(help="Type of the weights.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no table.")] = False,
) -> None:
    """Measure, print, and fail where an answer in float32 is another one."""
    answerer = load_choice(ModelChoice(model, dtype=dtype))
    crowd = people_with(answerer, people, questions)
    figures = {
        "together": measure(answerer, crowd, tokens, pause),
        "one after the other": measure(OneAfterTheOther(answerer), crowd, tokens, pause),
    }
    if as_json:
        print(json.dumps({name: asdict(waits) for name, waits in figures.items()}, indent=2))
    else:
        table = Table("what", *figures, title=f"{model}: {people} people, pause {pause} s")
        for name in asdict(figures["together"]):
            values = [getattr(waits, name) for waits in figures.values()]
            values = [len(value) if isinstance(value, list) else value for value in values]
            cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
            table.add_row(name.replace("_", " "), *cells)
        Console().print(table)
    if dtype == "float32" and any(waits.differing for waits in figures.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
