"""Data sets of the Hugging Face library: a directory that it has saved, or a hub id.

`NAME:SPLIT` names a split, `NAME:CONFIG:SPLIT` one of a config; without it there must be only one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.data.example import Columns, Example
from vqa.data.formats.arrow_rows import rows_of
from vqa.data.formats.class_labels import ClassLabels
from vqa.data.formats.probe import FileProbe
from vqa.data.formats.table_rows import read_rows
from vqa.data.row_reader import ReadOptions
from vqa.errors import InputError
from vqa.models.model_files import load_pretrained

NAME = "a Hugging Face data set"
_AT_ONCE = 500  # rows; they are in the file, not in memory, until they are measured
_MARKS = ("dataset_info.json", "state.json", "dataset_dict.json")


def sniff(probe: FileProbe) -> bool:
    """Recognise the files that `save_to_disk` writes; or no file at all, but a hub id."""
    return probe.kind == "hub" or (
        probe.kind == "folder" and any((probe.path / name).is_file() for name in _MARKS)
    )


def read(probe: FileProbe, options: ReadOptions) -> Iterator[Example]:
    """Read rows by their number. Raises InputError where the library or the data set is missing."""
    name, *parts = str(probe.path).split(":") if probe.kind == "hub" else [str(probe.path)]
    data = _load(name, parts) if probe.kind == "hub" else _load_directory(probe.path)
    return read_rows(enumerate(_rows(_only_split(data, name), name), start=1), options)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            "reading data sets of Hugging Face needs the library datasets: pip install 'vqa[hub]'"
        ) from error
    return datasets


def _load_directory(path: Path) -> Any:
    try:
        return _library().load_from_disk(str(path))
    except InputError:
        raise
    except Exception as error:  # what the library makes of a damaged directory
        raise InputError(f"{path}: cannot be read as a data set ({_line(error)})") from error


def _load(name: str, parts: list[str]) -> Any:
    config, split = [None, None, *parts][-2:]
    if (Path.cwd() / name).exists():
        raise InputError(f"{name} has no part {':'.join(parts)!r}")
    try:
        library = _library()
    except InputError as error:
        raise InputError(f"{name}: no such file or directory; {error}") from error
    try:
        return load_pretrained(library.load_dataset, name, name=config, split=split)
    except InputError as error:  # no network, no such name, a script that it would have to run
        raise InputError(
            f"{name}: no such file or directory, and no hub could give a data set of that name "
            f"({_line(error)})"
        ) from error


def _only_split(data: Any, name: str) -> Any:
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        splits = ", ".join(data)
        raise InputError(f"{name} has the splits {splits}: name one ({name}:SPLIT, or its "
                         "directory)")  # fmt: skip
    return next(iter(data.values()))


def _rows(data: Any, name: str) -> Iterator[Columns | ValueError]:
    """Yield the rows as they are stored: of pictures, sound and videos `{bytes, path}`.

    Of classes, which are stored as numbers, it yields the names.
    """
    import pyarrow

    classes = ClassLabels(data.features.to_dict())
    try:
        for table in data.with_format("arrow").iter(_AT_ONCE):
            for batch in table.to_batches():
                yield from map(classes.named, rows_of(batch, validated=False))
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{name}: cannot be read as a data set ({_line(error)})") from error


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:197]}..."
