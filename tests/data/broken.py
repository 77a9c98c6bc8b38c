"""Files that are named as pictures and cannot be opened as such, each in its way."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from PIL import Image


def write_all(folder: Path) -> list[str]:
    """Write them; returns their names. One is not there at all."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "folder.jpg").mkdir()
    (folder / "text.png").write_text("<html>404 Not Found</html>")
    noise = Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3))
    noise.save(folder / "cut.jpg", quality=95)
    whole = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "bomb.png").write_bytes(_bomb(60_000, 60_000))
    (folder / "link.jpg").symlink_to(folder / "nowhere.jpg")
    names = ["empty.jpg", "folder.jpg", "text.png", "cut.jpg", "bomb.png", "link.jpg", "gone.jpg"]
    if os.geteuid():  # root may read everything
        (folder / "closed.png").write_bytes(b"")
        (folder / "closed.png").chmod(0)
        names.append("closed.png")
    return names


def _bomb(width: int, height: int) -> bytes:
    """A few bytes that claim billions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data
