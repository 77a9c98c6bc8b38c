"""From rows of columns to examples: what all formats share, and how bad rows are reported.

Every format is brought to one flat row: `image` (or `images`) is a path or a list of paths,
`answer` a text or `answers` a list of accepted texts, `earlier` a list of `{"question", "answer",
"pictures", "learned"}`, `system` a text, `learned` false where training computes no loss on the
answer; other columns are `extra`. `image_places`, of the row or of an earlier turn, is a list of
the characters of the question at which an `<image>` begins that stands for a picture; other
`<image>` are text, and pictures without a place stand before the question. Where a file holds
pictures themselves, an image is bytes, a `data:` URL, base64 alone (MMBench), or
`{"bytes", "path"}` as in the data sets of the Hugging Face hub. Where it is base64 alone, a later
row with the same picture may have the `index` of the row that holds it instead (MMBench).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from vqa.data import published_columns, unsupported_media
from vqa.data.cell_values import SCALAR, check_text, normalize, to_text, trim
from vqa.data.embedded_pictures import (
    from_base64,
    from_data_url,
    is_like_base64,
    picture_path,
    store_picture,
)
from vqa.data.example import KNOWN, PLACES, Columns, EarlierTurn, Example
from vqa.data.file_conventions import FileConventions, NumbersOfChoices, TimesAsAnswers
from vqa.data.picture_files import LeftOut
from vqa.data.picture_paths import picture_names, under
from vqa.data.row_limits import ID, REASON, beginning
from vqa.data.unique_ids import OwnIds, RepeatedIds, UniqueIds
from vqa.errors import InputError, printable_line
from vqa.inputs.placeholders import split_at_pictures

_LISTED = 10  # bad rows in a message
_BEGINNING = 20  # rows, from which conventions are inferred
_NOT_NORMALIZED = frozenset({"image", "images", "question", "earlier"})
_NAMES, _LONG_NAME = 4096, 100  # cached names, as files have the same in every row; characters
_UNNAMED = re.compile(r"\s*|Unnamed: \d+(\.\d+)?(_level_\d+)?|__index_level_\d+__")

# Notes about a whole file or folder of which rows are good; `line_about` writes one as a line.
Notice = RepeatedIds | LeftOut | TimesAsAnswers | NumbersOfChoices

# The number of a row, and its columns or what is wrong with it.
NumberedRow = tuple[int, Columns | ValueError]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used, and why. `id` is None where the row has none of its own."""

    line: int  # in a file that has no lines, the number of the row from 1
    reason: str
    id: str | int | None = None

    def __post_init__(self) -> None:
        # it may quote a cell, of any length
        object.__setattr__(self, "reason", printable_line(self.reason, REASON))


class BadRows(InputError):
    """All bad rows of a file; the message names the first of them, `problems` has them all."""

    def __init__(self, path: Path, problems: list[tuple[int, str]]) -> None:
        self.problems = problems  # line number, reason
        lines = [f"{path}:{line}: {reason}" for line, reason in problems[:_LISTED]]
        if len(problems) > _LISTED:
            lines.append(f"and {len(problems) - _LISTED} more bad rows")
        super().__init__("; ".join(lines))


@dataclass(frozen=True)
class ReadOptions:
    """How the rows of a file are read, whatever its format."""

    root: Path  # of the pictures
    need_answers: bool
    need_images: bool
    bad: Callable[[BadRow], None]  # is called with each bad row
    notice: Callable[[Notice], None]  # is called once with what is read otherwise, or left out
    own_ids: OwnIds  # reads the ids alone, of the same file
    columns: Mapping[str, str] = field(default_factory=dict)  # names here, and those of the file
    note_id: Callable[[int, str | int], None] | None = None  # then only ids are read


