"""What people said of answers, as data to train on: `train.jsonl`, `test.jsonl` and `pictures/`.

A corrected answer is the answer of a row; a thumb up makes one of what the model said. What was
said earlier in the conversation stands before it and is not learned: nobody judged it there.

Pictures are written as PNG from the pixels that the model was shown. So nothing of a photo's EXIF
(place, time, owner) goes along, no pixel changes, and equal pictures are one file, whatever file
they came from.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from vqa import fingerprint
from vqa.chat.history import History
from vqa.chat.turn import NotThere, Picture, Turn
from vqa.data.example import Example
from vqa.data.example import Turn as Earlier
from vqa.data.wording import plain
from vqa.errors import InputError
from vqa.images import ImageError, load_image

Verdict = Literal["corrected", "confirmed", "refused"]
Tell = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Row:
    """A judged answer whose pictures lie as `pictures/NAME` in a folder."""

    example: Example
    verdict: Verdict  # of a refused one nobody knows the right answer: it has none
    said: str  # by the model
    model: str
    judged: datetime

    @property
    def asked(self) -> tuple[object, ...]:
        """What is equal where the same is asked about the same pixels, whatever the spelling."""
        row = self.example
        before = [(plain(turn.question), plain(turn.answer), turn.pictures) for turn in row.earlier]
        return row.images, tuple(before), row.system.strip(), plain(row.question)


@dataclass(frozen=True)
class Conflict:
    """The same question about the same pictures, judged several times with different results."""

    question: str
    kept: str  # the answer judged last; empty where it was the last to be refused
    others: tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """A judged answer that no row can be made of, or none that may be trained on."""

    question: str
    reason: str


@dataclass
class Gathered:
    """The rows of a history, and what became of everything that was judged."""

    rows: list[Row] = field(default_factory=list)
    judged: int = 0
    refused: int = 0  # a thumb down without a correction
    duplicates: int = 0
    overruled: int = 0  # by a later judgement that differs: the conflicts name them
    conflicts: list[Conflict] = field(default_factory=list)
    unusable: list[LeftOut] = field(default_factory=list)
    leaks: list[LeftOut] = field(default_factory=list)  # pictures of data that is kept to measure

    def count(self, verdict: Verdict) -> int:
        """How many rows have it."""
        return sum(row.verdict == verdict for row in self.rows)

    def models(self) -> list[str]:
        """The models that gave the answers, the commonest first."""
        return [name for name, _ in Counter(row.model for row in self.rows).most_common()]

    def to_json(self) -> dict[str, Any]:
        """The counts and lists, for `--json`."""
        return {
            "judged": self.judged,
            "rows": len(self.rows),
            "corrected": self.count("corrected"),
            "confirmed": self.count("confirmed"),
            "refused": self.refused,
            "duplicates": self.duplicates,
            "overruled": self.overruled,
            "conflicts": [asdict(one) for one in self.conflicts],
            "unusable": [asdict(one) for one in self.unusable],
            "leaks": [asdict(one) for one in self.leaks],
            "models": self.models(),
        }


def gather(
    history: History, owner: str | None, folder: Path, tell: Tell = lambda done, total: None
) -> Gathered:
    """Make rows of all that `owner` (None: everybody) judged; pictures go to `folder/pictures`.

    Of what is judged twice, the latest counts. `tell` hears how many answers are done.
    """
    (folder / "pictures").mkdir()
    found, files = Gathered(), _Files(folder / "pictures")
    answers = history.judged_answers(owner)
    judged: list[Row] = []
    for done, (whose, answer) in enumerate(answers, start=1):
        try:
            branch = history.branch(whose, answer.conversation, answer.id)
            system = history.system(whose, answer.conversation)
        except NotThere:  # deleted this moment
            continue
        found.judged += 1
        try:
            judged.append(_row(branch, system, files))
        except ValueError as error:
            found.unusable.append(LeftOut(branch[-2].text, str(error)))
        tell(done, len(answers))
    found.refused = sum(row.verdict == "refused" for row in judged)
    _settle(judged, found)
    return found


def _settle(judged: Sequence[Row], found: Gathered) -> None:
    """Keep one row of those that ask the same; `judged` begins with what was judged first."""
    same: dict[tuple[object, ...], list[Row]] = {}
    for row in judged:
        same.setdefault(row.asked, []).append(row)
    for rows in same.values():
        answered = [row for row in rows if row.example.answers]
        if not answered:
            continue
        last = answered[-1]
        answers = [row.example.answers[0] for row in answered]
        right = answers[-1]
        later = rows[rows.index(last) + 1 :]
        if any(plain(row.said) == plain(right) for row in later):  # refused after all
            found.overruled += len(answered)
            others = tuple(dict.fromkeys(answers))
            found.conflicts.append(Conflict(last.example.question, "", others))
            continue
        others = tuple(dict.fromkeys(a for a in answers if plain(a) != plain(right)))
        differing = sum(plain(answer) != plain(right) for answer in answers)
        found.overruled += differing
        found.duplicates += len(answered) - 1 - differing
        if others:
            found.conflicts.append(Conflict(last.example.question, right, others))
        found.rows.append(last)


class _Files:
    """The pictures that are written, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, str] = {}

    def name(self, picture: Picture) -> str:
        """The name under which a picture lies in the folder. Raises ImageError."""
        if picture.path not in self._names:
            try:
                content = io.BytesIO(picture.path.read_bytes())
            except OSError as error:
                raise ImageError(f"{picture.name} cannot be read: {error.strerror}") from error
            content.name = picture.name  # what messages call it
            pixels = load_image(content)
            name = f"{fingerprint.of_image(pixels)}.png"
            if not (self._folder / name).exists():
                pixels.save(self._folder / name)
            self._names[picture.path] = name
        return self._names[picture.path]


