"""Classes in tables of the Hugging Face library: a number in the table, whose name is meant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vqa.data.example import Columns

_METADATA = b"huggingface"  # of a table's schema: JSON with the types of its columns
_MISSING = -1


class ClassLabels:
    """The columns of a table that hold classes, alone or in lists."""

    def __init__(self, features: Mapping[str, Any]) -> None:
        """`features` are the types of all columns, as `Features.to_dict` of the library."""
        names = {column: _names_in(feature) for column, feature in features.items()}
        self._names = {column: known for column, known in names.items() if known is not None}

    @classmethod
    def of_metadata(cls, metadata: Mapping[bytes, bytes] | None) -> ClassLabels:
        """Read the types of columns from the metadata of a schema, which need not have them."""
        try:
            features = json.loads((metadata or {})[_METADATA])["info"]["features"]
        except (KeyError, TypeError, ValueError, RecursionError):
            features = None
        return cls(features if isinstance(features, dict) else {})

    def named(self, row: Columns | ValueError) -> Columns | ValueError:
        """Return a row with the names of its classes, or what is wrong with it."""
        if isinstance(row, ValueError) or not self._names:
            return row
        try:
            return row | {
                column: _named(row[column], names)
                for column, names in self._names.items()
                if column in row
            }
        except ValueError as error:
            return error


def _names_in(feature: Any) -> Sequence[str] | None:
    """Return the names of the classes in a column of this type; None where it has none."""
    while isinstance(feature, dict | list):
        if isinstance(feature, list):  # as the library wrote lists once
            feature = feature[0] if len(feature) == 1 else None
            continue
        names = feature.get("names")
        if feature.get("_type") == "ClassLabel" and isinstance(names, list):
            return names if all(isinstance(name, str) for name in names) else None
        feature = feature.get("feature")  # a list's
    return None


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if value == _MISSING:
        return None
    if not 0 <= value < len(names):
        raise ValueError(f"class {value}, of {len(names)} that the file names (from 0)")
    return names[value]
