"""VQA v2 (Goyal et al. 2017): a file of questions and one of annotations, recognised by content.

The user names one of the two, or their folder. All ten answers are accepted; the commonest stands
first and is trained on.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vqa.data.cell_values import to_text
from vqa.data.example import Columns, Example
from vqa.data.formats.flat_json import list_rows, repeated_ids
from vqa.data.formats.json_stream import elements, members
from vqa.data.formats.probe import FileProbe, probe_file
from vqa.data.picture_paths import picture_names
from vqa.data.published_columns import commonest_first
from vqa.data.row_reader import NumberedRow, ReadOptions, read_examples
from vqa.errors import InputError

NAME = "VQA v2"

Annotations = dict[int | str, Columns]


def sniff(probe: FileProbe) -> bool:
    """Recognise a list of questions or annotations by `question_id`; a folder with such a file."""
    if probe.kind == "folder":
        return bool(_files(probe.path, "questions"))
    return any(_is(probe, name) for name in ("questions", "annotations"))


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read the rows of the questions, in their order, numbered from 1.

    Raises InputError where the other file is not beside the named one, or several could
    be it.
    """
    questions, annotations = _pair(probe, options.need_answers)
    subset = _subset(questions)
    rows: Annotations = {}
    unclear: dict[int | str, str] = {}
    if annotations is not None and options.note_id is None:
        of_questions = repeated_ids(questions, "questions", "question_id")
        rows, of_annotations = _annotations(annotations)
        unclear = {key: f"question_id {key!r} comes {count} times in {path.name}, so its answers "
                        "cannot be told apart"
                   for path, counts in ((annotations, of_annotations), (questions, of_questions))
                   for key, count in counts.items()}  # fmt: skip
    return read_examples(_rows(questions, rows, unclear, subset, options), options)


def files(probe: FileProbe) -> list[Path]:
    """Return the file of questions, and that of annotations if there is one."""
    questions, annotations = _pair(probe, need_answers=False)
    return [questions, annotations] if annotations is not None else [questions]


def _is(probe: FileProbe, name: str) -> bool:
    first = probe.first_of(name)
    keys = {"question_id", "question" if name == "questions" else "answers"}
    return probe.kind == "json object" and isinstance(first, dict) and keys <= first.keys()


def _files(folder: Path, name: str) -> list[Path]:
    """List the files of questions, or of annotations, in a folder."""
    paths = []
    for path in sorted(folder.glob("*.json")):
        try:
            if _is(probe_file(path), name):
                paths.append(path)
        except InputError:
            continue
    return paths


def _pair(probe: FileProbe, need_answers: bool) -> tuple[Path, Path | None]:
    folder = probe.path if probe.kind == "folder" else probe.path.parent
    if probe.kind == "folder":
        questions = _only(_files(folder, "questions"), folder)
    elif _is(probe, "questions"):
        questions = probe.path
    else:
        near = _of_subset(_files(folder, "questions"), _subset(probe.path))
        if not near:
            raise InputError(f"{probe.path}: no file with its questions beside it")
        return _only(near, folder), probe.path
    near = _of_subset(_files(folder, "annotations"), _subset(questions))
    if not near and need_answers:
        raise InputError(f"{questions}: no file with its annotations (the answers) beside it")
    return questions, _only(near, folder) if near else None


def _only(files: list[Path], folder: Path) -> Path:
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise InputError(f"{folder} has several files of VQA v2 ({names}): name one")
    return files[0]


def _of_subset(files: list[Path], subset: str) -> list[Path]:
    return [path for path in files if _subset(path) == subset]


def _subset(path: Path) -> str:
    """Return the subset that the file names, as `train2014`; empty where it names none."""
    try:
        for name, value in members(path):
            if name == "data_subtype":
                return str(value)
    except ValueError:  # reported when its rows are read
        pass
    return ""


def _annotations(path: Path) -> tuple[Annotations, Counter[int | str]]:
    """Read the annotation of each question by its id, and count the ids that repeat."""
    annotations: Annotations = {}
    repeated: Counter[int | str] = Counter()
    try:
        for number, row in enumerate(elements(path, "annotations"), start=1):
            try:
                key = row["question_id"]
                if key in annotations:
                    repeated[key] = max(2, repeated[key] + 1)
                annotations[key] = _annotation(row)
            except (TypeError, KeyError, AttributeError):
                raise InputError(f"{path}:{number}: not an annotation with answers") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return annotations, repeated


def _annotation(row: Columns) -> Columns:
    # the same few thousand texts again and again: held once each
    given = [answer["answer"] for answer in row["answers"]]
    answers = [sys.intern(to_text(answer)) for answer in given if answer is not None]
    kinds = {name: sys.intern(str(row[name])) for name in ("question_type", "answer_type")
             if name in row}  # fmt: skip
    return kinds | {"answers": commonest_first(answers, row.get("multiple_choice_answer"))}


def _rows(
    questions: Path,
    annotations: Annotations,
    unclear: Mapping[int | str, str],
    subset: str,
    options: ReadOptions,
) -> Iterator[NumberedRow]:
    picture = picture_names(options.root)
    for number, row in list_rows(questions, "questions"):
        if isinstance(row, ValueError):
            yield number, row
            continue
        key, image = row.get("question_id"), row.get("image_id")
        if not isinstance(image, int) or not isinstance(key, int | str):
            yield number, ValueError("question_id or image_id is missing")
            continue
        if key in unclear and options.need_answers:
            yield number, ValueError(unclear[key])
            continue
        rest = {name: value for name, value in row.items() if name != "question_id"}
        flat: dict[str, Any] = {"id": key, "image": picture(image, subset)}
        yield number, rest | flat | ({} if key in unclear else annotations.get(key, {}))