def read_examples(
    rows: Iterable[NumberedRow],
    options: ReadOptions,
    flatten: Callable[[Columns], Columns] | None = None,
) -> Iterator[Example]:
    """Make examples of rows, in their order; `flatten` first brings a row into flat columns.

    A ValueError of `flatten` makes a row bad. A row without `id` gets its number; an id that an
    earlier row has is made unique.
    """
    ids = UniqueIds(options.own_ids, options.notice)
    inside = under(options.root) if options.need_images else None
    picture_name = picture_names(options.root)
    by_index: dict[str, str | Path] = {}  # pictures that stand in rows with an `index`
    following = iter(rows)
    first = beginning(following, _BEGINNING)
    conventions = FileConventions.infer(
        _renamed(drop_missing(r), options.columns) for _, r in first if isinstance(r, dict)
    )
    for notice in (conventions.times_as_answers, conventions.numbers_of_choices):
        if notice is not None:
            options.notice(notice)
    first.reverse()
    for place, (number, row) in enumerate(chain(_popped(first), following)):
        key: str | int | None = None
        try:
            if isinstance(row, ValueError):
                raise row
            row = conventions.with_times(_renamed(drop_missing(row), options.columns))
            own_id = _own_id(row, number)
            if options.note_id is not None:
                options.note_id(place, own_id)
                continue
            key = ids.unique_id(place, number, own_id)
            unsupported_media.check_row(row)
            row = published_columns.join_pictures(row)
            flat = normalize_row(row if flatten is None else flatten(row))
            flat = published_columns.flatten(flat, conventions.choices)
            picture = published_columns.picture_id(flat)
            if picture is not None:
                flat["image"] = picture_name(picture, str(flat.get("split", "")))
            image = flat.get("image")
            holds_picture = isinstance(image, str) and is_like_base64(image)
            if by_index and not holds_picture and isinstance(image, (str, int)):
                flat["image"] = by_index.get(str(image).strip(), image)
            example = make_example(key, flat, inside, options.need_answers, number)
            if holds_picture and "index" in flat:
                by_index[str(_whole(flat["index"]))] = example.images[0]
            unsupported_media.check_pictures(example.images)
        except ValueError as error:
            if options.note_id is None:
                options.bad(BadRow(number, str(error), key))
        else:
            yield example


def _renamed(row: Columns, columns: Mapping[str, str]) -> Columns:
    """Name columns as here; one that is here already stays, and the file's stays beside it."""
    names = {theirs: ours for ours, theirs in columns.items() if ours not in row}
    return {names.get(name, name): value for name, value in row.items()} if names else row


def _popped(rows: list[NumberedRow]) -> Iterator[NumberedRow]:
    """Yield rows from the end of a list, which then holds them no longer."""
    while rows:
        yield rows.pop()


def _own_id(row: Columns, number: int) -> str | int:
    key = normalize(published_columns.own_id(row))
    if key is None:
        return number
    if isinstance(key, bool) or not isinstance(key, SCALAR):
        raise ValueError("id is neither a text nor a whole number")
    if isinstance(key, str) and len(key) > ID:
        raise ValueError(f"the id has {len(key):,} characters; at most {ID:,} are read")
    key = _whole(key)
    return to_text(key) if isinstance(key, float) else key


