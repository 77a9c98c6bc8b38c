"""Identity of data: what a cache or a prediction run was made from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vqa.data.formats import vqa_v2
from vqa.data.formats.look import look
from vqa.data.readers.files import PICTURE_ENDINGS
from vqa.errors import InputError


def sha256(path: Path) -> str:
    """SHA-256 of all that the rows of `path` are read from.

    Of one file it is that of its content; of VQA v2 both files count. In a folder pictures count by
    name and size, all other files by content. A hub id stands for itself. Raises InputError.
    """
    if path.is_dir():
        return _of_folder(path)
    seen = look(path)
    if seen.kind == "hub":
        return hashlib.sha256(str(path).encode()).hexdigest()
    files = vqa_v2.files(seen) if vqa_v2.sniff(seen) else [path]
    found = [of_file(file) for file in files]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()


def of_file(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises InputError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


def _of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            picture = path.suffix.lower() in PICTURE_ENDINGS
            content = path.stat().st_size if picture else of_file(path)
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
