"""Identity of data: what a cache or a prediction run was made from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vqa.data.formats import vqa_v2
from vqa.data.formats.probe import probe_file
from vqa.data.picture_files import is_hidden
from vqa.inputs import signatures
from vqa.utils.disk import reading


def sha256(path: Path) -> str:
    """Hash all that the rows of `path` are read from, by SHA-256.

    Of one file it is that of its content; of VQA v2 both files count. In a folder pictures count by
    name and size, all other files by content. A hub id stands for itself. Raises InputError.
    """
    if path.is_dir():
        return _of_folder(path)
    probe = probe_file(path)
    if probe.kind == "hub":
        return hashlib.sha256(str(path).encode()).hexdigest()
    files = vqa_v2.files(probe) if vqa_v2.sniff(probe) else [path]
    hashes = [file_sha256(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Hash a file's bytes by SHA-256. Raises InputError where it cannot be read."""
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        hidden = any(map(is_hidden, path.relative_to(folder).parts))
        if path.is_file() and not hidden:  # what a system leaves there comes and goes
            picture = path.suffix.lower() in signatures.SUFFIXES
            content = path.stat().st_size if picture else file_sha256(path)
            digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()
