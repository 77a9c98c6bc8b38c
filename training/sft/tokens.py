"""The tokens of a data file, made once and memory-mapped: rows take next to no memory."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from training.sft.packing import EncodedExample
from vqa.data.example import EarlierTurn, Example
from vqa.data.file_conventions import NumbersOfChoices, TimesAsAnswers
from vqa.data.picture_files import LeftOut
from vqa.data.row_reader import BadRow, Notice
from vqa.data.unique_ids import RepeatedIds
from vqa.errors import InputError
from vqa.utils import cache
from vqa.utils.checksums import ensure_directory

_ARRAYS = {
    "ids": np.int32,  # [T] the tokens of all rows, one after the other
    "loss_mask": np.bool_,  # [T]
    "starts": np.int64,  # [R + 1] where each row begins
    "prefix_lengths": np.int32,  # [R] tokens at the beginning that a row may share with others
    "prefix_keys": np.uint64,  # [R] rows with the same key begin alike, pictures included
    "pictures": np.int32,  # [P] of all rows, as indices into `paths`
    "picture_starts": np.int64,  # [R + 1]
    "sources": np.int32,  # [R] as indices into `source_names`
    "lines": np.int64,  # [R] of the file
}

_EXAMPLES = "examples.jsonl"  # all rows, one a line
_EXAMPLE_STARTS = "example_starts"  # [R + 1] int64: the bytes where they begin

ReadRows = Callable[[Callable[[BadRow], None], Callable[[Notice], None]], Iterable[Example]]
_NOTICES: dict[str, Callable[..., Notice]] = {
    kind.__name__: kind for kind in (LeftOut, NumbersOfChoices, RepeatedIds, TimesAsAnswers)
}


@dataclass(frozen=True)
class TokenTable:
    """R rows of a data file, cached in `directory`; `arrays` are those of `_ARRAYS`.

    `bad` are lines of rows that cannot be trained on, with the reasons; whether pictures can be
    opened is not known here.
    """

    arrays: dict[str, NDArray[Any]]
    paths: list[str]
    source_names: list[str]
    bad: tuple[tuple[int, str], ...] = ()
    notices: tuple[Notice, ...] = ()
    directory: Path | None = None
    paired: bool = False  # rows come in twos: the second is the first with another answer

    def __len__(self) -> int:
        return len(self.arrays["prefix_lengths"])

    def __getitem__(self, row: int) -> EncodedExample:
        start, stop = self.arrays["starts"][row : row + 2]
        return EncodedExample(
            tuple(self.paths[number] for number in self.pictures(row)),
            self.arrays["ids"][start:stop].tolist(),
            self.arrays["loss_mask"][start:stop].tolist(),
        )

    def pictures(self, row: int) -> list[int]:
        """List a row's pictures, as indices into `paths`."""
        start, stop = self.arrays["picture_starts"][row : row + 2]
        indices: list[int] = self.arrays["pictures"][start:stop].tolist()
        return indices

    def prefix_length(self, row: int) -> int:
        """Count the tokens at a row's beginning that it may share with others."""
        return int(self.arrays["prefix_lengths"][row])

    def paths_of(self, rows: NDArray[np.int32]) -> set[str]:
        """Collect the paths of all pictures of the `rows`."""
        chosen = np.zeros(len(self), dtype=np.bool_)
        chosen[rows] = True
        if chosen.all():
            return set(self.paths)
        pictures = self.arrays["pictures"][
            np.repeat(chosen, np.diff(self.arrays["picture_starts"]))
        ]
        return {self.paths[index] for index in np.unique(pictures).tolist()}

    def examples(self, rows: NDArray[np.int32]) -> Iterator[Example]:
        """Yield the examples that the `rows` were made of, which stand beside the tokens."""
        assert self.directory is not None
        starts = _mapped(self.directory / _EXAMPLE_STARTS, np.int64)
        with (self.directory / _EXAMPLES).open("rb") as file:
            for row in rows.tolist():
                file.seek(int(starts[row]))
                yield _decode_example(file.readline())

    @property
    def questions(self) -> NDArray[np.bool_]:
        """Mark the rows [R] that are questions: of a pair the first one."""
        marks = np.ones(len(self), dtype=np.bool_)
        if self.paired:
            marks[1::2] = False
        return marks

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Count the tokens of each row [R]; of a pair, with those of its second answer."""
        lengths = np.diff(self.arrays["starts"]).astype(np.int32)
        if self.paired:
            lengths[::2] += lengths[1::2] - self.arrays["prefix_lengths"][1::2]
        return lengths


def load_tokens(
    identity: str,
    read: ReadRows,
    encode: Callable[[Example], Sequence[EncodedExample]],
    shared_token: int | None,
    context: int | None,
    prepare: Callable[[], None] | None = None,
    paired: bool = False,
) -> TokenTable:
    """Load the tokens of the rows that `read` gives, or encode them and store them in the cache.

    Tokens are encoded again if the cached ones are damaged or have no checksums, or if other rows
    are bad now than when they were cached.

    `identity` is that of the data and of all that encodes it. `encode` gives one row of the table
    for each example, two where they are `paired`; rows that it refuses with an InputError, or that
    have more than `context` tokens, are bad. `prepare` is called before anything is encoded.
    Raises InputError where there is no row at all.
    """
    made: list[Path] = []

    def make(directory: Path) -> None:
        made.append(directory)
        if prepare is not None:
            prepare()
        _write(directory, read, encode, shared_token, context)

    def cached() -> Path:
        return ensure_directory(cache.cache_dir() / "tokens" / identity, make)

    directory = cached()
    if not made and _changed(directory, read):
        shutil.rmtree(directory)
        directory = cached()
    names = _names(directory)
    arrays = {name: _mapped(directory / name, kind) for name, kind in _ARRAYS.items()}
    return TokenTable(
        arrays,
        names["paths"],
        names["sources"],
        tuple((line, reason) for line, reason in sorted(names["bad"] + names["unfit"])),
        tuple(_NOTICES[kind](**values) for kind, values in names["notices"]),
        directory,
        paired,
    )


def _names(directory: Path) -> dict[str, Any]:
    names: dict[str, Any] = json.loads((directory / "names.json").read_text(encoding="utf-8"))
    return names


def _changed(directory: Path, read: ReadRows) -> bool:
    """Return whether other rows are bad now than when the tokens were cached.

    Some depend on files beside the data.
    """
    before = _names(directory)["bad"]
    now: list[list[Any]] = []
    if before:
        for _ in read(lambda row: now.append([row.line, row.reason]), lambda notice: None):
            pass
    return now != before


def _mapped(path: Path, kind: Any) -> NDArray[Any]:
    if not path.stat().st_size:  # nothing can be mapped
        return np.empty(0, kind)
    return np.memmap(path, kind, mode="r")


def _write(
    directory: Path,
    read: ReadRows,
    encode: Callable[[Example], Sequence[EncodedExample]],
    shared_token: int | None,
    context: int | None,
) -> None:
    files: dict[str, IO[bytes]] = {
        name: (directory / name).open("wb") for name in (*_ARRAYS, _EXAMPLES, _EXAMPLE_STARTS)
    }
    paths: dict[str, int] = {}
    sources: dict[str, int] = {}
    bad: list[tuple[int, str]] = []
    unfit: list[tuple[int, str]] = []
    notices: list[Any] = []  # dataclasses
    rows = 0
    ends = {"starts": 0, "picture_starts": 0, _EXAMPLE_STARTS: 0}

    def put(name: str, values: Any) -> None:
        files[name].write(np.asarray(values, dtype=_ARRAYS.get(name, np.int64)).tobytes())

    try:
        for name in ends:
            put(name, [0])
        for example in read(lambda row: bad.append((row.line, row.reason)), notices.append):
            try:
                rows_of = encode(example)
            except InputError as error:
                unfit.append((example.line, str(error)))
                continue
            longest = max(len(encoded.input_ids) for encoded in rows_of)
            if context is not None and longest > context:
                reason = f"{longest} tokens, but the model takes {context}"
                unfit.append((example.line, reason))
                continue
            source = str(example.extra.get("source", ""))
            for encoded in rows_of:
                length = shared_prefix(encoded, shared_token)
                ends["starts"] += len(encoded.input_ids)
                ends["picture_starts"] += len(encoded.images)
                ends[_EXAMPLE_STARTS] += files[_EXAMPLES].write(_encode_example(example))
                put("ids", encoded.input_ids)
                put("loss_mask", encoded.loss_mask)
                put("prefix_lengths", [length])
                put("prefix_keys", [prefix_key(encoded, length, rows)])
                put("pictures", [paths.setdefault(path, len(paths)) for path in encoded.images])
                put("sources", [sources.setdefault(source, len(sources))])
                put("lines", [example.line])
                for name, end in ends.items():
                    put(name, [end])
                rows += 1
    finally:
        for file in files.values():
            file.close()
    if not (rows or bad or unfit):
        raise InputError("the data has no rows")
    names = {
        "paths": list(paths),
        "sources": list(sources),
        "bad": bad,
        "unfit": unfit,
        "notices": [[type(notice).__name__, asdict(notice)] for notice in notices],
    }
    (directory / "names.json").write_text(json.dumps(names), encoding="utf-8")


def _encode_example(example: Example) -> bytes:
    """Write an example as a line of JSON: its fields in their order."""
    images = [str(image) for image in example.images]
    earlier = [
        [turn.question, turn.answer, turn.pictures, turn.in_loss, turn.places]
        for turn in example.earlier
    ]
    fields = [
        example.id, images, example.question, example.answers, example.extra, earlier,
        example.system, example.line, example.in_loss, example.places,
    ]  # fmt: skip
    return json.dumps(fields, default=str).encode() + b"\n"


def _decode_example(line: bytes) -> Example:
    fields = json.loads(line)
    id_, images, question, answers, extra, earlier, system, number, in_loss, places = fields
    turns = tuple(
        EarlierTurn(text, answer, count, counts, tuple(at))
        for text, answer, count, counts, at in earlier
    )
    return Example(
        id_, tuple(images), question, tuple(answers), extra, turns, system, number, in_loss,
        tuple(places),
    )  # fmt: skip


def shared_prefix(encoded: EncodedExample, shared_token: int | None) -> int:
    """Count the tokens that a row may share with others: up to its last image token, or its hints.

    Without pictures nothing is shared, nor with a picture behind an answer that is trained on.
    """
    ids = encoded.input_ids
    length = max((i for i, token in enumerate(ids) if token == shared_token), default=-1) + 1
    length = max(length, encoded.shared_end)
    return 0 if any(encoded.loss_mask[:length]) else length


def prefix_key(encoded: EncodedExample, length: int, row: int) -> int:
    """Hash pictures and the first `length` tokens into 64 bits; without any, the row's number."""
    key = hashlib.blake2b(digest_size=8)
    key.update("\0".join(encoded.images).encode())
    numbers = encoded.input_ids[:length] if length else [row, -1]
    key.update(np.asarray(numbers, dtype=np.int64).tobytes())
    return int.from_bytes(key.digest(), "little")
