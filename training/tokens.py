"""The tokens of a data file, made once and memory-mapped: rows take next to no memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from training.packing import Encoded
from vqa import cache
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.files import atomic_directory, lock

_MOST_NAMED = 3  # rows that are named where they do not fit
_ARRAYS = {
    "ids": np.int32,  # [T] the tokens of all rows, one after the other
    "learned": np.bool_,  # [T]
    "starts": np.int64,  # [R + 1] where each row begins
    "cuts": np.int32,  # [R] how long the beginning is that a row may share with others
    "groups": np.uint64,  # [R] rows with the same number begin alike, pictures included
    "pictures": np.int32,  # [P] of all rows, as places in `paths`
    "picture_starts": np.int64,  # [R + 1]
    "sources": np.int32,  # [R] as places in `source_names`
}


@dataclass(frozen=True)
class Tokens:
    """R rows of a data file; `arrays` are those of `_ARRAYS`."""

    arrays: dict[str, NDArray[Any]]
    paths: list[str]
    source_names: list[str]

    def __len__(self) -> int:
        return len(self.arrays["cuts"])

    def __getitem__(self, row: int) -> Encoded:
        start, stop = self.arrays["starts"][row : row + 2]
        return Encoded(
            tuple(self.paths[number] for number in self.pictures(row)),
            self.arrays["ids"][start:stop].tolist(),
            self.arrays["learned"][start:stop].tolist(),
        )

    def pictures(self, row: int) -> list[int]:
        """Places in `paths` of a row's pictures."""
        start, stop = self.arrays["picture_starts"][row : row + 2]
        found: list[int] = self.arrays["pictures"][start:stop].tolist()
        return found

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each row [R]."""
        return np.diff(self.arrays["starts"]).astype(np.int32)


def tokens_of(
    identity: str,
    examples: Callable[[], Iterable[Example]],
    encode: Callable[[Example], Encoded],
    image_token_id: int,
    context: int | None,
) -> Tokens:
    """The tokens of `examples()`, from the cache if `identity` has been encoded before.

    `identity` is that of the data and of all that encodes it. Raises InputError where there is no
    row, and names rows that are longer than `context` tokens.
    """
    directory = cache.cache_directory() / "tokens" / identity
    with lock(directory):
        if not directory.is_dir():
            with atomic_directory(directory) as made:
                _write(made, examples(), encode, image_token_id, context)
    names = json.loads((directory / "names.json").read_text(encoding="utf-8"))
    arrays = {name: _mapped(directory / name, kind) for name, kind in _ARRAYS.items()}
    return Tokens(arrays, names["paths"], names["sources"])


def _mapped(path: Path, kind: Any) -> NDArray[Any]:
    if not path.stat().st_size:  # nothing can be mapped
        return np.empty(0, kind)
    return np.memmap(path, kind, mode="r")


def _write(
    directory: Path,
    examples: Iterable[Example],
    encode: Callable[[Example], Encoded],
    image_token_id: int,
    context: int | None,
) -> None:
    files: dict[str, IO[bytes]] = {name: (directory / name).open("wb") for name in _ARRAYS}
    paths: dict[str, int] = {}
    sources: dict[str, int] = {}
    too_long: list[str | int] = []
    longest = rows = 0
    ends = {"starts": 0, "picture_starts": 0}

    def put(name: str, values: Any) -> None:
        files[name].write(np.asarray(values, dtype=_ARRAYS[name]).tobytes())

    try:
        for name in ends:
            put(name, [0])
        for example in examples:
            one = encode(example)
            if context is not None and len(one.input_ids) > context:
                too_long.append(example.id)
                longest = max(longest, len(one.input_ids))
            cut = shared_prefix(one, image_token_id)
            ends["starts"] += len(one.input_ids)
            ends["picture_starts"] += len(one.images)
            put("ids", one.input_ids)
            put("learned", one.learned)
            put("cuts", [cut])
            put("groups", [beginning(one, cut, rows)])
            put("pictures", [paths.setdefault(path, len(paths)) for path in one.images])
            source = str(example.extra.get("source", ""))
            put("sources", [sources.setdefault(source, len(sources))])
            for name, end in ends.items():
                put(name, [end])
            rows += 1
    finally:
        for file in files.values():
            file.close()
    if not rows:
        raise InputError("the data has no rows")
    if too_long:
        named = ", ".join(map(repr, too_long[:_MOST_NAMED]))
        raise InputError(
            f"{len(too_long)} rows have more tokens than the model's {context} (up to {longest}), "
            f"among them id {named}: shorten or remove them"
        )
    names = {"paths": list(paths), "sources": list(sources)}
    (directory / "names.json").write_text(json.dumps(names), encoding="utf-8")


def shared_prefix(one: Encoded, image_token_id: int) -> int:
    """How many tokens a row may share with others: up to its last image token.

    Without pictures nothing is shared, nor with a picture behind an answer that is learned.
    """
    ids = one.input_ids
    cut = max((i for i, token in enumerate(ids) if token == image_token_id), default=-1) + 1
    return 0 if any(one.learned[:cut]) else cut


def beginning(one: Encoded, cut: int, row: int) -> int:
    """A number of 64 bits for the pictures and the first `cut` tokens; without any, for the row."""
    key = hashlib.blake2b(digest_size=8)
    key.update("\0".join(one.images).encode())
    key.update(np.asarray(one.input_ids[:cut] if cut else [row, -1], dtype=np.int64).tobytes())
    return int.from_bytes(key.digest(), "little")