def _row(branch: Sequence[Turn], system: str, files: _Files) -> Row:
    """The row of the answer that ends a branch. Raises ValueError where none can be made of it."""
    question, answer = branch[-2:]
    verdict: Verdict = "corrected" if answer.correction else "confirmed"
    if verdict == "confirmed" and answer.rating < 0:
        verdict = "refused"
    if verdict == "confirmed" and not answer.text.strip():
        raise ValueError("there is no answer that the thumb could mean")
    if verdict == "confirmed" and (
        answer.state != "done" or answer.about.get("finish") == "length"
    ):
        raise ValueError("a thumb up for an answer that is cut off: correct it to its end")
    earlier, shown = _before(branch[:-2])
    try:
        names = [f"pictures/{files.name(picture)}" for picture in (*shown, *question.pictures)]
    except ImageError as error:
        raise ValueError(str(error)) from error
    right = answer.correction or answer.text.strip()
    example = Example(
        answer.id,
        tuple(names),
        question.text,
        () if verdict == "refused" else (right,),
        {"feedback": verdict, "model": answer.model, "said": answer.text},
        earlier,
        system.strip(),
    )
    return Row(example, verdict, answer.text, answer.model, answer.judged or answer.created)


def _before(branch: Sequence[Turn]) -> tuple[tuple[Earlier, ...], list[Picture]]:
    """The turns before a question, and all their pictures.

    As `talk_of` puts them to the model: of questions without an answer only the pictures count.
    """
    earlier: list[Earlier] = []
    shown: list[Picture] = []
    waiting, question = 0, ""
    for turn in branch:
        if turn.role == "user":
            shown += turn.pictures
            waiting, question = waiting + len(turn.pictures), turn.text
        elif said := turn.correction or turn.text.strip():
            earlier.append(Earlier(question, said, waiting, learned=False))
            waiting = 0
    return tuple(earlier), shown


def leave_out_leaks(
    found: Gathered,
    folder: Path,
    against: Sequence[Path],
    images: Path | None = None,
    tell: Tell = lambda done, total: None,
) -> Iterator[str]:
    """Leave out rows with a picture that is in one of the files, by its pixels.

    `images` is the root of the files' pictures, if it is not their folder. Yields what of the files
    could not be looked at. Raises InputError where one cannot be read, or none of its pictures.
    """
    from vqa.data.picture_check import PictureCheck
    from vqa.data.reading import read

    names = sorted({str(name) for row in found.rows for name in row.example.images})
    own = PictureCheck(prints=True)
    for number, name in enumerate(names):
        own.see(Example(number, (folder / name,), "", line=number))
    own.finish()
    where: dict[str, str] = {}  # picture -> where else it is
    for path in against:
        bad = rows = 0

        def note(_: object) -> None:
            nonlocal bad
            bad += 1

        theirs = PictureCheck(prints=True)
        try:
            for rows, example in enumerate(
                read(path, images, need_answers=False, bad=note), start=1
            ):
                theirs.see(example)
                if rows % 100 == 0:
                    tell(rows, None)
        except BaseException:
            theirs.stop()
            raise
        theirs.finish()
        unseen = len(list(theirs.broken()))
        if unseen == len(theirs):
            raise InputError(
                f"{path}: no picture of it can be opened, so nothing is compared; name the root of "
                "its pictures with --images"
            )
        if bad or unseen:
            yield f"{path}: not compared: {bad} bad rows, {unseen} pictures that cannot be opened"
        for number, line in own.also_in(theirs):
            where.setdefault(names[number], f"its picture is in line {line} of {path}")
    kept = []
    for row in found.rows:
        reason = next((where[str(n)] for n in row.example.images if str(n) in where), None)
        if reason is None:
            kept.append(row)
        else:
            found.leaks.append(LeftOut(row.example.question, reason))
    found.rows = kept
