"""Files of predictions: those of `vqa predict`, and the results form of the benchmarks.

The first is JSON lines of `id` and `prediction` (or `error`). The other is a JSON list, or lines,
of `question_id` and `answer` (VQA v2, GQA and DocVQA: `questionId`), or of `image_id` and `caption`
(COCO). Whatever else a file holds is refused: a score of nothing looks like a bad model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from vqa.data.example import Example
from vqa.data.formats.flat_json import list_rows
from vqa.data.formats.probe import probe_file
from vqa.errors import InputError
from vqa.utils.files import read_jsonl

RowId = str | int

# the columns of an id, and of the text that belongs to it: the first pair that a row has counts
_OWN = ("id", "prediction")
_RESULTS = (
    ("question_id", "prediction"),
    ("questionId", "prediction"),
    ("question_id", "answer"),
    ("questionId", "answer"),
    ("image_id", "caption"),
)
_SPELLINGS = {"question_id": "questionId", "questionId": "question_id", "image_id": "imageId"}
_PREDICTED = ("pred", "predicted", "predicted_answer", "response", "output", "model_answer")
_ACCEPTED = (
    "`vqa predict` writes a line of JSON with id and prediction for each row; read, too, are lists "
    "of question_id and answer, or of image_id and caption"
)


@dataclass(frozen=True)
class Prediction:
    """The predicted text of a row, or why there is none."""

    text: str | None
    probability: float | None = None  # of the answer, from 0 to 1
    error: str | None = None


def read_predictions(
    path: str | PathLike[str], rows: Sequence[Example] = ()
) -> dict[RowId, Prediction]:
    """Read predictions by id.

    An id that none of `rows` has, but for its type (7 against "7"), gets the row's. A prediction by
    a column that rows have beside their ids is that of each row with its value there. Raises
    InputError where the file holds no predictions, with file and line for a row that is none and
    for an id that comes twice, and where it is unclear to which row a prediction belongs.
    """
    path = Path(path)
    predictions, names = _by_id(path, *_rows(path))
    if not predictions:
        raise InputError(f"{path} holds no predictions: {_ACCEPTED}")
    return _as_in(rows, _renamed(path, rows, predictions, names))


def read_begun(path: str | PathLike[str]) -> dict[RowId, Prediction]:
    """Read predictions by id of a run of `vqa predict` that may have answered nothing yet.

    Raises InputError as `read_predictions` for what is no prediction.
    """
    return _by_id(Path(path), read_jsonl(path), [_OWN])[0]


def _rows(path: Path) -> tuple[Iterator[tuple[int, dict[str, Any]]], Sequence[tuple[str, str]]]:
    """Return the rows of a file with their lines, or places in its list, and their forms."""
    if path.exists() and not path.is_file() and not path.is_dir():
        return read_jsonl(path), (_OWN, *_RESULTS)  # a pipe can be read only once
    probe = probe_file(path)
    if probe.kind == "json lines":
        return read_jsonl(path), (_OWN, *_RESULTS)
    if probe.kind == "json list" and any(probe.rows[0].keys() >= set(form) for form in _RESULTS):
        return _of_list(path), _RESULTS
    if probe.kind == "hub":
        raise InputError(f"Cannot read {path}: no such file.")
    raise InputError(f"{path} is {probe.what}, it holds no predictions: {_ACCEPTED}")


def _of_list(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in list_rows(path):
        if isinstance(row, ValueError):
            raise InputError(f"{path}:{number}: {row}")
        yield number, row


def _by_id(
    path: Path,
    rows: Iterator[tuple[int, dict[str, Any]]],
    forms: Sequence[tuple[str, str]],
) -> tuple[dict[RowId, Prediction], dict[RowId, str]]:
    """Return the predictions by id, and the name of the column that each id stands in."""
    predictions: dict[RowId, Prediction] = {}
    names: dict[RowId, str] = {}
    for number, row in rows:
        where = f"{path}:{number}"
        name, column = _form(row, forms)
        key = _key(row.get(name))
        if key is None:
            raise InputError(f"{where}: no {name}, or one that is neither text nor whole number")
        if key in predictions:
            raise InputError(
                f"{where}: the {name} {key!r} is there twice; keep one of the rows, or where the "
                f"data repeats it, too, call its second row {f'{key}#2'!r}"
            )
        names[key] = name
        text = row.get(column)
        if column == "answer":
            _check_predicted(row, where)
            text = None if row.get("error") else text
        if isinstance(text, str):
            predictions[key] = Prediction(text, _probability(row, where))
        elif "error" in row:
            predictions[key] = Prediction(None, error=str(row["error"]))
        else:
            raise InputError(f"{where}: no {column} (a text) for the {name} {key!r}")
    return predictions, names


def _form(row: Mapping[str, Any], forms: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return the columns of id and text; where the row has no pair, those that a message names."""
    by_id = [form for form in forms if form[0] in row]
    complete = [form for form in by_id if form[1] in row]
    return (complete or by_id or list(forms))[0]


