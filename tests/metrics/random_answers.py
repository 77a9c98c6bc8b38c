"""Random answers with all that the rules of the metrics look at, and with none of it."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence

from vqa.metrics import Item

COUNT = 2000
_WORDS = """
a an the A The dog dogs cat CAT t-shirt T-Shirt red Red and/or two 2 TWO none zero ten Ten 10 2,000
2000 1,,2 3.5 5. .5 5% 12.0% 0 -3 1e3 nan inf U.S.A. p.m. dont don't Dont isnt its it's somebody'd
youd've yes Yes YES no No. not B b (B) B. C: A) Z answer is, what? (left) [x] {y} semi;colon _under_
@home #1 café straße 狗 ٣,٣ ... !! " ` < > = + \\ / * ,
"""
_CAPTION_WORDS = """
a A two dog dogs man woman runs running on the grass beach, red-brown T-shirt isn't dog's in front
of an old house. playing (with) his ball and 3 cats 2,000 ; ‘new’ "blue" near mr. smith's
"""
_SPACES = (" ", " ", " ", " ", "  ", "\n", "\t", "")
_NUMBERS = (
    "{:g}", "{:.2f}", "{:g}%", " {:g}", "{:g}\n", "{:,.0f}", "{:g} km", "${:g}", "{:g}%%",
)  # fmt: skip
_YES_NO = (
    "Yes", "yes", "No", "no.", "Yes, there is.", "no, there is no dog", " yes\n", "Yes and no",
    "nothing", "yes!", "(no)", "no-one", "The answer is yes", "it is not", "YES", "yes/no",
    "not sure", "-no", "noyes", "yes,1,2", "yès", "",
)  # fmt: skip
_CHOICES = ("a cat", "a dog", "Two dogs", "red", "B", "12", "", "none of these", "the left one")
_CHOSEN = (
    "{}", "{}", " {}", "{}\n", "{}.", "{}. {}", " {}. {}", "{}) {}", "({})", "({}) {}", "{}: {}",
    "The answer is {}", "the answer is {}.", "{} is what I see on the left side here", "{} {}",
    "It is {1}", "It shows {1}, I think", "{1}", "Z", "{0} or A", "{0}, {0}", "**{0}**", "#{0}",
    "Cannot determine the answer, {}", "Failed to obtain answer via API. {}", "[{}]", "{{{}}}",
    "I think that it must be {1}, as far as anybody can tell from so small a picture as this",
    "\\boxed{{{}}}", "<answer>{}</answer>", "{}。", "答案是{}", "nothing of these", "\u212a",
    "{0}. {1}, since it is neither of the others", "{1} {0} and so on and on and on", "Z {}",
)  # fmt: skip


def vqa_items(seed: int) -> list[Item]:
    """Predictions with one to ten answers, a fifth of them unanimous."""
    draw = random.Random(seed)
    predictions = _texts(draw, 4)
    rounds = [_changed(draw, predictions) for _ in range(5)]
    items = []
    for i, text in enumerate(predictions):
        counts = (1, 2, 5, 10, 10)
        answers = [draw.choice(rounds)[i] for _ in range(draw.choice(counts))]
        items.append(Item(text, tuple(answers) if draw.random() < 0.8 else (rounds[0][i],) * 10))
    return items


def text_items(seed: int, most: int = 3) -> list[Item]:
    """Predictions of up to `most` words with one to three answers."""
    draw = random.Random(seed)
    predictions = _texts(draw, most)
    rounds = [_changed(draw, predictions) for _ in range(3)]
    return [
        Item(text, tuple(r[i] for r in rounds[: 1 + i % 3])) for i, text in enumerate(predictions)
    ]


def number_items(seed: int) -> list[Item]:
    """Numbers in many spellings, about half of them within 5 %."""
    draw = random.Random(seed)
    items = []
    for _ in range(COUNT):
        value = draw.choice((draw.uniform(-50, 50), float(draw.randint(0, 20)), 0.0, 1e6))
        near = value * draw.uniform(0.92, 1.08)
        prediction, wanted = (draw.choice(_NUMBERS).format(number) for number in (near, value))
        answers = (wanted, draw.choice(("Yes", "12", "12%")))
        items.append(Item(prediction, answers[: draw.randint(1, 2)]))
    return items


def choice_items(seed: int) -> list[Item]:
    """Choices named by letter, by text, by both or not at all."""
    draw = random.Random(seed)
    items: list[Item] = []
    while len(items) < COUNT:
        choices = draw.sample(_CHOICES, draw.randint(2, 5))
        place = draw.randrange(len(choices))
        letter = string.ascii_uppercase[place]
        letter = draw.choice((letter, letter, letter, letter.lower()))
        prediction = draw.choice(_CHOSEN).format(letter, choices[place])
        answer = string.ascii_uppercase[draw.choice((place, place, draw.randrange(len(choices))))]
        if prediction.strip() and answer not in choices:  # or the answer would be that text
            items.append(Item(prediction, (answer,), extra={"choices": choices}))
    return items


def yes_no_items(seed: int) -> list[Item]:
    """What may be predicted where yes or no is right."""
    draw = random.Random(seed)
    return [Item(draw.choice(_YES_NO), (draw.choice(("yes", "no")),)) for _ in range(COUNT)]


def caption_items(seed: int, gaps: Sequence[str] = (" ",)) -> list[Item]:
    """Captions with one to five references."""
    draw = random.Random(seed)
    words = _CAPTION_WORDS.split()

    def caption() -> str:
        chosen = draw.choices(words, k=draw.randint(1, 10))
        return "".join(word + draw.choice(gaps) for word in chosen).strip()

    return [Item(caption(), tuple(caption() for _ in range(draw.randint(1, 5))))
            for _ in range(COUNT)]  # fmt: skip


def _texts(draw: random.Random, most: int) -> list[str]:
    words = _WORDS.split()
    texts = []
    for _ in range(COUNT):
        chosen = draw.choices(words, k=draw.randint(1, most))
        text = "".join(word + draw.choice(_SPACES) for word in chosen)
        texts.append(draw.choice(("", "", "", " ", "\n")) + text)
    return texts


def _changed(draw: random.Random, texts: Sequence[str]) -> list[str]:
    """Texts that are often the same as these, or nearly."""
    changed = []
    for text in texts:
        at = draw.randrange(len(text))
        stranger = draw.choice(texts)
        typed = text[:at] + draw.choice(string.printable[:90]) + text[at:]
        ways = (
            text, text, f" {text}", text.upper(), text.lower(), f"the {text.strip()}.", typed,
            text.replace("  ", " ").strip(), text[:at] + text[at + 1 :], stranger,
        )  # fmt: skip
        chosen = draw.choice(ways)
        changed.append(chosen if chosen.strip() else "dog")  # data have no empty answers
    return changed
