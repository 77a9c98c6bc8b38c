"""Columns as published data sets name them, brought to those of the flat row.

- `question_id` is the id where there is no `id`; `prompt` and `completion` are question and answer.
- `answers` may be objects with `answer` (VQA v2, VizWiz, OK-VQA): the commonest is the first, or
  `multiple_choice_answer` where that is among the commonest. `direct_answers` (A-OKVQA) are the
  answers of a row without choices.
- `options`, or columns `A`, `B` and so on (MMBench), are `choices`. Of these the answer may be the
  number from 0 (ScienceQA; `correct_choice_idx` of A-OKVQA), the letter (MMBench) or the key (ARC);
  trained on is its text, for the model sees none of them. A letter stays one where the question
  lists its choices by letters.
- A picture may be named by `image_id` or `imageId` alone (TextVQA, GQA, COCO). Several may have
  columns of their own, `image_1` and so on (MMMU).
- `caption` or `captions` without a question (Flickr30k) are the answers to a fixed one.
- Beside lettered columns the text `nan` is a missing value, as pandas has written it (MMBench).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from vqa.data.cell_values import SCALAR, normalize
from vqa.data.choices import (
    ChoiceConventions,
    Meanings,
    choice_at,
    choice_text,
    meanings,
    take_choices,
)
from vqa.data.example import Columns
from vqa.data.literals import literal

_IDS = ("question_id", "questionId")
_PICTURE_IDS = ("image_id", "imageId")
_CAPTIONS = ("captions", "caption")
_NUMBERED = re.compile(r"image_([1-9])")
CAPTION_QUESTION = "Describe the image."
_OF_CHOICES = re.compile(r"choices|options|answers?|question|prompt|completion|[A-Z]")


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


def flatten(row: Columns, conventions: ChoiceConventions) -> Columns:
    """Make the flat row of a published one; `row` has no missing values.

    `conventions`: what the file's answers mean. Raises ValueError for the number of no choice.
    """
    row = dict(row)
    row.pop(_id_name(row), None)
    row = _asked(row)
    _name_captions(row)
    choices = take_choices(row)
    if choices is not None:
        row["choices"] = choices.texts
    named_answer = row.pop("multiple_choice_answer", None)
    answers = _answers(row)
    if named_answer is not None or _are_objects(row.get("answers")):
        answers = commonest_first(answers, named_answer)
    if choices and (number := row.pop("correct_choice_idx", None)) is not None:
        answers = [choice_at(number, choices)]
    elif choices:
        question = str(row.get("question"))
        answers = [choice_text(answer, choices, conventions, question) for answer in answers]
    if answers:
        row.pop("answer", None)
        row["answers"] = answers
    elif _are_objects(row.get("answers")) and _have_answers(row["answers"]):
        row.pop("answers")  # nobody gave any
    return row


def _asked(row: Columns) -> Columns:
    """Name prompt and completion question and answer; drop `nan` beside lettered columns."""
    if "question" not in row and isinstance(row.get("prompt"), str):
        row["question"] = row.pop("prompt")
        if "completion" in row:
            row["answer"] = row.pop("completion")
    if "A" in row and "B" in row:
        row = {name: value for name, value in row.items() if value != "nan"}
    return row


def _name_captions(row: Columns) -> None:
    """Make captions the answers of a row that has neither a question nor answers."""
    name = next((name for name in _CAPTIONS if row.get(name) is not None), None)
    if name is not None and not row.keys() & {"question", "answer", "answers"}:
        row["question"], row["answers"] = CAPTION_QUESTION, row.pop(name)


def answers_about_choices(row: Columns) -> list[Meanings]:
    """Return what the answers of a row with choices may mean; `row` is as in its file."""
    try:
        row = {name: normalize(value) for name, value in row.items() if _OF_CHOICES.fullmatch(name)}
        row = _asked(row)
        choices = take_choices(row)
        if choices is None:
            return []
        row["choices"] = choices.texts
        question = str(row.get("question"))
        return [meanings(answer, choices, question) for answer in _answers(row)]
    except ValueError:  # reported when the row is read
        return []


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
    return [text for text in texts if text is not None and text != ""]


def _are_objects(answers: object) -> bool:
    return isinstance(answers, dict) or (
        isinstance(answers, list) and bool(answers) and all(isinstance(a, dict) for a in answers)
    )


def _have_answers(objects: dict[str, Any] | list[dict[str, Any]]) -> bool:
    listed = objects if isinstance(objects, list) else [objects]
    return all("answer" in each for each in listed)


def _texts(text: str) -> list[Any] | None:
    """Return the list of texts that a program has written as one text.

    A list of numbers stays a text, for boxes and points are answers.
    """
    texts = literal(text)
    if not isinstance(texts, list) or not any(texts):
        return None
    return texts if all(isinstance(item, str | None) for item in texts) else None
