"""Vectors of a folder's pictures on disk: what `vqa search` searches.

An index is a directory: `index.json` names model, folder and pictures and the file that holds the
vectors in usearch's format. usearch was chosen because it keeps half-precision vectors under keys
that can be removed again, compares them by the processor's vector instructions, is 2 MB, and brings
no OpenMP of its own, as faiss does, to quarrel with that of torch; hnswlib has no wheels, and
LanceDB is a database of 75 MB.

Every search compares all vectors, which takes milliseconds for 100,000. The library's graph would
be faster, but it misses some pictures, most of all where many are alike, and costs minutes to make:
it is as small as can be.

A new state is written beside the old one and takes its place with `index.json`, so that a kill at
any moment leaves the last state whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from vqa.errors import InputError
from vqa.utils import fingerprint
from vqa.utils.disk import check_room
from vqa.utils.files import atomic_write

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORD = "index.json"
_KIND = "vqa picture index 1"
_RECORD_BYTES = 100  # of a picture: its name, key, size and time
_GRAPH = {"connectivity": 8, "expansion_add": 16}  # no search uses it


@dataclass(frozen=True)
class FileStamp:
    """Size and time of a file, by which a changed one is noticed."""

    size: int  # bytes
    changed: int  # nanoseconds

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        """Stat a file. Raises OSError where it is gone."""
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
class Hit:
    """A picture in the results, and its cosine similarity to the query."""

    image: Path
    similarity: float


class _Record(BaseModel):
    """`index.json`."""

    model_config = ConfigDict(extra="forbid")

    kind: str
    model: str
    fingerprint: str
    dim: int
    folder: str
    vectors: str
    sha256: str
    pictures: dict[str, tuple[int, int, int]]  # name -> key, size, changed


class PictureIndex:
    """Unit vectors of pictures under their names below `folder`."""

    def __init__(self, directory: Path, model: str, model_fingerprint: str, dim: int, folder: Path):
        self.directory = directory
        self.model = model
        self.fingerprint = model_fingerprint  # of the model that made the vectors
        self.dim = dim
        self.folder = folder
        self._keys: dict[str, int] = {}
        self._names: dict[int, str] = {}
        self._stamps: dict[str, FileStamp] = {}
        self._vectors = _empty(dim)

    @classmethod
    def open(cls, directory: Path) -> PictureIndex:
        """Open an index that `save` has written.

        Raises InputError where it is none or is damaged, or has vectors that are not finite: they
        would displace others in the results.
        """
        record = _read(directory)
        index = cls(directory, record.model, record.fingerprint, record.dim, Path(record.folder))
        path = directory / record.vectors
        # usearch reads raw bytes: nothing that was cut short or changed may get there
        whole = path.parent == directory and path.is_file()
        if not whole or fingerprint.of_file(path) != record.sha256:
            raise InputError(
                f"{directory}: {path.name} is damaged or gone: remove {directory} and make it again"
            )
        index._vectors.load(str(path))
        for name, (key, size, changed) in record.pictures.items():
            index._note(name, key, FileStamp(size, changed))
        if len(index._vectors) != len(index._keys):
            raise InputError(
                f"{directory}: {RECORD} and {path.name} differ: remove it and make it again"
            )
        zeros = np.zeros(index.dim, dtype=np.float32)  # its product with a finite vector is 0
        if not all(np.isfinite(hit.similarity) for hit in index.nearest(zeros, len(index))):
            raise InputError(
                f"{directory} holds vectors that are not finite, of a damaged model: remove it and "
                "make it again"
            )
        return index

    def __len__(self) -> int:
        return len(self._keys)

    def stamps(self) -> Mapping[str, FileStamp]:
        """Return the stamps of all pictures by name."""
        return self._stamps

    def add(self, names: Sequence[str], stamps: Sequence[FileStamp], vectors: NDArray[Any]) -> None:
        """Add pictures with their unit vectors [B, d], or replace them."""
        self.remove([name for name in names if name in self._keys])
        first = max(self._names, default=-1) + 1
        keys = np.arange(first, first + len(names), dtype=np.uint64)
        self._vectors.add(keys, np.ascontiguousarray(vectors, dtype=np.float32))
        for name, key, stamp in zip(names, keys.tolist(), stamps, strict=True):
            self._note(name, key, stamp)

    def remove(self, names: Sequence[str]) -> None:
        """Remove pictures."""
        if names:
            keys = [self._keys.pop(name) for name in names]
            self._vectors.remove(np.array(keys, dtype=np.uint64))
            for name, key in zip(names, keys, strict=True):
                del self._names[key], self._stamps[name]

    def nearest(self, vector: NDArray[Any], top_k: int) -> list[Hit]:
        """Return the pictures nearest to a unit vector [d], best first."""
        query = np.ascontiguousarray(vector, dtype=np.float32)
        matches = self._vectors.search(query, min(top_k, max(len(self), 1)), exact=True)
        pairs = zip(matches.keys.tolist(), matches.distances.tolist(), strict=True)
        return [Hit(self.folder / self._names[key], 1 - distance) for key, distance in pairs]

    def has_changed(self, picture: Path) -> bool:
        """Return whether the file of a picture is gone, or another than was indexed."""
        stamp = self._stamps.get(picture.relative_to(self.folder).as_posix())
        try:
            return FileStamp.of(picture) != stamp
        except OSError:
            return True

    def check_room(self, more: int) -> None:
        """Raise VQAError where the disk has no room for the index with so many `more` pictures.

        Else it would fail at the end, when hours of work wait to be saved.
        """
        self._remove_temporary()
        place = self.directory / RECORD if self.directory.is_dir() else self.directory
        vector = 2 * self.dim + 16 * _GRAPH["connectivity"]  # bytes, its neighbours included
        check_room(place, (len(self) + more) * (vector + _RECORD_BYTES))

    def save(self) -> None:
        """Replace the last state on disk by the present one. One process at a time may do so."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._remove_temporary()
        before = _read(self.directory).vectors if (self.directory / RECORD).exists() else None
        content = bytes(self._vectors.save())
        digest = fingerprint.of_bytes(content)
        name = f"vectors-{digest[:16]}.usearch"
        with atomic_write(self.directory / name, "wb") as file:
            file.write(content)
        record = _Record(
            kind=_KIND, model=self.model, fingerprint=self.fingerprint, dim=self.dim,
            folder=str(self.folder), vectors=name, sha256=digest,
            pictures={
                name: (key, self._stamps[name].size, self._stamps[name].changed)
                for name, key in self._keys.items()
            },
        )  # fmt: skip
        with atomic_write(self.directory / RECORD) as file:
            # all in ASCII: a name that is no text has escapes, and comes back as it was
            file.write(json.dumps(record.model_dump()) + "\n")
        for path in self.directory.glob("vectors-*.usearch"):
            if path.name not in (name, before):  # who has just read the last record finds its file
                path.unlink(missing_ok=True)

    def _remove_temporary(self) -> None:
        for path in self.directory.glob(".*.tmp"):  # of a process that was killed while it wrote
            path.unlink(missing_ok=True)

    def _note(self, name: str, key: int, stamp: FileStamp) -> None:
        self._keys[name], self._names[key], self._stamps[name] = key, name, stamp


