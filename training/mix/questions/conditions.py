"""What is the weather like, and what is it made of: labels that name no thing."""

from __future__ import annotations

import random
from collections.abc import Iterator

from training.mix.picture import Picture
from training.mix.questions.wording import Question, asked, word

_WEATHER = (
    "What is the weather like?",
    "What is the weather like in the {image}?",
    "How is the weather?",
    "What kind of weather is this?",
    "What weather is shown in this {image}?",
)
_MATERIAL = (
    "What is this made of?",
    "What material is this?",
    "What is the object made of?",
    "What material is the object in the {image} made of?",
    "Which material is shown in this {image}?",
)
# label: the words to learn first, and others that are right
_SKIES = {
    "cloudy": ("cloudy", "overcast"),
    "foggy": ("foggy", "misty"),
    "rainy": ("rainy", "raining", "rain", "wet"),
    "shine": ("sunny", "clear", "bright"),
    "sunrise": ("clear", "sunny"),  # asked for the time of day instead
}
_TIMES = ("What time of day is it?", "What time of day was this {image} taken?")
_OTHERS = ("sunny", "cloudy", "rainy", "foggy")
_MATERIALS = ("cardboard", "glass", "metal", "paper", "plastic")


def condition_questions(
    picture: Picture, rng: random.Random, check: bool = False
) -> Iterator[Question]:
    """Ask for the weather or material that a label gives: for its name, or for yes or no."""
    kind, _, label = picture.condition.partition(":")
    if kind == "weather" and label == "sunrise":
        answers: tuple[str, ...] = ("sunrise", "sunset", "dawn", "dusk", "morning", "evening")
        text = _TIMES[0] if check else word(rng, _TIMES)
        yield _made(picture, rng, text, answers, f"it is {answers[0]}", check)
    elif kind == "weather":
        answers = _SKIES[label]
        if check or rng.random() < 0.6:
            text = _WEATHER[0] if check else word(rng, _WEATHER)
            yield _made(picture, rng, text, answers, f"it is {answers[0]}", check)
        else:
            yield _yes_or_no(picture, rng, "Is it {} in the {{image}}?", answers[0], _OTHERS)
    elif kind == "material":
        if check or rng.random() < 0.6:
            text = _MATERIAL[0] if check else word(rng, _MATERIAL)
            yield _made(picture, rng, text, (label,), f"it is made of {label}", check)
        else:
            yield _yes_or_no(picture, rng, "Is this made of {}?", label, _MATERIALS)


def _made(
    picture: Picture, rng: random.Random, text: str, answers: tuple[str, ...], sentence: str,
    check: bool,
) -> Question:  # fmt: skip
    if check:
        return Question(picture, text, answers, "conditions", answers[0])
    return asked(picture, rng, text, answers, "conditions", answers[0], sentence)


def _yes_or_no(
    picture: Picture, rng: random.Random, wording: str, label: str, every: tuple[str, ...]
) -> Question:
    right = rng.random() < 0.5
    name = label if right else rng.choice([other for other in every if other != label])
    text = word(rng, (wording.format(name),))
    return asked(picture, rng, text, ("yes" if right else "no",), "conditions", label)
