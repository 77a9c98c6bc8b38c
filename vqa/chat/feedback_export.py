"""Writes feedback to a directory, as rows to train on and rows to test with."""

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
from typing import TYPE_CHECKING, Any

from vqa.chat.feedback_rows import (
    CollectedFeedback,
    FeedbackRow,
    collect_feedback,
    drop_leaks,
    preference_pairs,
)
from vqa.chat.history import History
from vqa.data.formats import flat_json
from vqa.data.identity import file_sha256
from vqa.data.split import group_connected, split
from vqa.errors import InputError, VQAError
from vqa.utils.files import atomic_directory, atomic_write, lock
from vqa.version import __version__

if TYPE_CHECKING:
    from vqa.utils.progress import Update

COMMAND = "vqa data export-feedback"
TEST_SHARE = 0.2
_RECORD = "feedback.json"
_ROWS = ("train.jsonl", "test.jsonl")
_BESIDE = ".new-"  # what is not finished


@dataclass(frozen=True)
class Exported:
    """Counts of rows and different pictures written for training and test, which may be empty."""

    feedback: CollectedFeedback
    train: tuple[int, int]
    test: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """Return one object for `--json`."""
        sides = {"train": self.train, "test": self.test}
        counts = {name: {"rows": rows, "pictures": n} for name, (rows, n) in sides.items()}
        return self.feedback.to_json() | counts


def export(
    history: History,
    out: Path,
    owner: str | None = None,
    *,
    against: Sequence[Path] = (),
    images: Path | None = None,
    test_share: float = TEST_SHARE,
    pairs: bool = False,
    tell: Update = lambda done, total: None,
    warn: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write the feedback of `owner` (None: everybody) to the directory `out`.

    `train.jsonl` and `test.jsonl` share no picture; the pictures lie in `pictures/`. Where all rows
    show one picture there is no `test.jsonl`. A directory that an earlier call has written is
    brought up to date; other files in it stay. Rows with a picture of `against` are left out
    (files with their pictures below `images`, or beside them); `warn` takes what of them could not
    be compared. With `pairs`, rows are corrected answers, each with the model's own one as
    `rejected`, and preferred ones, with the other one: for `vqa train preference`.

    Raises InputError where nothing was judged or nothing remains, and where `out` holds something
    that was not written here, or was changed since: it stays as it is.
    """
    if not history.judged_answers(owner):
        raise InputError(
            "no answer was judged yet: give a thumb or a correction in the chat (`vqa app`)"
        )
    with lock(out), _directory_in_place_of(out) as folder:
        feedback = collect_feedback(history, owner, folder, tell)
        if pairs:
            feedback.rows = list(preference_pairs(feedback))
            if not feedback.rows:
                raise InputError(
                    "no answer was corrected into another, or preferred to one: there is no pair"
                )
        for line in drop_leaks(feedback, folder, against, images, tell):
            warn(line)
        if not feedback.rows:
            raise InputError(f"nothing to train on in what was judged: {_why_nothing(feedback)}")
        return _write(feedback, folder, test_share)


def as_zip(history: History, owner: str) -> bytes:
    """Pack what `export` writes of an owner into one file."""
    file = io.BytesIO()
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "feedback"
        export(history, out, owner)
        with zipfile.ZipFile(file, "w") as archive:  # not packed: PNG is so already
            for path in sorted(out.rglob("*")):
                archive.write(path, path.relative_to(name))
    return file.getvalue()


def _write(feedback: CollectedFeedback, folder: Path, test_share: float) -> Exported:
    examples = [row.example for row in feedback.rows]
    images = [list(map(str, example.images)) for example in examples]
    together = _of_one_picture(feedback.rows)
    pictures = group_connected([*images, *together])
    train, test = (len(examples), len(pictures)), (0, 0)
    if test_share and len(set(pictures.values())) > 1:
        both = folder / "all.jsonl"
        flat_json.write(both, examples)
        parts = split(both, folder, test_share, together=together)
        if parts.bad:
            raise VQAError(f"a row cannot be read back: {parts.bad[0].reason}")
        both.unlink()
        train, test = parts.train, parts.test
    else:
        flat_json.write(folder / "train.jsonl", examples)
    for path in (folder / "pictures").iterdir():
        if f"pictures/{path.name}" not in pictures:
            path.unlink()
    done = Exported(feedback, train, test)
    _record(folder, files={n: file_sha256(folder / n) for n in _ROWS if (folder / n).exists()})
    return done


def _of_one_picture(rows: Sequence[FeedbackRow]) -> list[list[str]]:
    """List what was cut out of one picture, with the picture itself where rows have it."""
    of_whole: dict[str, list[str]] = {}
    for row in rows:
        for whole in row.cut_from:
            of_whole.setdefault(whole, []).extend(map(str, row.example.images))
    all_names = {str(name) for row in rows for name in row.example.images}
    return [[*{whole} & all_names, *names] for whole, names in of_whole.items()]


def _record(folder: Path, **values: Any) -> None:
    with atomic_write(folder / _RECORD) as file:
        about = {"written_by": COMMAND, "vqa": __version__, **values}
        file.write(json.dumps(about, indent=2) + "\n")


@contextmanager
def _directory_in_place_of(out: Path) -> Iterator[Path]:
    """Yield an empty directory; what is in it is in `out` at the end, in place of what was."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        with atomic_directory(out) as folder:
            yield folder
        return
    _check_own(out)
    for unfinished in out.glob(f"{_BESIDE}*"):
        shutil.rmtree(unfinished)
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
        if (out / name).exists() and file_sha256(out / name) != digest:
            raise InputError(f"{out / name} was changed since it was written: name a new directory")


def _exchange(new: Path, out: Path) -> None:
    """Move what is new to its place. Killed anywhere, the same command puts it right.

    No moment has a new `train.jsonl` beside an old `test.jsonl`: they might share a picture.
    """
    _record(out)  # from here on its files count as changed
    (out / "test.jsonl").unlink(missing_ok=True)
    pictures = out / "pictures"
    pictures.mkdir(exist_ok=True)
    names = {path.name for path in (new / "pictures").iterdir()}
    for name in names:
        (new / "pictures" / name).replace(pictures / name)
    for name in (*_ROWS, _RECORD):
        if (new / name).exists():
            (new / name).replace(out / name)
    for path in pictures.iterdir():
        if path.name not in names:
            path.unlink()


def _why_nothing(feedback: CollectedFeedback) -> str:
    parts = [
        (feedback.refused, "with a thumb down and no correction"),
        (len(feedback.preferred), "preferred to another, which makes pairs alone"),
        (len(feedback.unusable), "that cannot be used"),
        (len(feedback.leaks), "about a picture of the data to leave out"),
        (feedback.overruled, "refused after all"),
    ]
    counts = ", ".join(f"{count} {what}" for count, what in parts if count)
    first = f" ({feedback.unusable[0].reason})" if feedback.unusable else ""
    return f"{counts}{first}"
