"""What is this: the main object, the animal, the breed, the food, the garment."""

from __future__ import annotations

import random
from collections.abc import Iterator

from training.mix.picture import Label, Picture
from training.mix.questions.wording import Question, asked, word
from training.mix.questions.words import is_plural, normal_text, plural, with_article
from training.mix.tables import document

_MAIN = (
    "What is the main object in the {image}?",
    "What is the main object in this {image}?",
    "What is the main subject of this {image}?",
    "Which object is shown in this {image}?",
    "Name the main object in the {image}.",
    "What object is this?",
)
_THIS = (
    "What is this?",
    "What is that?",
    "What is shown in the {image}?",
    "What is in the {image}?",
    "What thing is in this {image}?",
)
_KIND = (
    "What {kind} is this?",
    "What {kind} is in the {image}?",
    "Which {kind} is shown in the {image}?",
    "What kind of {kind} is this?",
    "What {kind} do you see?",
    "What {kind} is shown here?",
)
_EXACT = (
    "What kind of {thing} is this?",
    "What type of {thing} is this?",
    "Which kind of {thing} is in the {image}?",
)
_BREED = ("What breed of {thing} is this?", "Which breed is this {thing}?", *_EXACT)
# categories that people ask for by name
_ASKED = {
    "animal": ("animal",),
    "vehicle": ("vehicle",),
    "food": ("food",),
    "fruit": ("fruit", "fruit", "food"),
    "vegetable": ("vegetable", "vegetable", "food"),
    "clothing": ("piece of clothing", "item of clothing", "garment"),
    "drink": ("drink", "product"),
    "dairy product": ("dairy product", "product"),
    "musical instrument": ("musical instrument", "instrument"),
    "tool": ("tool",),
    "building": ("building",),
    "furniture": ("piece of furniture",),
    "sports equipment": ("piece of sports equipment",),
}
_CATEGORY = ("What category does the main object belong to?", "What kind of thing is this?")


_ANIMALS = frozenset(document("words")["animals"])
_VEHICLES = frozenset(document("words")["vehicles"])
_LARGE = 0.25  # share of the picture that a box must fill to be what the picture is about
_NAMED_BY = 3  # captions that must name an animal


def main_object(picture: Picture) -> Label | None:
    """Return what a picture with boxes or captions is about; None where that is not clear.

    It is about the one kind of thing whose box is large and three times as large as any other
    kind's, or about the only animal that captions name.
    """
    largest: dict[str, float] = {}
    for box in picture.boxes:
        if not box.crowd:
            largest[box.name] = max(box.area, largest.get(box.name, 0.0))
    order = sorted(largest, key=lambda name: -largest[name])
    if order and largest[order[0]] >= max((_LARGE, *(3 * largest[name] for name in order[1:]))):
        return Label(order[0], order[0], _category(order[0]))
    if len(picture.counted) == 1:
        ((name, _),) = picture.counted
        return Label(name, name, _category(name))
    texts = [normal_text(caption) for caption in picture.captions]
    named = {
        animal: sum(f" {animal} " in text or f" {plural(animal)} " in text for text in texts)
        for animal in _ANIMALS
    }
    animals = [animal for animal, times in named.items() if times]
    if not picture.annotated and len(animals) == 1 and named[animals[0]] >= _NAMED_BY:
        return Label(animals[0], animals[0], "animal")
    return None


def _category(name: str) -> str:
    return "animal" if name in _ANIMALS else "vehicle" if name in _VEHICLES else ""


def name_questions(picture: Picture, rng: random.Random) -> Iterator[Question]:
    """Ask for the exact name of "the main object", and for the everyday word: "what is this"."""
    label = picture.label or main_object(picture)
    if label is None:
        return
    names = tuple(dict.fromkeys((label.name, label.everyday, *label.synonyms)))
    everyday = tuple(dict.fromkeys((label.everyday, *names)))

    def make(wordings: tuple[str, ...], answers: tuple[str, ...], **fields: str) -> Question:
        text = word(rng, wordings, **fields)
        be = "are" if is_plural(answers[0]) else "is"
        sentence = f"th{'ese' if be == 'are' else 'is'} {be} {with_article(answers[0])}"
        return asked(picture, rng, text, answers, "names", label.name, sentence)

    questions = [make(_MAIN, names)]
    if label.category in _ASKED:
        kind = rng.choice(_ASKED[label.category])
        questions += [make(_KIND, everyday, kind=kind)]
    questions += [make(_THIS, everyday)]
    if label.name != label.everyday:
        wordings = _BREED if label.everyday in {"dog", "cat"} else _EXACT
        questions += [make(wordings, names, thing=label.everyday)]
    if label.category in _ASKED and rng.random() < 0.15:
        questions += [make(_CATEGORY, (label.category,))]
    rng.shuffle(questions)
    yield from questions


def name_check(picture: Picture, rng: random.Random) -> Iterator[Question]:
    """Ask one question for measuring; every accepted name counts as right."""
    label = picture.label or main_object(picture)
    if label is not None:
        names = tuple(dict.fromkeys((label.name, label.everyday, *label.synonyms)))
        question = "What is the main object in the image?"
        yield Question(picture, question, names, "names", label.name)
