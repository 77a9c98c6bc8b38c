"""The rows of a benchmark as they are asked: one file of flat JSONL, which any command takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from string import ascii_uppercase

import numpy as np

from vqa.data import read
from vqa.data.convert import copy_pictures, with_names
from vqa.data.embedded_pictures import picture_store
from vqa.data.example import Example
from vqa.data.formats import flat_json
from vqa.data.reading import default_root
from vqa.data.row_reader import Notice
from vqa.errors import InputError
from vqa.evaluation.benchmark_tasks import Task
from vqa.metrics.circular_choice import question_groups
from vqa.metrics.grouped import all_right

_CHOICE_METRICS = ("multiple_choice", "circular_choice", "mmmu")
_COLUMN = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class BenchmarkRows:
    """A file of rows, and below which directory their pictures are."""

    path: Path
    images: Path


def write_rows(
    task: Task,
    out: Path,
    data: Path | None = None,
    images: Path | None = None,
    limit: int | None = None,
    notice: Callable[[Notice], None] = lambda notice: None,
) -> BenchmarkRows:
    """Write the first `limit` rows of a task to `out`, atomically; the same on every call.

    `notice` is called as by `vqa.data.read`.
    `data` is a local copy, a file or folder. Pictures stay where they are; those that stand in the
    data itself are copied beside `out`. Raises InputError where there is no data, and BadRows with
    all rows that cannot be asked: a score over the others would be another benchmark's.
    """
    sources = _sources(task, data)
    examples = _examples(task, sources, images, notice)
    first = next(examples, None)
    if first is None:
        raise InputError(f"{sources[0]}: no rows")
    inside = all(Path(image).is_relative_to(picture_store()) for image in first.images)
    root = out.parent if inside else images if images is not None else default_root(sources[0])
    rows = _asked(task, islice(chain([first], examples), limit), whole=limit is None)
    named = (with_names(example, root, out, inside=False) for example in rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    flat_json.write(out, copy_pictures(named, root, out))
    return BenchmarkRows(out, root)


def chance_of(task: Task, rows: Sequence[Example]) -> float | None:
    """Return the score that guesses reach: known of choices, else what the task says."""
    choices = [row.extra.get("choices") or [] for row in rows]
    if task.metric not in _CHOICE_METRICS or not any(choices):
        return task.chance
    guesses = np.array([1 / len(texts) if texts else 0.0 for texts in choices])  # [R]
    if task.metric == "circular_choice":
        right, questions = all_right(question_groups([row.extra for row in rows]), guesses).sum(0)
        return float(right / questions)
    return float(guesses.mean())


def _sources(task: Task, data: Path | None) -> list[Path]:
    if data is None:
        if task.data is None:
            raise InputError(
                f"{task.title}: this task has no data on the hub, and needs a local copy"
            )
        return [Path(task.data)]
    if not task.files or not data.is_dir():
        return [data]
    files = [data / name for name in task.files if (data / name).is_file()]
    if not files:
        raise InputError(f"{data}: none of {', '.join(task.files)} is here")
    return files


def _examples(
    task: Task,
    sources: Sequence[Path],
    images: Path | None,
    notice: Callable[[Notice], None],
) -> Iterator[Example]:
    """Read the rows; of several files, with the file's name in their ids and in the column `by`."""
    for source in sources:
        for example in read(source, images, columns=task.columns, notice=notice):
            if len(sources) > 1:
                extra = {task.by: source.stem} if task.by else {}
                key = f"{source.stem}/{example.id}"
                example = replace(example, id=key, extra=extra | example.extra)
            yield example


def _asked(task: Task, examples: Iterable[Example], whole: bool) -> Iterator[Example]:
    """Put the questions of rows into the prompt.

    Raises InputError for a column that no row of the `whole` data has, for an empty prompt, and for
    a row whose choices are missing.
    """
    never = set(_COLUMN.findall(task.prompt)) - set(task.optional)
    asks_choices = task.metric in _CHOICE_METRICS and "choices" in never
    if task.open_prompt is not None:
        never = {*never, *_COLUMN.findall(task.open_prompt)} - {"choices"}
    for example in examples:
        columns = _columns(example)
        never -= columns.keys()
        is_open = task.open_prompt is not None and "choices" not in columns
        template = task.open_prompt or "" if is_open else task.prompt
        prompt = _filled(template, columns)
        if not prompt.strip():
            raise InputError(f"{task.title}: row {example.id!r} has no column of its prompt")
        if asks_choices and not is_open and "choices" not in columns:
            raise InputError(
                f"{task.title}: row {example.id!r} has no choices, or one of them is missing"
            )
        before = len(_filled(template, columns, end="{question}"))
        places = tuple(place + before for place in example.places)
        yield replace(example, question=prompt, places=places)
    if whole and never:
        raise InputError(f"{task.title}: the prompt has {{{min(never)}}}, and no row has it")


def _filled(prompt: str, columns: Mapping[str, str], end: str | None = None) -> str:
    """Put columns into a prompt, without the lines that name one which is missing.

    Of the prompt, only what stands before `end` is filled, if that is given.
    """
    lines = [line for line in prompt.splitlines() if columns.keys() >= {*_COLUMN.findall(line)}]
    text = "\n".join(lines)
    text = text if end is None else text.partition(end)[0]
    return _COLUMN.sub(lambda match: columns[match[1]], text)


def _columns(example: Example) -> dict[str, str]:
    """Return what a prompt may show of a row; choices under each other, by letters."""
    columns = {
        name: str(value)
        for name, value in example.extra.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }
    choices = example.extra.get("choices")
    if isinstance(choices, list):
        lettered = zip(ascii_uppercase, choices, strict=False)
        columns["choices"] = "\n".join(f"{letter}. {text}" for letter, text in lettered)
    return columns | {"question": example.question}
