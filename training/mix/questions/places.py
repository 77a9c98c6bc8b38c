"""What kind of place is this, and is it indoors or outdoors."""

from __future__ import annotations

import random
from collections.abc import Iterator

from training.mix.picture import Picture
from training.mix.questions.wording import Question, asked, word
from training.mix.questions.words import normal_text, with_article
from training.mix.tables import document, rows

_PLACE = (
    "What kind of place is this?",
    "What kind of place is shown in the {image}?",
    "What type of place is this?",
    "What place is this?",
    "Where was this {image} taken?",
    "Where is this?",
    "What scene is this?",
    "What is the setting of this {image}?",
)
_ROOM = ("What room is this?", "Which room is this?", "What kind of room is this?")
_ROOMS = frozenset(document("words")["rooms"])
_IN_OR_OUT = (
    "Is this indoors or outdoors?",
    "Is this inside or outside?",
    "Was this {image} taken indoors or outdoors?",
    "Is the {image} taken indoors or outdoors?",
)
_IN = ("Is this indoors?", "Was this {image} taken indoors?", "Was this taken inside?")
_OUT = ("Is this outdoors?", "Was this {image} taken outside?", "Was this taken outdoors?")


def place(picture: Picture) -> tuple[str, str]:
    """Return the kind of place and `indoors` or `outdoors`; empty where it is not sure.

    It is known from the scene that the data set names, else from words in the captions, of which no
    two may disagree; DAQUAR's pictures are all of rooms.
    """
    if picture.scene:
        return _scenes().get(picture.scene, ("", ""))
    if picture.source == "daquar":
        return "", "indoors"
    if not picture.captions:
        return "", ""
    text = "".join(normal_text(caption) for caption in picture.captions)
    cues = document("places")
    names = {
        name
        for name, words in cues["places"].items()
        if sum(f" {w} " in normal_text(c) for c in picture.captions for w in words) >= 2
    }
    inside = any(f" {word} " in text for word in cues["indoors"])
    outside = any(f" {word} " in text for word in cues["outdoors"])
    where = "" if inside == outside else "indoors" if inside else "outdoors"
    return (names.pop() if len(names) == 1 else ""), where


def place_questions(picture: Picture, rng: random.Random) -> Iterator[Question]:
    """Ask for the kind of place, once."""
    name, _ = place(picture)
    if name:
        wordings = _ROOM if name in _ROOMS and rng.random() < 0.3 else _PLACE
        sentence = f"this is {with_article(name)}"
        yield asked(picture, rng, word(rng, wordings), (name,), "places", name, sentence)


def place_check(picture: Picture, rng: random.Random) -> Iterator[Question]:
    """Ask one question in plain words for measuring."""
    name, _ = place(picture)
    if name:
        answers = (name, with_article(name))
        yield Question(picture, "What kind of place is this?", answers, "places", name)


def indoor_questions(picture: Picture, rng: random.Random) -> Iterator[Question]:
    """Ask whether it is indoors or outdoors, as a choice or, in equal shares, as yes and no."""
    _, where = place(picture)
    if not where:
        return
    sentence = f"it is {where}"
    if rng.random() < 0.5:
        text, answer = word(rng, _IN_OR_OUT), where
        if "inside or outside" in text:
            answer = "inside" if where == "indoors" else "outside"
    else:
        asked_indoors = rng.random() < 0.5
        text = word(rng, _IN if asked_indoors else _OUT)
        answer = "yes" if asked_indoors == (where == "indoors") else "no"
        sentence = f"{answer}, {sentence}"
    yield asked(picture, rng, text, (answer,), "indoors", where, sentence)


def _scenes() -> dict[str, tuple[str, str]]:
    return {scene: (name, where) for scene, name, where in rows("scenes")}
