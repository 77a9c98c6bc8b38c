"""Data sets of the Hugging Face library: a directory that it has saved, or a hub id.

`NAME:SPLIT` names a split; without one there must be only one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.data.example import Example
from vqa.data.formats.by_row import read_rows
from vqa.data.formats.look import Seen
from vqa.data.rows import Wanted
from vqa.errors import InputError

NAME = "a Hugging Face data set"
_MARKS = ("dataset_info.json", "state.json", "dataset_dict.json")


def sniff(seen: Seen) -> bool:
    """The files that `save_to_disk` writes; or no file at all, but the name of a hub id."""
    return seen.kind == "hub" or (
        seen.kind == "folder" and any((seen.path / name).is_file() for name in _MARKS)
    )


def read(seen: Seen, wanted: Wanted) -> Iterator[Example]:
    """Rows by their number. Raises InputError where the library or the data set is missing."""
    name, _, split = str(seen.path).partition(":") if seen.kind == "hub" else (str(seen.path),) * 3
    data = _load(name, split) if seen.kind == "hub" else _load_directory(seen.path)
    return read_rows(_with_files(data, name), wanted)


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


def _load(name: str, split: str) -> Any:
    if (Path.cwd() / name).exists():
        raise InputError(f"{name} has no part {split!r}")
    try:
        library = _library()
    except InputError as error:
        raise InputError(f"{name}: no such file or directory; {error}") from error
    try:
        return library.load_dataset(name, split=split or None)
    except Exception as error:  # no network, no such name, a script that it would have to run
        raise InputError(
            f"{name}: no such file or directory, and no hub could give a data set of that name "
            f"({_line(error)})"
        ) from error


def _with_files(data: Any, name: str) -> Any:
    """The only split, its pictures as `{bytes, path}` instead of decoded."""
    if isinstance(data, dict):
        if len(data) != 1:
            splits = ", ".join(data)
            raise InputError(f"{name} has the splits {splits}: name one ({name}:SPLIT, or its "
                             "directory)")  # fmt: skip
        data = next(iter(data.values()))
    datasets = _library()
    for column, feature in data.features.items():
        if isinstance(feature, datasets.Image):
            data = data.cast_column(column, datasets.Image(decode=False))
        elif isinstance(getattr(feature, "feature", None), datasets.Image):
            undecoded = datasets.List(datasets.Image(decode=False))
            data = data.cast_column(column, undecoded)
    return data


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:197]}..."
