"""How many: from boxes, and from numbers that captions agree on."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator

from training.mix.picture import Picture
from training.mix.questions.wording import Question, asked, word
from training.mix.questions.words import NUMBERS, is_countable, normal_text, plural

_WORDINGS = (
    "How many {many} are there?",
    "How many {many} are there in the {image}?",
    "How many {many} are in the {image}?",
    "How many {many} are in this {image}?",
    "How many {many} can you see?",
    "How many {many} do you see in the {image}?",
    "How many {many} are visible?",
    "What is the number of {many} in the {image}?",
    "Count the {many} in the {image}.",
)
CHECK = "How many {many} are there in the image?"
_MOST = 6
_SMALLEST_SHARE = 0.001  # of the picture; a smaller box cannot be counted at the model's size

# object: words for it, singular and plural; people are counted together or by kind
_COUNTED = {
    "dog": ("dog", "puppy"),
    "man": ("man", "guy"),
    "woman": ("woman", "lady"),
    "boy": ("boy",),
    "girl": ("girl",),
    "child": ("child", "kid"),
    "person": ("person",),
    "horse": ("horse",),
    "bird": ("bird", "duck"),
}
_ALSO = {  # words that may stand for one more of them
    "dog": "animals animal pack another other group several many",
    "person": "crowd group several many some another other lot team audience families spectators",
}


def count_questions(
    picture: Picture, rng: random.Random, check: bool = False
) -> Iterator[Question]:
    """Ask for every number of objects that is known, 1 to 6, in random order."""
    if picture.counted:
        counts = {name: n for name, n in picture.counted if n <= _MOST and is_countable(name)}
    else:
        counts = _from_boxes(picture) if picture.annotated else _from_captions(picture)
    names = sorted(counts)
    rng.shuffle(names)
    for name in names:
        wordings = (CHECK,) if check else _WORDINGS
        text = word(rng, wordings, many=plural(name))
        number = str(counts[name])
        answers = (number, *(w for w, n in NUMBERS.items() if n == counts[name]))
        if check:
            yield Question(picture, text, answers, "counts", number)
            continue
        clause = (
            f"is {answers[-1]} {name}" if number == "1" else f"are {answers[-1]} {plural(name)}"
        )
        yield asked(picture, rng, text, answers, "counts", number, f"there {clause}")


def _from_boxes(picture: Picture) -> dict[str, int]:
    counts = Counter(box.name for box in picture.boxes)
    unsure = {b.name for b in picture.boxes if b.crowd or b.area < _SMALLEST_SHARE}
    return {
        name: n
        for name, n in counts.items()
        if n <= _MOST and name not in unsure and is_countable(name)
    }


def _from_captions(picture: Picture) -> dict[str, int]:
    texts = [normal_text(caption) for caption in picture.captions]
    counts: dict[str, int] = {}
    for name, words in _COUNTED.items():
        number = _agreed(texts, words, _ALSO.get(name, _ALSO["person"]).split())
        if number is not None:
            counts[name] = number
    return counts


def _agreed(texts: list[str], words: tuple[str, ...], doubts: list[str]) -> int | None:
    """Return the number that two captions name and no caption contradicts; None without one."""
    one = "|".join(words)
    many = "|".join(plural(w) for w in words)
    numbers: list[int] = []
    for text in texts:
        if any(f" {doubt} " in text for doubt in doubts):
            return None
        for match in re.finditer(
            rf" (one|two|three|four|five|six) (?:[a-z']+ ){{0,3}}?(?:{many}|{one}) ", text
        ):
            numbers.append(NUMBERS[match[1]])
        if re.search(rf" (?:{many}) ", text) and not re.search(
            rf" (?:two|three|four|five|six) (?:[a-z']+ ){{0,3}}?(?:{many}) ", text
        ):
            numbers.append(0)  # several, but how many?
        if re.search(rf" (?:a|an|the) (?:[a-z']+ ){{0,3}}?(?:{one}) ", text):
            numbers.append(1)
    known = [n for n in numbers if n]
    if len(known) < 2 or len(set(known)) > 1:
        return None
    if known[0] == 1 and (0 in numbers or len(known) < 3):
        return None
    return known[0]
