"""What all recipes do to plan a run: name the data files, keep validation apart, draw rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.common.settings import RunSettings
from vqa.data.identity import sha256
from vqa.data.reading import default_root
from vqa.errors import InputError
from vqa.utils import fingerprint


def data_files(settings: RunSettings, rows: str) -> list[Path]:
    """List the data file and, if there is one, that of the validation.

    Raises InputError where none is named, with what its `rows` have to be.
    """
    if settings.data is None:
        raise InputError(f"data: name a file of {rows}")
    validation = settings.validation.data
    return [settings.data] if validation is None else [settings.data, validation]


def data_fingerprint(files: Sequence[Path]) -> str:
    """Compute the identity of data files from their content."""
    return fingerprint.of_json([sha256(path) for path in files])


def data_root(path: Path, settings: RunSettings) -> Path:
    """Return the directory of a file's pictures, whatever the working directory is."""
    return (settings.images or default_root(path)).resolve()


def refuse_leaks(
    trained: Iterable[str], measured: Iterable[str], fingerprints: Mapping[str, str], file: Path
) -> None:
    """Raise InputError where a picture of the validation `file` is trained on too, by content."""
    training = {fingerprints[path]: path for path in trained}
    for path in measured:
        if fingerprints[path] in training:
            raise InputError(
                f"validation.data: {path} is also a training picture "
                f"({training[fingerprints[path]]}): what "
                f"was trained on measures nothing; remove it from {file}"
            )


def draw_rows(rows: NDArray[np.int32], most: int, seed: int) -> NDArray[np.int32]:
    """Draw at most so many of the rows at random, in their order."""
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def indices_of(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """List the indices at which a mask is set."""
    return np.flatnonzero(mask).astype(np.int32)
