"""What is written in a picture: the text, the total, the date, or that nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from training.mix.picture import Picture
from training.mix.questions.refusals import REFUSAL
from training.mix.questions.wording import Question, asked, word
from training.mix.rendered.held_out import Draw
from training.mix.rendered.page import Page
from training.mix.tables import document

NO_TEXT = "There is no text."
_MISSING = {"phone": "phone number", "total": "total", "date": "date"}
_OFTEN = frozenset({"text", "total", "date", "street"})
_MOST = 2  # other facts that are asked of a page
Needs = Literal["answer", "text", "no text", ""]


@dataclass(frozen=True)
class WrittenQuestion:
    """A question about a picture with text, or without."""

    question: Question
    kind: str  # of picture and question, which scores are for
    needs: Needs = ""  # what a reader must read, for it to fit


def page_questions(picture: Picture, page: Page, draw: Draw) -> Iterator[WrittenQuestion]:
    """Ask for facts of a page, now and then whether anything is written, or for what is not."""
    often = [fact for fact in page.facts if fact.about in _OFTEN]
    rare = [fact for fact in page.facts if fact.about not in _OFTEN]
    for fact in (*often, *draw.rng.sample(rare, k=min(_MOST, len(rare)))):
        text = _worded(fact.about, page.kind, page.chinese, fact.fields, draw)
        question = _asked(picture, text, (fact.answer,), draw)
        kind = f"{'chinese ' if page.chinese else ''}{page.kind} {fact.about}"
        yield WrittenQuestion(question, kind, needs="answer")
    if draw.chance(0.15):
        yield is_anything_written(picture, "yes", draw)
    missing = [about for about in _MISSING if about not in {fact.about for fact in page.facts}]
    if page.kind in ("sign", "screen") and draw.chance(0.2):
        about = draw.rng.choice(missing)
        text = _worded(about, page.kind, page.chinese, {}, draw)
        answer = f"There is no {_MISSING[about]}."
        yield WrittenQuestion(Question(picture, text, (answer,), "text"), "missing", "text")


def overlay_question(picture: Picture, text: str, draw: Draw) -> WrittenQuestion:
    """Ask for the text over a photo."""
    wording = _worded("text", "image", False, {}, draw)
    question = _asked(picture, wording, (text,), draw)
    return WrittenQuestion(question, "photo text", needs="answer")


def nothing_questions(picture: Picture, draw: Draw) -> Iterator[WrittenQuestion]:
    """Ask for text where there is none."""
    about = draw.rng.choice(("text", "text", "text", *_MISSING))
    kind = draw.rng.choice(("sign", "image", "label"))
    text = _worded(about, kind, False, {}, draw)
    answers = (NO_TEXT,) if about == "text" else (NO_TEXT, REFUSAL)
    yield WrittenQuestion(Question(picture, text, answers, "text"), "no text", "no text")
    yield is_anything_written(picture, "no", draw)


def is_anything_written(picture: Picture, answer: str, draw: Draw) -> WrittenQuestion:
    """Ask whether there is text."""
    question = _asked(picture, _worded("any", "image", False, {}, draw), (answer,), draw)
    needs: Needs = "text" if answer == "yes" else "no text"
    return WrittenQuestion(question, f"is there text: {answer}", needs)


def _asked(picture: Picture, text: str, answers: tuple[str, ...], draw: Draw) -> Question:
    if draw.held_out or not text.isascii():  # measured as it is; instructions are English
        return Question(picture, text, answers, "text")
    return asked(picture, draw.rng, text, answers, "text")


def _worded(about: str, kind: str, chinese: bool, fields: dict[str, str], draw: Draw) -> str:
    questions: dict[str, Sequence[str]] = document("written")["questions"]
    wordings = questions[about]
    if chinese and about in document("written")["chinese_questions"] and draw.chance(0.4):
        wordings = document("written")["chinese_questions"][about]
    if draw.held_out:
        wordings = wordings[:1]
    return word(draw.rng, wordings, kind=kind, **fields)
