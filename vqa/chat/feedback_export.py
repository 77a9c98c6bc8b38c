"""Writes feedback to a directory, as rows to train on and rows to measure with."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa.chat.feedback import Gathered, Tell, gather, leave_out_leaks
from vqa.chat.history import History
from vqa.data.formats import flat_json
from vqa.data.identity import of_file
from vqa.data.split import split, together
from vqa.errors import InputError, VQAError
from vqa.files import atomic_directory, atomic_write, lock
from vqa.version import __version__

COMMAND = "vqa data export-feedback"
TEST_SHARE = 0.2
_RECORD = "feedback.json"
_ROWS = ("train.jsonl", "test.jsonl")
_BESIDE = ".new-"  # what is not finished


@dataclass(frozen=True)
class Exported:
    """What was written: rows and different pictures on each side. There may be no test side."""

    found: Gathered
    train: tuple[int, int]
    test: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """One object for `--json`."""
        sides = {"train": self.train, "test": self.test}
        counts = {name: {"rows": rows, "pictures": n} for name, (rows, n) in sides.items()}
        return self.found.to_json() | counts


def export(
    history: History,
    out: Path,
    owner: str | None = None,
    *,
    against: Sequence[Path] = (),
    images: Path | None = None,
    test_share: float = TEST_SHARE,
    tell: Tell = lambda done, total: None,
    warn: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write what `owner` (None: everybody) said of answers to the directory `out`.

    `train.jsonl` and `test.jsonl` share no picture; the pictures lie in `pictures/`. Where all rows
    show one picture there is no `test.jsonl`. A directory that an earlier call has written is
    brought up to date; other files in it stay. Rows with a picture of `against` are left out
    (files with their pictures below `images`, or beside them); `warn` hears what of them could not
    be compared.

    Raises InputError where nothing was judged or nothing remains, and where `out` holds something
    that was not written here, or was changed since: it stays as it is.
    """
    if not history.judged_answers(owner):
        raise InputError(
            "no answer was judged yet: give a thumb or a correction in the chat (`vqa app`)"
        )
    with lock(out), _place(out) as folder:
        found = gather(history, owner, folder, tell)
        for line in leave_out_leaks(found, folder, against, images, tell):
            warn(line)
        if not found.rows:
            raise InputError(f"nothing to train on in what was judged: {_why_nothing(found)}")
        return _write(found, folder, test_share)


def as_zip(history: History, owner: str) -> bytes:
    """What `export` writes of an owner, in one file."""
    file = io.BytesIO()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "feedback"
        export(history, out, owner)
        with zipfile.ZipFile(file, "w") as archive:  # not packed: PNG is so already
            for path in sorted(out.rglob("*")):
                archive.write(path, path.relative_to(name))
    return file.getvalue()


def _write(found: Gathered, folder: Path, test_share: float) -> Exported:
    examples = [row.example for row in found.rows]
    shown = [list(map(str, example.images)) for example in examples]
    pictures = together(shown)
    train, test = (len(examples), len(pictures)), (0, 0)
    if test_share and len(set(pictures.values())) > 1:
        both = folder / "all.jsonl"
        flat_json.write(both, examples)
        parts = split(both, folder, test_share)
        if parts.bad:
            raise VQAError(f"a row cannot be read back: {parts.bad[0].reason}")
        both.unlink()
        train, test = parts.train, parts.test
    else:
        flat_json.write(folder / "train.jsonl", examples)
    for path in (folder / "pictures").iterdir():
        if f"pictures/{path.name}" not in pictures:
            path.unlink()
    done = Exported(found, train, test)
    _record(folder, files={n: of_file(folder / n) for n in _ROWS if (folder / n).exists()})
    return done


def _record(folder: Path, **values: Any) -> None:
    with atomic_write(folder / _RECORD) as file:
        about = {"written_by": COMMAND, "vqa": __version__, **values}
        file.write(json.dumps(about, indent=2) + "\n")


@contextmanager
def _place(out: Path) -> Iterator[Path]:
    """Yield an empty directory; what is in it is in `out` at the end, in place of what was."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        with atomic_directory(out) as folder:
            yield folder
        return
    _check_own(out)
    for left in out.glob(f"{_BESIDE}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_BESIDE, dir=out) as name:
        yield Path(name)
        _exchange(Path(name), out)


def _check_own(out: Path) -> None:
    try:
        about = json.loads((out / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        about = None
    if not isinstance(about, dict) or about.get("written_by") != COMMAND:
        raise InputError(
            f"{out} is there already and was not written by `{COMMAND}`: name a new directory"
        )
    for name, digest in about.get("files", {}).items():
        if (out / name).exists() and of_file(out / name) != digest:
            raise InputError(f"{out / name} was changed since it was written: name a new directory")


def _exchange(new: Path, out: Path) -> None:
    """Move what is new to its place. Killed anywhere, the same command puts it right.

    No moment has a new `train.jsonl` beside an old `test.jsonl`: they might share a picture.
    """
    _record(out)  # from here on its files are no longer known
    (out / "test.jsonl").unlink(missing_ok=True)
    pictures = out / "pictures"
    pictures.mkdir(exist_ok=True)
    wanted = {path.name for path in (new / "pictures").iterdir()}
    for name in wanted:
        (new / "pictures" / name).replace(pictures / name)
    for name in (*_ROWS, _RECORD):
        if (new / name).exists():
            (new / name).replace(out / name)
    for path in pictures.iterdir():
        if path.name not in wanted:
            path.unlink()


def _why_nothing(found: Gathered) -> str:
    parts = [
        (found.refused, "with a thumb down and no correction"),
        (len(found.unusable), "that cannot be used"),
        (len(found.leaks), "about a picture of the data to leave out"),
        (found.overruled, "refused after all"),
    ]
    told = ", ".join(f"{count} {what}" for count, what in parts if count)
    first = f" ({found.unusable[0].reason})" if found.unusable else ""
    return f"{told}{first}"
