"""Choices of a row as published data sets write them, and which of them an answer means.

An answer is the text of a choice or points at one: by its key, where the choices have keys
(`{"1": ..., "2": ...}`, the `label` of ARC), by its number from 0 (ScienceQA, AI2D), or by its
letter (MMBench). One that may be either, as `1` among the choices 3, 1 and 2, is what the answers
in the file's first rows are; where these do not show it, it is a key, or else a text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Literal, NamedTuple

from vqa.data.cell_values import SCALAR, to_text
from vqa.data.example import Columns
from vqa.data.literals import literal

_LETTER = re.compile(r"\(?([A-Za-z])[).:]?")
_KEY = re.compile(r"\(?(.+?)[).:]?", re.DOTALL)
_NUMBER = re.compile(r"-?([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]+)?")
_LONGEST_NUMBER = 40  # characters

Pointer = Literal["key", "number", "letter"]


@dataclass(frozen=True)
class Choices:
    """The texts of choices, and their keys: as many, or none."""

    texts: list[str]
    keys: tuple[str, ...] = ()


class Meanings(NamedTuple):
    """What an answer may mean: the places of the choice it points at and of that with its text."""

    pointer: Pointer | None = None
    pointed: int | None = None
    named: int | None = None
    answer: str = ""
    pointed_text: str = ""  # of the choice that it points at


@dataclass(frozen=True)
class ChoiceConventions:
    """Which answers of a file point at a choice though another one has them as its text."""

    keys: bool = True
    numbers: bool = False
    letters: bool = False

    @classmethod
    def infer(cls, answers: Iterable[Meanings]) -> ChoiceConventions:
        """Infer the conventions of a file with these answers.

        Answers point where one of them can only do so and none can only be a text. An answer that
        is neither, as a wrong number, says nothing about the others.
        """
        pointing: set[Pointer | None] = set()
        naming: set[Pointer | None] = set()
        for pointer, pointed, named, *_ in answers:
            if pointed is not None and named is None:
                pointing.add(pointer)
            elif pointed is None and named is not None:
                naming.add(pointer)
        by_text = None in naming
        return cls(
            "key" in pointing or "key" not in naming,
            "number" in pointing and "number" not in naming and not by_text,
            "letter" in pointing and "letter" not in naming and not by_text,
        )

    def prefers(self, pointer: Pointer | None) -> bool:
        """Return whether an answer of this kind points, where it is the text of a choice, too."""
        return {"key": self.keys, "number": self.numbers, "letter": self.letters, None: False}[
            pointer
        ]


def take_choices(row: Columns) -> Choices | None:
    """Return the choices of a row; take columns of other names that hold them out."""
    name = "choices" if row.get("choices") is not None else "options"
    choices = row.get(name)
    if choices is None and "A" not in row:
        return None
    if isinstance(choices, str):
        choices = literal(choices)
    keys: list[Any] = []
    if isinstance(choices, dict):  # {"text": [...], "label": [...]}, or {"A": ..., "B": ...}
        texts, keys = choices.get("text"), choices.get("label") or []
        if not isinstance(texts, list):
            # a table has every key in every row
            keys = sorted((k for k, text in choices.items() if text is not None), key=_choice_order)
            texts = [choices[key] for key in keys]
        choices = texts
    if name == "choices" and not isinstance(choices, list):
        return None
    letters: list[str] = []
    if not isinstance(choices, list):
        letters = [letter for letter in ascii_uppercase if row.get(letter) is not None]
        if len(letters) < 2 or "".join(letters) not in ascii_uppercase or letters[0] != "A":
            return None
        choices = [row[letter] for letter in letters]
    if not choices or not all(isinstance(item, SCALAR) for item in choices):
        return None
    for letter in letters:
        row.pop(letter)
    if name == "options" and not letters:
        row.pop(name)
    return Choices(list(map(to_text, choices)), _usable_keys(keys, len(choices)))


def _choice_order(name: Any) -> tuple[float, str]:
    """Order the names of choices: by number, then by letter."""
    text = str(name)
    return (int(text) if text.isdecimal() else math.inf, text)


def _usable_keys(keys: Any, count: int) -> tuple[str, ...]:
    """Return keys as texts; none where they do not tell all choices apart."""
    if not isinstance(keys, list) or not all(isinstance(key, SCALAR) for key in keys):
        return ()
    texts = tuple(map(to_text, keys))
    return texts if len(texts) == len(set(texts)) == count else ()


def meanings(answer: Any, choices: Choices, question: str) -> Meanings:
    """Return what an answer may mean; nothing for a letter that is to stay one."""
    if isinstance(answer, bool) or not isinstance(answer, SCALAR):
        return Meanings()
    texts, keys = choices.texts, choices.keys
    text = to_text(answer)
    named = texts.index(text) if text in texts else None
    key = _key_of(text, keys)
    number = _whole(answer)
    if number is not None and named is None:
        named = _same_number(text, texts)
    letter = _LETTER.fullmatch(text) if number is None else None
    pointer: Pointer | None = "key" if keys else None
    pointed = None if key is None else keys.index(key)
    if key is None and number is not None and not any(map(str.isdecimal, keys)):
        pointer, pointed = "number", number
    elif key is None and letter is not None and not any(map(_LETTER.fullmatch, keys)):
        pointer, pointed = "letter", ascii_uppercase.index(letter[1].upper())
    if pointed is not None and not 0 <= pointed < len(texts):
        pointed = None
    if letter is not None:
        twice = pointed is not None and texts.count(texts[pointed]) > 1
        if twice or _lists_letters(question):
            return Meanings()
    return Meanings(pointer, pointed, named, text, "" if pointed is None else texts[pointed])


def choice_text(
    answer: Any, choices: Choices, conventions: ChoiceConventions, question: str
) -> Any:
    """Return the text of the choice that an answer means; the answer itself where it means none.

    Raises ValueError for a number of no choice.
    """
    pointer, pointed, named, *_ = meanings(answer, choices, question)
    if conventions.prefers(pointer):
        place = pointed if pointed is not None or pointer == "number" else named
    else:
        place = pointed if named is None else named
    if place is not None:
        return choices.texts[place]
    if _whole(answer) is not None:
        raise _no_choice(answer, choices)
    return answer


def choice_at(number: Any, choices: Choices) -> str:
    """Return the text of the choice with a number from 0. Raises ValueError for that of none."""
    place = _whole(number)
    if place is None or not 0 <= place < len(choices.texts):
        raise _no_choice(number, choices)
    return choices.texts[place]


def _no_choice(number: Any, choices: Choices) -> ValueError:
    counted = not any(map(str.isdecimal, choices.keys))
    other = "the number of one (from 0)" if counted else f"a key ({', '.join(choices.keys)})"
    return ValueError(
        f"the answer {number!r} is none of the {len(choices.texts)} choices, nor {other}"
    )


def _key_of(text: str, keys: tuple[str, ...]) -> str | None:
    """Return the key that an answer is, perhaps in brackets, with a period or in another case."""
    bare = _KEY.fullmatch(text) if keys else None
    if bare is None:
        return None
    writings = (text, bare[1], bare[1].upper(), bare[1].lower())
    return next((writing for writing in writings if writing in keys), None)


def _lists_letters(question: str) -> bool:
    marks = r"\s?[).:\]*\uff0e\u3001\uff1a\uff09]|\s[-\u2013\u2014]\s"  # Chinese ones, too
    opening = r"^|[\s(\[*\uff08]"
    return all(re.search(rf"(?:{opening}){letter}(?:{marks})", question) for letter in "AB")


def _same_number(text: str, texts: list[str]) -> int | None:
    """Return the place of the choice that writes a number in another way: `2.0` or `2,000`."""
    number = _value(text)
    if number is None:
        return None
    return next((place for place, other in enumerate(texts) if _value(other) == number), None)


def _value(text: str) -> float | None:
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return None
    return float(text.replace(",", ""))


def _whole(value: Any) -> int | None:
    """Return the whole number that a value is, perhaps as a text; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(value) if value.isdecimal() else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None
