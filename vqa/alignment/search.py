"""Index a folder of pictures and find in it what a text says or what looks like a picture.

For other programs, as a page is: `open_index` once, then `find` or `find_like` for each question.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from vqa.alignment.index import RECORD, Hit, PictureIndex, Stamp, may_hold
from vqa.alignment.loading import DualEncoder
from vqa.data.readers.files import PICTURE_ENDINGS
from vqa.errors import InputError
from vqa.files import lock
from vqa.images import ImageError, load_image

_AT_ONCE = 4  # pictures that are opened together: each may be large
_SAVE_EVERY = 60.0  # seconds of work that a kill may cost


@dataclass
class Indexed:
    """What indexing a folder has done."""

    added: int = 0
    kept: int = 0
    removed: int = 0
    broken: list[str] = field(default_factory=list)  # what is wrong, a line for each


def pictures_in(folder: Path) -> list[Path]:
    """All picture files below a folder, by name, but for hidden ones and those in hidden folders.

    Raises InputError where there are none.
    """
    try:
        there = folder.is_dir()
    except OSError as error:  # too long a name, a folder that must not be looked into
        raise InputError(f"{folder}: {error.strerror or error}") from error
    if not there:
        raise InputError(f"{folder}: no such folder of pictures")
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = (name for name in names if not name.startswith("."))
        found += [Path(parent) / n for n in visible if Path(n).suffix.lower() in PICTURE_ENDINGS]
    if not found:
        raise InputError(f"{folder}: no pictures in it ({', '.join(sorted(PICTURE_ENDINGS))})")
    return sorted(found)


def opened(
    paths: list[Path], broken: Callable[[str], None]
) -> Iterator[tuple[list[Path], list[Image.Image]]]:
    """Batches of pictures that can be opened; of every other one `broken` is told why."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), _AT_ONCE):
            good: list[Path] = []
            images: list[Image.Image] = []
            part = paths[start : start + _AT_ONCE]
            for path, image in zip(part, pool.map(_try_to_load, part), strict=True):
                if isinstance(image, ImageError):
                    broken(str(image))
                else:
                    good.append(path)
                    images.append(image)
            yield good, images


def index_folder(
    folder: Path,
    out: Path,
    encoder: DualEncoder,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Indexed:
    """Bring the index `out` up to date with the pictures below `folder`.

    Files that are as they were are not encoded again, and those that are gone leave the index. It
    is saved every minute: killed and started again it goes on. `tell` takes how many pictures are
    looked at and how many there are. Raises InputError where `out` is the index of another folder
    or model, or the folder has no picture that can be opened.
    """
    folder = folder.resolve()
    paths = {path.relative_to(folder).as_posix(): path for path in pictures_in(folder)}
    if out.exists() and not may_hold(out):
        raise InputError(f"{out} is there already and is no index: name another --out")
    done = Indexed()
    with lock(out):
        index = _begin(folder, out, encoder, paths)
        stamps = {name: stamp for name, path in paths.items() if (stamp := _stamp(path))}
        done.broken += [
            f"{paths[n]}: no such file, or a broken link" for n in sorted(paths.keys() - stamps)
        ]
        gone = [name for name in index.stamps() if name not in stamps]
        index.remove(gone)
        done.removed = len(gone)
        new = [name for name in stamps if index.stamps().get(name) != stamps[name]]
        # a picture that was changed and is broken now must not be found as it was
        index.remove([name for name in new if name in index.stamps()])
        todo = [paths[name] for name in new]
        done.kept = len(index)
        saved, seen = time.monotonic(), 0
        for good, images in opened(todo, done.broken.append):
            if good:
                names = [path.relative_to(folder).as_posix() for path in good]
                vectors = encoder.pictures(images).numpy()  # [B, d]
                index.add(names, [stamps[name] for name in names], vectors)
                done.added += len(good)
            del images  # before the next ones are opened
            seen += min(_AT_ONCE, len(todo) - seen)
            tell(done.kept + seen, len(paths))
            if time.monotonic() - saved > _SAVE_EVERY:
                index.save()
                saved = time.monotonic()
        if not len(index):
            raise InputError(f"{folder}: none of its pictures can be opened: {done.broken[0]}")
        index.save()
    return done


def open_index(path: Path, encoder: DualEncoder) -> PictureIndex:
    """Open an index. Raises InputError where it is none, or was made by another model."""
    index = PictureIndex.open(path)
    check_model(index, encoder)
    return index


def find(index: PictureIndex, encoder: DualEncoder, text: str, top_k: int = 10) -> list[Hit]:
    """The pictures that a text describes best. Raises InputError where it is empty or too long."""
    return index.nearest(encoder.texts([text])[0].numpy(), top_k)


def find_like(
    index: PictureIndex, encoder: DualEncoder, image: Image.Image, top_k: int = 10
) -> list[Hit]:
    """The pictures that look most like `image`, which may be one of them."""
    return index.nearest(encoder.pictures([image])[0].numpy(), top_k)


def _begin(folder: Path, out: Path, encoder: DualEncoder, names: Container[str]) -> PictureIndex:
    if not (out / RECORD).exists():
        return PictureIndex(out, encoder.name, encoder.fingerprint, encoder.dim, folder)
    index = open_index(out, encoder)
    moved = any(name in names for name in index.stamps())
    if index.folder != folder and (index.folder.is_dir() or not moved):
        raise InputError(f"{out} is the index of {index.folder}: name another --out for {folder}")
    index.folder = folder  # the pictures were moved with their folder
    return index


def check_model(index: PictureIndex, encoder: DualEncoder) -> None:
    """Raise InputError where another model has made the index: its vectors mean other things."""
    if index.fingerprint != encoder.fingerprint:
        made = f"{index.model} ({index.fingerprint[:8]})"
        here = f"{encoder.name} ({encoder.fingerprint[:8]})"
        other = f"give --model {index.model}, or " if index.model != encoder.name else ""
        raise InputError(
            f"{index.directory} was made by the model {made}, not by {here}: {other}make the index "
            "again under another name"
        )


def _stamp(path: Path) -> Stamp | None:
    try:
        return Stamp.of(path)
    except OSError:  # it has gone since the folder was read
        return None


def _try_to_load(path: Path) -> Image.Image | ImageError:
    try:
        return load_image(path)
    except ImageError as error:
        return error