def _whole(value: Any) -> Any:
    """Make 1 of 1.0, which a table's program makes of it where a cell of the column is empty."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def make_example(
    key: str | int,
    row: Columns,
    inside: Callable[[str], Path] | None,
    need_answers: bool,
    line: int = 0,
) -> Example:
    """Make the example of a flat row, whose values are normalized.

    `inside` makes a path of a picture's name, or raises ValueError; without it pictures are not
    needed, may be missing, and stay names. Raises ValueError with what is wrong.
    """
    question, places = _question(row, "question")
    answers = _answers(row)
    if need_answers and not answers:
        raise ValueError("answer is missing or empty")
    images: tuple[str | Path, ...]
    if inside is not None:
        images = tuple([_picture(image, inside) for image in _images(row, needed=True)])
    else:
        images = tuple(filter(None, map(_name, _images(row, needed=False))))
    earlier = _earlier(row)
    if inside is not None:
        left = len(images) - sum([turn.pictures for turn in earlier])
        if left < 0:
            raise ValueError(f"earlier has more pictures than the row, which has {len(images)}")
        if len(places) > left:
            raise ValueError(f"{len(places)} {PLACES}, but the question has {left} of the pictures")
    extra = {name: value for name, value in row.items() if name not in KNOWN}
    system = row.get("system", "")
    if not isinstance(system, str):  # a column of another meaning
        extra["system"], system = system, ""
    learned = row.get("learned")
    if learned is not None and not isinstance(learned, bool):  # a column of another meaning
        extra["learned"], learned = learned, True
    in_loss = learned is not False
    if not in_loss and need_answers and inside is not None and not any(t.in_loss for t in earlier):
        raise ValueError("nothing of it is learned: every answer has the weight 0")
    return Example(key, images, question, answers, extra, earlier, system, line, in_loss, places)


def drop_missing(row: Columns) -> Columns:
    """Keep the columns that have a name and a value: an index that pandas writes has none.

    The names that are known here may be written in capitals.
    """
    columns: Columns = {}
    for name, value in row.items():
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        known = _known_name(name) if len(name) <= _LONG_NAME else _known_name.__wrapped__(name)
        if known is not None:
            columns[name if known in row else known] = value
    return columns


@lru_cache(_NAMES)
def _known_name(name: str) -> str | None:
    """Return what a column is called here; None for one that has no name."""
    if _UNNAMED.fullmatch(name):
        return None
    known = trim(name).lower()
    return known if known in KNOWN else name


def normalize_row(row: Columns) -> Columns:
    """Bring the values to the form they have in every format, but for pictures and questions."""
    columns: Columns = {}
    for name, value in row.items():
        if name not in _NOT_NORMALIZED:
            value = normalize(value)
        if value is not None and value != "":
            columns[name] = value
    return columns


def _question(row: Columns, name: str) -> tuple[str, tuple[int, ...]]:
    """Return the trimmed question of a row or turn, and the places of pictures in it."""
    value, places = row.get("question"), row.get(PLACES)
    question = _text(value, name)
    if places is None or value is None:
        return question, ()
    whole = to_text(value)
    start = len(whole) - len(trim(f"{whole}.")) + 1
    return question, tuple([place - start for place in _places(places, whole, name)])


def _text(value: object, name: str) -> str:
    text = trim(to_text(value)) if isinstance(value, SCALAR) else ""
    check_text(text, name)
    if not text:
        raise ValueError(f"{name} is missing or empty")
    return text


def _answers(row: Columns) -> tuple[str, ...]:
    answer, answers = row.get("answer"), row.get("answers")
    if answer is not None and answers is not None:
        raise ValueError("both answer and answers; keep one")
    accepted = answer if answers is None else answers
    texts = []
    for text in accepted if isinstance(accepted, list) else [accepted]:
        if isinstance(text, SCALAR):
            texts.append(to_text(text))
        elif text is not None:
            raise ValueError("answers must be texts")
    return tuple(filter(None, texts))  # one that nobody gave may be empty, or null


def _images(row: Columns, needed: bool) -> list[Any]:
    if needed and "image" in row and "images" in row:
        raise ValueError("both image and images; keep one")
    images = row.get("image", row.get("images"))
    if isinstance(images, list):
        return images
    if isinstance(images, (str, bytes, dict, Path)):
        return [images]
    if needed:
        raise ValueError("image is missing: a path or a list of paths")
    return []


def _picture(image: object, inside: Callable[[str], Path]) -> Path:
    """Return the path of a picture; one that is given as bytes is written to a file."""
    image = _bytes_or_path(image)
    if isinstance(image, bytes):
        return store_picture(image)
    if isinstance(image, Path):  # of an earlier row, stored
        return image
    if not isinstance(image, str) or not image.strip() or "\0" in image:
        raise ValueError("image must be a path or a list of paths")
    return inside(image)


def _name(image: object) -> str | None:
    """Return what tells a picture from others, unchecked."""
    image = _bytes_or_path(image)
    if isinstance(image, bytes):
        return str(picture_path(image))
    return str(image) if isinstance(image, (str, Path)) else None


def _bytes_or_path(image: object) -> object:
    """Return bytes or a path, where both may be given as the hub's data sets do."""
    if isinstance(image, dict):
        image = image.get("bytes") or image.get("path")
    if isinstance(image, str) and image[:5].lower() == "data:":
        return from_data_url(image)
    return (from_base64(image) or image) if isinstance(image, str) else image


def _earlier(row: Columns) -> tuple[EarlierTurn, ...]:
    turns = row.get("earlier")
    if turns is None:
        return ()
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError("earlier must be a list of objects with question and answer")
    return tuple(map(_turn, turns))


def _turn(turn: dict[str, Any]) -> EarlierTurn:
    pictures = turn.get("pictures", 0)
    if isinstance(pictures, bool) or not isinstance(pictures, int) or pictures < 0:
        raise ValueError("pictures of an earlier turn must be a number")
    learned = turn.get("learned")
    if learned is not None and not isinstance(learned, bool):
        raise ValueError("learned of an earlier turn must be true or false")
    question, places = _question(turn, "question of an earlier turn")
    answer = _text(turn.get("answer"), "answer of an earlier turn")
    if len(places) > pictures:
        raise ValueError(f"{len(places)} {PLACES} in an earlier turn with {pictures} pictures")
    return EarlierTurn(question, answer, pictures, learned is not False, places)


def _places(places: object, question: str, name: str) -> tuple[int, ...]:
    if not isinstance(places, list) or not all(type(place) is int for place in places):
        raise ValueError(f"{PLACES} must be a list of whole numbers")
    try:
        pieces = split_at_pictures(question, places)
    except ValueError as error:
        raise ValueError(f"{PLACES}: {error}") from None
    if not any(map(str.strip, pieces)):
        raise ValueError(f"{name} is missing or empty")
    return tuple(places)