def describe_saved(directory: Path) -> str:
    """Tell how much of an index is on disk, for the message of a run that broke off."""
    try:
        count = len(_read(directory).pictures)
    except InputError:
        return "nothing is kept; the same command begins again"
    return f"{directory} keeps {count} pictures; the same command goes on"


def may_be_index(directory: Path) -> bool:
    """Return whether a directory is an index, or holds only temporary files of a killed `save`."""
    if not directory.is_dir():
        return False
    names = [path.name for path in directory.iterdir()]
    patterns = ("vectors-*.usearch", ".*.tmp")
    return RECORD in names or all(any(fnmatch(name, p) for p in patterns) for name in names)


def _empty(dim: int) -> Any:
    try:
        from usearch.index import Index
    except ImportError as error:
        raise InputError("search needs usearch: pip install 'vqa[search]'") from error
    return Index(ndim=dim, metric="ip", dtype="f16", **_GRAPH)


def _read(directory: Path) -> _Record:
    path = directory / RECORD
    if not directory.is_dir():
        raise InputError(f"{directory}: no such index; make one with `vqa search index FOLDER`")
    if not path.exists():
        raise InputError(
            f"{directory} is no index: `vqa search index FOLDER --out INDEX` makes one"
        )
    try:
        record = _Record.model_validate(json.loads(path.read_text(encoding="utf-8")))
        if record.kind != _KIND:
            raise ValueError
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise InputError(
            f"{directory}: {RECORD} is damaged, or of something else: remove {directory} if it is "
            "an index, and make it again by `vqa search index FOLDER --out INDEX`"
        ) from error
    return record
