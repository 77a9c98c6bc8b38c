"""Sentences that count all things of some kinds in a picture: `two cows and one person`.

Of PASCAL VOC 2012, whose 20 kinds of things are all counted: what the sentence does not name is not
there.
"""

from __future__ import annotations

import re

from training.mix.questions.words import NUMBERS, plural

KINDS = {
    "aeroplane": "airplane", "bicycle": "bicycle", "bird": "bird", "boat": "boat",
    "bottle": "bottle", "bus": "bus", "car": "car", "cat": "cat", "chair": "chair", "cow": "cow",
    "diningtable": "dining table", "dog": "dog", "horse": "horse", "motorbike": "motorcycle",
    "person": "person", "pottedplant": "potted plant", "sheep": "sheep", "sofa": "couch",
    "train": "train", "tvmonitor": "television",
}  # fmt: skip
_FORMS = {form: name for kind, name in KINDS.items() for form in (kind, plural(kind), f"{kind}s")}
_PART = re.compile(rf"\b(\d+|{'|'.join(NUMBERS)}) ([a-z]+)\b")


def counts(sentence: str) -> dict[str, int]:
    """Return how many of each kind a sentence counts, by everyday names.

    Raises ValueError where it counts something else, or nothing.

    >>> counts("the image contains two sofas, 12 sheeps and one tvmonitor")
    {'couch': 2, 'sheep': 12, 'television': 1}
    """
    totals: dict[str, int] = {}
    for number, word in _PART.findall(sentence.lower()):
        if word not in _FORMS:
            raise ValueError(f"{word!r} is none of the kinds that are counted")
        name = _FORMS[word]
        totals[name] = totals.get(name, 0) + (int(number) if number.isdigit() else NUMBERS[number])
    if not totals:
        raise ValueError("nothing is counted")
    return totals
