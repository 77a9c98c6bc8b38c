"""easy-VQA: 5,000 drawings of shapes with 48,248 questions (Victor Zhou, MIT), from PyPI."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from vqa.utils.cache import cache_dir
from vqa.utils.checksums import adopt_whole, ensure_directory
from vqa.utils.files import write_jsonl
from vqa.utils.wheels import Wheel, fetch_wheel

_WHEEL = Wheel(
    package="easy-vqa",
    version="1.0",
    file="easy_vqa-1.0-py3-none-any.whl",
    sha256="fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
    size=3_215_672,
)
_ROOT = "easy_vqa/data"


def directory() -> Path:
    """Return where `train.jsonl`, `test.jsonl` (the official halves) and their pictures are.

    Fetched and unpacked on first use, and again where it is damaged. Raises VQAError where it
    cannot be fetched.
    """
    target = cache_dir() / "data" / "easy_vqa-1.0"
    return ensure_directory(target, _make, adopt=adopt_whole("train.jsonl", "test.jsonl"))


def _make(directory: Path) -> None:
    wheel = fetch_wheel(_WHEEL, cache_dir() / "wheels")
    with zipfile.ZipFile(wheel) as archive:
        for split in ("train", "test"):
            _unpack(archive, split, directory)
    wheel.unlink()


def _unpack(archive: zipfile.ZipFile, split: str, directory: Path) -> None:
    prefix = f"{_ROOT}/{split}/images/"
    (directory / split).mkdir()
    for name in archive.namelist():
        if name.startswith(prefix) and name.endswith(".png"):
            # the name alone: nothing that an archive says leads out of the directory
            (directory / split / Path(name).name).write_bytes(archive.read(name))
    write_jsonl(directory / f"{split}.jsonl", _rows(archive, split))


def _rows(archive: zipfile.ZipFile, split: str) -> Iterator[dict[str, str]]:
    questions = json.load(io.BytesIO(archive.read(f"{_ROOT}/{split}/questions.json")))
    for number, (question, answer, picture) in enumerate(questions):
        yield {
            "id": f"{split}-{number}",
            "image": f"{split}/{int(picture)}.png",
            "question": question,
            "answer": answer,
        }
