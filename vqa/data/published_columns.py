"""Columns as published data sets name them, brought to those of the flat row.

- `question_id` is the id where there is no `id`; `prompt` and `completion` are question and answer.
- `answers` may be objects with `answer` (VQA v2, VizWiz, OK-VQA): the commonest is the first, or
  `multiple_choice_answer` where that is among the commonest. `direct_answers` (A-OKVQA) are the
  answers of a row without choices.
- `options`, or columns `A`, `B` and so on (MMBench), are `choices`. Of these the answer may be the
  number from 0 (ScienceQA; `correct_choice_idx` of A-OKVQA) or the letter (MMBench); trained on is
  its text, for the model sees neither numbers nor letters. A letter stays one where the question
  lists its choices by letters.
- A picture may be named by `image_id` or `imageId` alone (TextVQA, GQA, COCO). Several may have
  columns of their own, `image_1` and so on (MMMU).
- `caption` or `captions` without a question (Flickr30k) are the answers to a fixed one.
- Beside lettered columns the text `nan` is a missing value, as pandas has written it (MMBench).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

from vqa.data.cell_values import SCALAR, to_text
from vqa.data.example import Columns
from vqa.data.literals import literal

_IDS = ("question_id", "questionId")
_PICTURE_IDS = ("image_id", "imageId")
_CAPTIONS = ("captions", "caption")
_NUMBERED = re.compile(r"image_([1-9])")
CAPTION_QUESTION = "Describe the image."
_LETTER = re.compile(r"\(?([A-Za-z])[).:]?")


def own_id(row: Columns) -> Any:
    """Return the id that a row has itself, or None."""
    return row.get(_id_name(row))


def _id_name(row: Columns) -> str:
    if row.get("id") is None:
        for name in _IDS:
            if isinstance(row.get(name), SCALAR):
                return name
    return "id"


def join_pictures(row: Columns) -> Columns:
    """Put numbered columns of pictures into `images`, in the order of their numbers."""
    if "image_1" not in row or "image" in row or "images" in row:
        return row
    names = sorted(filter(_NUMBERED.fullmatch, row))
    others = {name: value for name, value in row.items() if name not in names}
    return others | {"images": [row[name] for name in names]}


def picture_id(row: Columns) -> str | int | None:
    """Return the id of the picture of a row that has no column of pictures."""
    if row.get("image") is not None or row.get("images") is not None:
        return None
    key = next((row[name] for name in _PICTURE_IDS if row.get(name) is not None), None)
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    return key if isinstance(key, str | int) and not isinstance(key, bool) else None


def flatten(row: Columns, numbered: bool) -> Columns:
    """Make the flat row of a published one; `row` has no missing values.

    `numbered`: a number among the choices is that of a choice, as elsewhere in the file, and not
    the choice of that text. Raises ValueError for the number of no choice.
    """
    row = dict(row)
    row.pop(_id_name(row), None)
    if "question" not in row and isinstance(row.get("prompt"), str):
        row["question"] = row.pop("prompt")
        if "completion" in row:
            row["answer"] = row.pop("completion")
    if "A" in row and "B" in row:
        row = {name: value for name, value in row.items() if value != "nan"}
    _name_captions(row)
    choices = _choices(row)
    if choices is not None:
        row["choices"] = choices
    named_answer = row.pop("multiple_choice_answer", None)
    answers = _answers(row)
    if named_answer is not None or _are_objects(row.get("answers")):
        answers = commonest_first(answers, named_answer)
    if choices and (number := row.pop("correct_choice_idx", None)) is not None:
        answers = [_choice_at(number, choices)]
    elif choices:
        question = str(row.get("question"))
        answers = [_choice_text(answer, choices, numbered, question) for answer in answers]
    if answers:
        row.pop("answer", None)
        row["answers"] = answers
    return row


def _name_captions(row: Columns) -> None:
    """Make captions the answers of a row that has neither a question nor answers."""
    name = next((name for name in _CAPTIONS if row.get(name) is not None), None)
    if name is not None and not row.keys() & {"question", "answer", "answers"}:
        row["question"], row["answers"] = CAPTION_QUESTION, row.pop(name)


def numbers_choice(row: Columns) -> bool:
    """Return whether the answer of a row is a whole number that is none of its choices."""
    try:
        choices = _choices(dict(row)) or []
        answers = _answers(row) if choices else []
        return any(_whole(a) is not None and to_text(a) not in choices for a in answers)
    except ValueError:  # reported when the row is read
        return False


def commonest_first(answers: Sequence[Any], preferred: object = None) -> list[Any]:
    """Put the commonest of several people's answers first: `preferred`, of equally common ones."""
    counts = Counter(map(str, answers))
    most = max(counts.values(), default=0)
    if counts.get(str(preferred)) != most:
        preferred = next((answer for answer in answers if counts[str(answer)] == most), None)
    ordered = list(answers)
    if not ordered:
        return [preferred] if preferred is not None else []
    place = next(n for n, answer in enumerate(ordered) if str(answer) == str(preferred))
    return [ordered.pop(place), *ordered]


