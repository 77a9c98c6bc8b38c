"""What all readers share: files that must be there, text that must be UTF-8."""

from __future__ import annotations

from pathlib import Path

from vqa.errors import InputError

PICTURE_ENDINGS = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif"}
)


def lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file. Raises InputError if it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; convert the file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def under(root: Path, name: str, where: str) -> Path:
    """`root / name`. Raises InputError if that leaves the root."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{where}: the path {name!r} leaves {root}")
    return path


def folders(root: Path) -> list[Path]:
    """The folders in `root`, sorted. Raises InputError if there are none."""
    if not root.is_dir():
        raise InputError(f"{root}: no such directory")
    found = sorted(path for path in root.iterdir() if path.is_dir())
    if not found:
        raise InputError(f"{root}: no folders in it; one folder for each class is expected")
    return found


def pictures(folder: Path) -> list[Path]:
    """The picture files in `folder`, sorted."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_ENDINGS)
