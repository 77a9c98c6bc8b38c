"""Pictures on the page: small copies that enlarge with a click, and the examples that ship."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from vqa.chat.kept import Upload
from vqa.images import load_image

TYPES = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif"]
_LARGEST = 1280  # pixels of the longer side; a click shows it as large as that


@dataclass(frozen=True)
class Example:
    """A picture that ships, with its name in the catalogue."""

    name: str
    path: Path


@st.cache_data(max_entries=500, show_spinner=False)
def reduced(content: bytes) -> bytes:
    """The picture as a JPEG that a page can show. Raises ImageError."""
    picture = load_image(content)
    picture.thumbnail((_LARGEST, _LARGEST))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def show(content: bytes, width: int, name: str) -> None:
    """Show a picture `width` pixels wide, with its name for those who cannot see it."""
    st.image(reduced(content), width=width, alt=name)


def examples() -> list[Example]:
    """The pictures that ship, in the order of their names."""
    inside = Path(__file__).parent / "examples"  # of the installed package
    folder = inside if inside.is_dir() else Path(__file__).parents[1] / "examples"
    return [Example(path.stem, path) for path in sorted(folder.glob("*.jpg"))]


def upload_of(path: Path) -> Upload:
    """A file of this machine as an upload."""
    return Upload(path.name, path.read_bytes())
