"""Pictures on the page: small copies, with what is marked in them, and the examples that ship.

Those of the side bar are smaller still, made once, and only so many at a time that nobody waits.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import streamlit as st
from PIL import ImageOps
from PIL.Image import Image

from app.state import chats
from vqa.chat.service import Upload
from vqa.chat.turn import Mark, StoredPicture
from vqa.inputs.boxes import Box, draw_box
from vqa.inputs.images import ImageError, load_image
from vqa.utils.lru import LRUCache

_LARGEST = 1280  # pixels of the longer side
ICON = 80  # pixels of the side of a picture in the side bar: twice those of the page
_ICON_BYTES = 16 << 20  # of all of them, for everybody: some thousands


@st.cache_data(show_spinner=False)
def crop(path: Path) -> bytes:
    """Cut an example to the size that all have, as a JPEG."""
    return jpeg(ImageOps.fit(load_image(path), (450, 300)), 85)


@st.cache_data(max_entries=500, show_spinner=False)
def reduced(
    content: bytes, _load: Callable[[bytes], Image] = load_image, box: Box | None = None
) -> bytes:
    """Encode a picture, with a part framed, as a JPEG that a page can show. Raises ImageError."""
    return _small(_load(content), (_LARGEST, _LARGEST), box)


def _small(picture: Image, most: tuple[int, int], box: Box | None) -> bytes:
    picture = smaller(picture, most)
    return jpeg(picture if box is None else draw_box(picture, box), 90)


def smaller(picture: Image, most: tuple[int, int] = (_LARGEST, _LARGEST)) -> Image:
    """Copy a picture in the size of a page."""
    picture = picture.copy()  # others have it too
    picture.thumbnail(most)
    return picture


def jpeg(picture: Image, quality: int) -> bytes:
    """Encode a picture as JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def show(upload: Upload, width: int) -> None:
    """Show a picture of the chat, `width` pixels wide, with its name for the blind."""
    content = reduced(upload.content, chats().pictures.load, _box(upload.mark))
    st.image(content, width=width, alt=upload.name)


def show_stored(picture: StoredPicture, width: int, alt: str | None = None) -> None:
    """Show a picture of a turn. Raises OSError or ImageError where its file is gone or broken.

    It is read out by its name, unless `alt` is something else.
    """
    st.image(stored(picture, width), width=width, alt=picture.name if alt is None else alt)


def stored(picture: StoredPicture, width: int = _LARGEST) -> bytes:
    """Encode a picture of a turn as a JPEG that a page can show. Raises as `show_stored` does."""
    picture.path.stat()  # one that is cached may be gone
    return _stored(picture.path, width, _box(picture.mark), picture)


@st.cache_resource(max_entries=500, show_spinner=False)  # no copy for each run of the script
def _stored(path: Path, width: int, box: Box | None, _picture: StoredPicture) -> bytes:
    """Encode a picture whose file is named by its content.

    No wider than it is shown: Streamlit would make it so again in each run of the script.
    """
    picture = chats().pictures.load_stored(_picture)
    return _small(picture, (width, _LARGEST), box)


def _box(mark: Mark | None) -> Box | None:
    return None if mark is None else mark.box


@st.cache_resource(show_spinner=False)
def _icons() -> tuple[LRUCache[bytes], Lock]:
    return LRUCache(_ICON_BYTES), Lock()


def icon(picture: StoredPicture) -> bytes | None:
    """Return the small square of a picture; empty where it cannot be opened, None until made."""
    icons, lock = _icons()
    with lock:
        return icons.get(picture.path.name)


def make_icons(pictures: Sequence[StoredPicture], seconds: float) -> bool:
    """Make the icons that are lacking, until the time is over; tell whether none is lacking."""
    icons, lock = _icons()
    end = time.monotonic() + seconds
    for picture in pictures:
        if icon(picture) is not None:
            continue
        if time.monotonic() > end:
            return False
        content = b""
        with suppress(OSError, ImageError):
            square = ImageOps.fit(chats().pictures.load_stored(picture), (ICON, ICON))
            content = jpeg(square, 80)
        with lock:
            icons.put(picture.path.name, content, len(content) + 100)
    return True


def examples() -> list[Path]:
    """List the pictures that ship, in the order of their names."""
    inside = Path(__file__).parent / "examples"  # of the installed package
    folder = inside if inside.is_dir() else Path(__file__).parents[1] / "examples"
    return sorted(folder.glob("*.jpg"))


def upload_of(path: Path) -> Upload:
    """Read a file of this machine as an upload."""
    return Upload(path.name, path.read_bytes())
