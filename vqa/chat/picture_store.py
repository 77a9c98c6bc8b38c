"""Pictures of conversations: their bytes on disk, and decoded once for all questions about them."""

from __future__ import annotations

import io
from collections.abc import Callable, Set
from pathlib import Path
from threading import Lock

from PIL.Image import Image

from vqa.chat.turn import StoredPicture
from vqa.inputs.boxes import Box, crop
from vqa.inputs.images import load_image
from vqa.utils import fingerprint
from vqa.utils.files import atomic_write
from vqa.utils.lru import LRUCache

_BYTES_PER_PIXEL = 4  # PIL keeps RGB in 32 bits


class PictureFolder:
    """Bytes of pictures as they came, each in a file named by its fingerprint."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, content: bytes) -> str:
        """Write a picture, if it is not there, and return the name of its file."""
        name = fingerprint.of_bytes(content)
        path = self.path(name)
        if not path.exists():
            with atomic_write(path, "wb") as file:
                file.write(content)
        return name

    def path(self, name: str) -> Path:
        """Return the path of the file of that name."""
        return self._path / name

    def remove_all_but(self, names: Set[str]) -> None:
        """Remove the files that have none of these names."""
        for path in self._path.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)


class DecodedPictures:
    """An LRU cache of decoded pictures by the fingerprint of their bytes, for many threads.

    The same bytes give the same object while it is cached, whose features and fingerprint an engine
    then has already. Nobody may change it in place.
    """

    def __init__(self, max_bytes: int = 512 << 20) -> None:
        self._cache: LRUCache[Image] = LRUCache(max_bytes)
        self._lock = Lock()

    def load(self, content: bytes, name: str | None = None, box: Box | None = None) -> Image:
        """Decode a picture's bytes, or the part of it in `box`.

        Raises ImageError, which calls it by its name, and InputError for too small a part.
        """
        file = io.BytesIO(content)
        if name is not None:
            file.name = name
        return self._part(fingerprint.of_bytes(content), file, box)

    def load_stored(self, picture: StoredPicture, box: Box | None = None) -> Image:
        """Decode a picture of a turn, or the part of it in `box`.

        Raises ImageError, also where its file is gone, and InputError for too small a part.
        """
        if not picture.path.is_file():
            return load_image(picture.path)  # which says so
        return self._part(picture.path.name, picture.path, box)

    def _part(self, key: str, source: io.BytesIO | Path, box: Box | None) -> Image:
        if box is None:
            return self._get(key, lambda: load_image(source))
        return self._get(f"{key} {box.values}", lambda: crop(self._part(key, source, None), box))

    def _get(self, key: str, decode: Callable[[], Image]) -> Image:
        with self._lock:
            image = self._cache.get(key)
        if image is None:
            image = decode()  # unlocked: a picture may take seconds, and others wait
            with self._lock:
                image = self._cache.get(key) or image  # another thread may have come first
                self._cache.put(key, image, image.width * image.height * _BYTES_PER_PIXEL)
        return image