def _answers(row: Columns) -> list[Any]:
    """Return the answers of a row, in their order. Raises ValueError where it has them twice."""
    answer, answers = row.get("answer"), row.get("answers")
    if answer is not None and answers is not None:
        raise ValueError("both answer and answers; keep one")
    accepted = answers if answers is not None else answer
    if accepted is None and "choices" not in row:
        accepted = row.get("direct_answers")
    if isinstance(accepted, dict) and isinstance(accepted.get("answer"), list):
        accepted = accepted["answer"]  # a table's object of lists
    if isinstance(accepted, str):
        accepted = _texts(accepted) or accepted
    if not isinstance(accepted, list):
        accepted = [] if accepted in (None, "") else [accepted]
    texts = [item.get("answer") if isinstance(item, dict) else item for item in accepted]
    return [text for text in texts if text is not None]


def _are_objects(answers: object) -> bool:
    return isinstance(answers, dict) or (
        isinstance(answers, list) and bool(answers) and all(isinstance(a, dict) for a in answers)
    )


def _texts(text: str) -> list[Any] | None:
    """Return the list of texts that a program has written as one text.

    A list of numbers stays a text, for boxes and points are answers.
    """
    texts = literal(text)
    if not isinstance(texts, list) or not any(texts):
        return None
    return texts if all(isinstance(item, str | None) for item in texts) else None


def _choices(row: Columns) -> list[str] | None:
    """Return the choices of a row as texts; take columns of other names that hold them out."""
    name = "choices" if row.get("choices") is not None else "options"
    choices = row.get(name)
    if choices is None and "A" not in row:
        return None
    if isinstance(choices, str):
        choices = literal(choices)
    if isinstance(choices, dict):  # {"text": [...], "label": [...]}, or {"A": ..., "B": ...}
        texts = choices.get("text")
        if not isinstance(texts, list):
            texts = [choices[name] for name in sorted(choices, key=_choice_order)]
        choices = texts
    if name == "choices" and not isinstance(choices, list):
        return None
    letters: list[str] = []
    if not isinstance(choices, list):
        letters = [letter for letter in ascii_uppercase if row.get(letter) is not None]
        if len(letters) < 2 or "".join(letters) not in ascii_uppercase or letters[0] != "A":
            return None
        choices = [row[letter] for letter in letters]
    if not choices or not all(isinstance(item, str | int | float) for item in choices):
        return None
    for letter in letters:
        row.pop(letter)
    if name == "options" and not letters:
        row.pop(name)
    return list(map(to_text, choices))


def _choice_text(answer: Any, choices: list[str], numbered: bool, question: str) -> Any:
    """Return the text of the choice that an answer numbers or letters; else the answer itself."""
    number = _whole(answer)
    if number is None and isinstance(answer, str) and answer.isdecimal() and answer not in choices:
        return _choice_at(answer, choices)  # a number that was written as a text
    if number is not None:
        if not numbered and to_text(answer) in choices:
            return to_text(answer)
        return _choice_at(number, choices)
    match = _LETTER.fullmatch(answer) if isinstance(answer, str) else None
    if match is None or answer in choices:
        return answer
    place = ascii_uppercase.index(match[1].upper())
    if place >= len(choices) or choices.count(choices[place]) > 1 or _lists_letters(question):
        return answer
    return choices[place]


def _lists_letters(question: str) -> bool:
    marks = r"\s?[).:\]*\uff0e\u3001\uff1a\uff09]|\s[-\u2013\u2014]\s"  # Chinese ones, too
    opening = r"^|[\s(\[*\uff08]"
    return all(re.search(rf"(?:{opening}){letter}(?:{marks})", question) for letter in "AB")


def _choice_order(name: Any) -> tuple[float, str]:
    """Order the names of choices: by number, then by letter."""
    text = str(name)
    return (int(text) if text.isdecimal() else math.inf, text)


def _choice_at(number: Any, choices: list[str]) -> str:
    place = int(number) if isinstance(number, str) and number.isdecimal() else _whole(number)
    if place is None or not 0 <= place < len(choices):
        raise ValueError(
            f"the answer {number!r} is none of the {len(choices)} choices, nor the number of one "
            f"(from 0)"
        )
    return choices[place]


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        return None
    return int(value)
