"""Word tables that questions are made with, and how they are read."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from training.mix.picture import Label


@cache
def rows(name: str) -> list[list[str]]:
    """Read the lines of `name.tsv` as cells; lines that begin with `#` are comments."""
    text = files(__package__).joinpath(f"{name}.tsv").read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]


@cache
def labels(name: str) -> dict[str, Label]:
    """Read the labels of a data set by the key that it uses (a folder's name, a class)."""
    return {row[0]: Label(row[1], row[2], row[3]) for row in rows(name)}


@cache
def document(name: str) -> Any:
    """Read `name.yaml`."""
    return yaml.safe_load(files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8"))
