"""Checksums of directories in the cache: damage is reported before anything is computed from it.

`checksums.json` in such a directory records the size and the SHA-256 of each file, and the SHA-256
of a sample: 8 bytes of each 512. What a crash or a failing disk leaves, zeros or foreign blocks, is
longer than that, so a sample meets it wherever it is; it misses changes of fewer than 512 bytes
that lie between two of its places, such as a single flipped bit, 63 times of 64. Reading all meets
those too.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal

from vqa.errors import InputError, VQAError
from vqa.utils.files import atomic_directory, atomic_write, lock
from vqa.utils.safetensors_files import stored_tensors

RECORD = "checksums.json"
Depth = Literal["sizes", "sample", "all"]

_SAMPLED = 64  # words of 8 bytes: one of so many is read
_SMALL = 1 << 20  # bytes; files up to this size are always read whole
_BLOCK = 1 << 20
_PAGE = 4096  # bytes; what a crash leaves unwritten is as long as this at least


def ensure_directory(
    target: Path,
    make: Callable[[Path], None],
    *,
    depth: Depth = "sample",
    adopt: Callable[[Path], str | None] | None = None,
    remedy: str | None = None,
) -> Path:
    """Return `target`, filled by `make` where it is missing, and made anew where it is damaged.

    Safe with several processes at once and after a kill at any moment. `adopt` says what is wrong
    with a directory without checksums, of an earlier version; without it such a directory is made
    anew. With a `remedy`, the advice to the user, nothing is mended: damage raises VQAError.
    """
    damage = _state(target, depth, adopt)
    if damage is None:
        return target
    if damage and remedy is not None:
        raise VQAError(f"{damage}: {remedy}")
    with ExitStack() as stack:
        try:
            stack.enter_context(lock(target))
        except InputError as error:
            raise (VQAError(f"{damage}. {error}") if damage else error) from error
        damage = _state(target, depth, adopt)
        if damage is None:  # another process has made it while this one waited
            return target
        if damage:
            print(f"vqa: {damage}; it is made again", file=sys.stderr, flush=True)
        with atomic_directory(target, replace=bool(damage)) as directory:
            make(directory)
            record_checksums(directory)
        if damage:
            print(f"vqa: {target} is whole again", file=sys.stderr, flush=True)
    return target


def record_checksums(directory: Path, names: Iterable[str] | None = None) -> None:
    """Write the checksums of all files below, or add those of the files called `names`.

    One process at a time may do so.
    """
    sums = {} if names is None else _read(directory) or {}
    for name in _files(directory) if names is None else names:
        path = directory / name
        sums[name] = {"size": path.stat().st_size, **_digests(path, "sha256", "sample")}
    with atomic_write(directory / RECORD) as file:
        json.dump(sums, file, indent=1)
        file.write("\n")


def recorded_files(directory: Path) -> set[str]:
    """Return the names of the files whose checksums are recorded."""
    return set(_read(directory) or ())


def find_damage(directory: Path, depth: Depth, name: str | None = None) -> str | None:
    """Describe the first damaged file that is recorded, or the damage of the one called `name`."""
    sums = _read(directory) or {}
    for file in sums if name is None else {name} & sums.keys():
        damage = _damage(directory / file, sums[file], depth)
        if damage is not None:
            return f"{directory / file} is damaged ({damage})"
    return None


def find_unwritten(path: Path) -> str | None:
    """Describe what shows without a checksum that a file was never written to its end.

    It is read whole, and is empty, has 4,096 zeros in a row or is safetensors cut short.
    """
    try:
        if path.suffix == ".safetensors":
            stored_tensors(path)
        if not path.stat().st_size:
            return f"{path} is damaged (it is empty)"
        zeros = bytes(_PAGE)
        for place, block in enumerate(_blocks(path)):
            for start in range(0, len(block), _PAGE):
                if not block[start] and block[start : start + _PAGE] == zeros:
                    return f"{path} is damaged (zeros at byte {place * _BLOCK + start:,})"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror or error})"
    except InputError:
        return f"{path} is damaged (it is cut short, or no safetensors file)"
    return None


def adopt_whole(*needed: str) -> Callable[[Path], str | None]:
    """Make an `adopt` that runs `find_unwritten` on all files, of which `needed` must exist."""

    def adopt(directory: Path) -> str | None:
        for name in needed:
            if not (directory / name).is_file():
                return f"{directory} is damaged (it has no file {name})"
        paths = (directory / name for name in _files(directory))
        return next(filter(None, map(find_unwritten, paths)), None)

    return adopt


def _state(target: Path, depth: Depth, adopt: Callable[[Path], str | None] | None) -> str | None:
    """Describe the damage of a directory: None where it is whole, "" where there is nothing."""
    if not os.path.lexists(target):
        return ""
    if not target.is_dir():
        return f"{target} is damaged (it is no directory)"
    if _read(target) is not None:
        return find_damage(target, depth)
    if adopt is None:
        return f"{target} has no checksums"
    damage = adopt(target)
    if damage is None:
        with suppress(InputError, OSError):  # where nothing can be written it is read each time
            record_checksums(target)
    return damage


def _read(directory: Path) -> dict[str, dict[str, Any]] | None:
    """Read the checksums by the file's name; None where there are none that can be read."""
    try:
        sums = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        for name, entry in sums.items():
            texts = (name, entry["sha256"], entry["sample"])
            if not (all(isinstance(text, str) for text in texts) and entry["size"] >= 0):
                return None
    except (AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError):
        return None
    return sums or None


def _damage(path: Path, sums: dict[str, Any], depth: Depth) -> str | None:
    """Describe how the file differs from the one that was recorded."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "it is no file"
        if status.st_size != sums["size"]:
            return f"{status.st_size:,} bytes in place of {sums['size']:,}"
        kind = "sha256" if depth == "all" or status.st_size <= _SMALL else "sample"
        if depth != "sizes" and _digests(path, kind)[kind] != sums[kind]:
            return "its content has changed"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return None


def _digests(path: Path, *kinds: str) -> dict[str, str]:
    """Compute digests in one pass: `sha256` of all bytes, `sample` of some."""
    digests = {kind: hashlib.sha256() for kind in kinds}
    for block in _blocks(path):
        if "sha256" in digests:
            digests["sha256"].update(block)
        if "sample" in digests:
            words = len(block) // 8 * 8
            digests["sample"].update(block[:words].cast("Q")[::_SAMPLED].tobytes())
            digests["sample"].update(block[words:])
    return {kind: digest.hexdigest() for kind, digest in digests.items()}


def _blocks(path: Path) -> Iterator[memoryview]:
    """Yield a file's bytes; each block is overwritten by the next."""
    block = memoryview(bytearray(_BLOCK))
    with path.open("rb") as file:  # not mapped: a disk's error there would end the process
        while size := file.readinto(block):
            yield block[:size]


def _files(directory: Path) -> list[str]:
    """List all files below but the record and hidden ones, as file managers leave them."""
    paths = (path for path in directory.rglob("*") if path.is_file())
    names = (path.relative_to(directory).as_posix() for path in paths)
    return sorted(name for name in names if name != RECORD and not Path(name).name.startswith("."))
