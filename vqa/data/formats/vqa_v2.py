"""VQA v2 (Goyal et al. 2017): a file of questions and one of annotations, found by their content.

The user names one of the two, or their folder. All ten answers are kept; the commonest stands first
and is the one to learn.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from vqa.data.columns import Columns
from vqa.data.example import Example
from vqa.data.formats.json_rows import list_rows
from vqa.data.formats.json_stream import elements, members
from vqa.data.formats.look import Seen, look
from vqa.data.rows import Raw, Wanted, examples
from vqa.errors import InputError

NAME = "VQA v2"
_PICTURES_KEPT = 16_384


def sniff(seen: Seen) -> bool:
    """A list of questions or annotations by `question_id`; a folder with such a file."""
    if seen.kind == "folder":
        return bool(_files(seen.path, "questions"))
    return any(_is(seen, name) for name in ("questions", "annotations"))


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """The rows of the questions, in their order, numbered from 1.

    Raises InputError where the other file is not beside the named one, or cannot be told from
    others.
    """
    questions, annotations = _pair(seen, wanted.need_answers)
    subset = _subset(questions)
    found = _annotations(annotations) if annotations is not None else {}
    return examples(_rows(questions, found, subset, wanted), wanted)


def files(seen: Seen) -> list[Path]:
    """The file of questions, and that of annotations if there is one."""
    questions, annotations = _pair(seen, need_answers=False)
    return [questions, annotations] if annotations is not None else [questions]


def _is(seen: Seen, name: str) -> bool:
    first = (seen.members.get(name) or [None])[0]
    wanted = {"question_id", "question" if name == "questions" else "answers"}
    return seen.kind == "json object" and isinstance(first, dict) and wanted <= first.keys()


def _files(folder: Path, name: str) -> list[Path]:
    """The files of questions, or of annotations, in a folder."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            if _is(look(path), name):
                found.append(path)
        except InputError:
            continue
    return found


def _pair(seen: Seen, need_answers: bool) -> tuple[Path, Path | None]:
    folder = seen.path if seen.kind == "folder" else seen.path.parent
    if seen.kind == "folder":
        questions = _only(_files(folder, "questions"), folder)
    elif _is(seen, "questions"):
        questions = seen.path
    else:
        near = _of_subset(_files(folder, "questions"), _subset(seen.path))
        if not near:
            raise InputError(f"{seen.path}: no file with its questions beside it")
        return _only(near, folder), seen.path
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
    """What the file says it is about, as `train2014`; empty where it says nothing."""
    try:
        for name, value in members(path):
            if name == "data_subtype":
                return str(value)
    except ValueError:  # told when its rows are read
        pass
    return ""


def _annotations(path: Path) -> dict[int | str, Columns]:
    """The answers and what else is said of each question, by its id."""
    found: dict[int | str, Columns] = {}
    try:
        for number, row in enumerate(elements(path, "annotations"), start=1):
            try:
                found[row["question_id"]] = _annotation(row)
            except (TypeError, KeyError, AttributeError):
                raise InputError(f"{path}:{number}: not an annotation with answers") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return found


def _annotation(row: Columns) -> Columns:
    # the same few thousand texts again and again: kept once each
    answers = [sys.intern(str(answer["answer"])) for answer in row["answers"]]
    counts = Counter(answers)
    most = max(counts.values(), default=0)
    learned: str | None = row.get("multiple_choice_answer")
    if counts[learned or ""] != most:
        learned = next((answer for answer in answers if counts[answer] == most), None)
    if learned is not None:
        answers.remove(learned)
        answers.insert(0, learned)
    kinds = {name: sys.intern(str(row[name])) for name in ("question_type", "answer_type")
             if name in row}  # fmt: skip
    return kinds | {"answers": answers}


def _rows(
    questions: Path, annotations: dict[int | str, Columns], subset: str, wanted: Wanted
) -> Iterator[Raw]:
    picture = _picture_names(wanted.root, subset)
    for number, row in list_rows(questions, "questions"):
        if isinstance(row, ValueError):
            yield number, row
            continue
        key, image = row.get("question_id"), row.get("image_id")
        if not isinstance(image, int) or not isinstance(key, int | str):
            yield number, ValueError("question_id or image_id is missing")
            continue
        rest = {name: value for name, value in row.items() if name != "question_id"}
        flat: dict[str, Any] = {"id": key, "image": picture(image)}
        yield number, rest | flat | annotations.get(key, {})


def _picture_names(root: Path, subset: str) -> Callable[[int], str]:
    """A function that names a picture by its number: the first name under which it is there."""

    @lru_cache(_PICTURES_KEPT)
    def name(number: int) -> str:
        names = [f"COCO_{subset}_{number:012}.jpg", f"{number:012}.jpg"]
        names += [f"{subset}/{found}" for found in names]
        return next((found for found in names if (root / found).is_file()), names[0])

    return name
