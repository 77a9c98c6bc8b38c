"""What all readers share: files that must be there, text that must be UTF-8."""

from __future__ import annotations

from pathlib import Path

from vqa.errors import InputError


def lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file. Raises InputError if it is missing or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; convert the file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def under(root: Path, name: str, where: str) -> Path:
    """Return `root / name`. Raises InputError if that leaves the root."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise InputError(f"{where}: the path {name!r} leaves {root}")
    return path