def _check_predicted(row: Mapping[str, Any], where: str) -> None:
    """Refuse a row whose `answer` is the right one, as data has it, and not a model's."""
    others = [name for name in _PREDICTED if isinstance(row.get(name), str)]
    if others:
        raise InputError(
            f"{where}: it has an answer and a {others[0]}: leave out the right answer, and call "
            "the predicted one prediction"
        )
    if "question" in row and row.keys() & {"image", "images", "answers"}:
        raise InputError(
            f"{where} looks like a row of data, whose answer is the right one: call a model's "
            "prediction"
        )


def _key(value: Any) -> RowId | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a table's program makes 7.0 of 7
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def _probability(row: Mapping[str, Any], where: str) -> float | None:
    value = row.get("probability")
    if value is None:
        return None
    # a product of rounded numbers may end a little above 1
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1.001:
        raise InputError(f"{where}: the probability {value!r} is not a number from 0 to 1")
    return min(float(value), 1.0)


def _renamed(
    path: Path,
    rows: Sequence[Example],
    predictions: dict[RowId, Prediction],
    names: dict[RowId, str],
) -> dict[RowId, Prediction]:
    """Name the predictions as the rows, where rows have the predictions' column beside their ids.

    Two columns number the same rows in different ways: an `id` 1 may be the `question_id` 2. What
    none of the rows has there is no row's, even where its number is the `id` of one; only where
    that is so of all numbers of questions, they are taken for ids. Those of pictures never are.
    """
    columns: dict[str, dict[str, list[Example]]] = {}
    for name in set(names.values()):
        values = [key for key, of_key in names.items() if of_key == name]
        column = _by_value(rows, name)
        if any(str(value).strip() in column for value in values):
            columns[name] = column
        elif column and name == "image_id":
            raise InputError(
                f"{path}: no row of the data has its image_id {values[0]!r}, or any other of its; "
                "where these are ids of rows, call that column id, and the text prediction"
            )
    renamed: dict[RowId, Prediction] = {}
    for key, prediction in predictions.items():
        name, ids = names[key], [key]
        if name in columns:
            of_value = columns[name].get(str(key).strip(), [])
            _check_alike(path, f"{name} {key!r}", of_value)
            ids = [row.id for row in of_value] or [f"{name} {key}"]
        for id in ids:
            if id in renamed:
                raise InputError(f"{path}: two predictions of the row {id!r}; leave one of them")
            renamed[id] = prediction
    return renamed


def _by_value(rows: Sequence[Example], name: str) -> dict[str, list[Example]]:
    """Return the rows by what they have in a column beside their ids; of a picture, several."""
    by_value: dict[str, list[Example]] = {}
    for row in rows:
        value = _key(row.extra.get(name, row.extra.get(_SPELLINGS.get(name, name))))
        if value is not None:
            by_value.setdefault(str(value), []).append(row)
    return by_value


def _check_alike(path: Path, value: str, rows: Sequence[Example]) -> None:
    """Raise InputError where one prediction would answer rows that ask different things."""
    for row in rows[1:]:
        if _asked(row) != _asked(rows[0]):
            raise InputError(
                f"{path}: it has one prediction for the {value}, but the rows {rows[0].id!r} and "
                f"{row.id!r} of it ask different things; write id and prediction for each row"
            )


def _asked(row: Example) -> tuple[Any, ...]:
    return row.images, row.system, row.earlier, row.question, row.extra.get("choices")


def _as_in(
    rows: Sequence[Example], predictions: dict[RowId, Prediction]
) -> dict[RowId, Prediction]:
    """Rename the predictions to the ids of the rows, where only the type of an id differs."""
    ids = {row.id for row in rows}
    by_text = {str(key): key for key in ids if key not in predictions}
    return {
        key if key in ids else by_text.get(str(key).strip(), key): prediction
        for key, prediction in predictions.items()
    }
