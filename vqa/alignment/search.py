"""Index a folder of pictures, and search it by a text or by a picture.

Other programs, as the page, call `open_index` once, then `search_by_text` or `search_by_image`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from PIL import Image

from vqa.alignment.dual_encoder import DualEncoder
from vqa.alignment.index import RECORD, FileStamp, Hit, PictureIndex, may_be_index
from vqa.data.picture_files import LeftOut, list_pictures
from vqa.errors import InputError
from vqa.inputs.images import ImageError, Source, load_image
from vqa.utils.files import lock

Picture = TypeVar("Picture", bound=Source)

_AT_ONCE = 4  # pictures that are opened together: each may be large
_SAVE_EVERY = 60.0  # seconds of work that a kill may cost


@dataclass
class IndexReport:
    """What changed in an index."""

    added: int = 0
    unchanged: int = 0
    removed: int = 0
    broken: list[str] = field(default_factory=list)  # the problems, a line for each picture
    left_out: LeftOut | None = None  # files of the folder that are no pictures


def load_batches(
    paths: Sequence[Picture], broken: Callable[[str], None]
) -> Iterator[tuple[list[Picture], list[Image.Image]]]:
    """Yield batches of pictures that open; call `broken` with the problem of every other one."""
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), _AT_ONCE):
            loaded: list[Picture] = []
            images: list[Image.Image] = []
            part = paths[start : start + _AT_ONCE]
            for path, image in zip(part, pool.map(_try_to_load, part), strict=True):
                if isinstance(image, ImageError):
                    broken(str(image))
                else:
                    loaded.append(path)
                    images.append(image)
            yield loaded, images


def index_folder(
    folder: Path,
    out: Path,
    encoder: DualEncoder,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> IndexReport:
    """Bring the index `out` up to date with the pictures below `folder`.

    Unchanged files are not encoded again, and those that are gone leave the index. It is saved
    every minute: killed and started again it goes on. `progress` is called with how many pictures
    are done and how many there are. Raises InputError where `out` is the index of another folder
    or model, or the folder has no picture that can be opened.
    """
    folder = folder.resolve()
    listing = list_pictures(folder)
    paths = {listing.name(path): path for path in listing.pictures}
    if out.exists() and not may_be_index(out):
        raise InputError(f"{out} is there already and is no index: name another `out`")
    done = IndexReport(left_out=listing.left_out())
    with lock(
        out, busy=f"{out}: this index is being brought up to date elsewhere: wait for its end"
    ):
        index = _open_or_create(folder, out, encoder, paths)
        stamps = {name: stamp for name, path in paths.items() if (stamp := _stamp(path))}
        done.broken += [
            f"{paths[n]}: no such file, or a broken link" for n in sorted(paths.keys() - stamps)
        ]
        gone = [name for name in index.stamps() if name not in stamps]
        index.remove(gone)
        done.removed = len(gone)
        new = [name for name in stamps if index.stamps().get(name) != stamps[name]]
        # a picture that was changed and is broken now must not be in results as it was
        index.remove([name for name in new if name in index.stamps()])
        todo = [paths[name] for name in new]
        done.unchanged = len(index)
        index.check_room(len(todo))
        saved, processed = time.monotonic(), 0
        for loaded, images in load_batches(todo, done.broken.append):
            if loaded:
                names = [listing.name(path) for path in loaded]
                vectors = encoder.encode_images(images).numpy()  # [B, d]
                index.add(names, [stamps[name] for name in names], vectors)
                done.added += len(loaded)
            del images  # before the next ones are opened
            processed += min(_AT_ONCE, len(todo) - processed)
            progress(done.unchanged + processed, len(paths))
            if time.monotonic() - saved > _SAVE_EVERY:
                index.save()
                saved = time.monotonic()
        if not len(index):
            if done.removed:
                index.save()
            raise InputError(f"{folder}: none of its pictures can be opened: {done.broken[0]}")
        index.save()
    return done


def open_index(path: Path, encoder: DualEncoder) -> PictureIndex:
    """Open an index. Raises InputError where it is none, or was made by another model."""
    index = PictureIndex.open(path)
    check_model(index, encoder)
    return index


def search_by_text(
    index: PictureIndex, encoder: DualEncoder, text: str, top_k: int = 10
) -> list[Hit]:
    """Rank the pictures by a text. Raises InputError where it is empty or too long."""
    return index.nearest(encoder.encode_texts([text])[0].numpy(), top_k)


def search_by_image(
    index: PictureIndex, encoder: DualEncoder, image: Image.Image, top_k: int = 10
) -> list[Hit]:
    """Rank the pictures by their similarity to `image`, which may be one of them."""
    return index.nearest(encoder.encode_images([image])[0].numpy(), top_k)


def _open_or_create(
    folder: Path, out: Path, encoder: DualEncoder, names: Container[str]
) -> PictureIndex:
    if not (out / RECORD).exists():
        return PictureIndex(out, encoder.name, encoder.fingerprint, encoder.dim, folder)
    index = open_index(out, encoder)
    moved = any(name in names for name in index.stamps())
    if index.folder != folder and (index.folder.is_dir() or not moved):
        raise InputError(f"{out} is the index of {index.folder}: name another `out` for {folder}")
    index.folder = folder  # the pictures were moved with their folder
    return index


def check_model(index: PictureIndex, encoder: DualEncoder) -> None:
    """Raise InputError where another model has made the index: its vectors are of another space."""
    if index.fingerprint != encoder.fingerprint:
        made = f"{index.model} ({index.fingerprint[:8]})"
        here = f"{encoder.name} ({encoder.fingerprint[:8]})"
        other = f"give `model` {index.model}, or " if index.model != encoder.name else ""
        raise InputError(
            f"{index.directory} was made by the model {made}, not by {here}: {other}make the index "
            "again under another name"
        )


def _stamp(path: Path) -> FileStamp | None:
    try:
        return FileStamp.of(path)
    except OSError:  # it has gone since the folder was read
        return None


def _try_to_load(path: Source) -> Image.Image | ImageError:
    try:
        return load_image(path)
    except ImageError as error:
        return error
