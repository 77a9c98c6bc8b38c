"""The description of the run that wrote a file of predictions: `FILE.run.json` beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa.data.identity import sha256
from vqa.errors import InputError
from vqa.utils.files import atomic_write, json_text
from vqa.utils.json_files import read_object
from vqa.version import __version__

if TYPE_CHECKING:
    from vqa.evaluation.picture_conditions import Condition


def description_path(predictions: str | PathLike[str]) -> Path:
    """Return the path of the description of a file of predictions."""
    return Path(f"{fspath(predictions)}.run.json")


def read_description(predictions: str | PathLike[str]) -> dict[str, Any]:
    """Read the description of the run; empty where there is none that can be read."""
    try:
        return read_object(description_path(predictions))
    except InputError:
        return {}


def write_description(
    out: Path,
    name: str,
    about: Mapping[str, Any],
    condition: Condition,
    settings: Mapping[str, Any],
    rows: int,
) -> None:
    """Describe the run of the answerer `name` that writes `rows` rows to `out`."""
    description = {
        "model": about.get("model", name),
        "adapter": about.get("adapter"),
        "backend": about.get("backend"),
        "condition": condition,
        "settings": {**settings, **about.get("settings", {})},
        "data": about.get("data"),
        "rows": rows,
        "vqa": __version__,
    }
    with atomic_write(description_path(out)) as file:
        file.write(json_text(description, indent=2) + "\n")


def check_condition(predictions: str | PathLike[str], expected: Condition) -> None:
    """Raise InputError where the predictions are described as those of another condition."""
    condition = read_description(predictions).get("condition", expected)
    if condition != expected:
        raise InputError(
            f"{predictions} was predicted as {condition!r}, not as {expected!r}; "
            f"run `vqa predict --{expected}` for it"
        )


def check_data(predictions: Iterable[Path], data: Path) -> None:
    """Raise InputError where predictions are described as those of other data than `data` is now.

    For data that repeats ids: which of its rows an id means depends on all of them.
    """
    for path in predictions:
        described = read_description(path).get("data")
        if isinstance(described, dict) and described.get("sha256") not in (None, sha256(data)):
            raise InputError(
                f"{data} repeats ids and is not the data that {path} was predicted from, so an id "
                "may mean another row: run `vqa predict` for it again"
            )


def description_differences(
    base: str | PathLike[str], other: str | PathLike[str], names: tuple[str, ...]
) -> list[str]:
    """Name what two runs do not share of `names`, a line each; skip what is not described."""
    first, second = read_description(base), read_description(other)
    return [
        f"{other} is of another {name} than {base}: {_short(second[name])} against "
        f"{_short(first[name])}"
        for name in names
        if name in first and name in second and _identity(first[name]) != _identity(second[name])
    ]


def _identity(value: Any) -> Any:
    """Return what identifies a value: of data their content, not their place."""
    return value.get("sha256", value) if isinstance(value, dict) else value


def _short(value: Any) -> str:
    if isinstance(value, dict) and "file" in value:
        return f"{value['file']} ({str(value.get('sha256', ''))[:8]})"
    return str(value)
