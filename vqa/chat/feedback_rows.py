"""Ratings and corrections of a history as examples to train on, with their pictures.

A correction is the answer of a row; a thumb up makes the model's prediction one. An answer that was
preferred to another one is better, not right: it is one of a pair alone. Earlier turns are outside
of the loss: nobody judged them there.

Pictures are written as PNG from the pixels that the model got. So nothing of a photo's EXIF
(place, time, owner) goes along, no pixel changes, and equal pictures are one file, whatever file
they came from.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vqa.chat.history import History
from vqa.chat.turn import NotFoundError, StoredPicture, Turn, model_parts, model_turns
from vqa.data.example import REJECTED, EarlierTurn, Example, fold
from vqa.errors import InputError
from vqa.inputs.boxes import Box, crop
from vqa.inputs.images import ImageError, load_image
from vqa.utils import fingerprint

if TYPE_CHECKING:
    from vqa.utils.progress import Update

Verdict = Literal["corrected", "confirmed", "refused", "preferred"]


@dataclass(frozen=True)
class FeedbackRow:
    """A judged answer whose pictures lie as `pictures/NAME` in a folder."""

    example: Example
    verdict: Verdict  # of a refused one nobody knows the right answer: it has none
    prediction: str  # by the model; of a preferred one, the answer that it was preferred to
    model: str  # that gave it
    judged: datetime
    cut_from: tuple[str, ...] = ()  # names of the pictures whose parts the row has

    @property
    def shown(self) -> tuple[str, ...]:
        """Return the names of all pictures that the row has, or a part of."""
        return (*map(str, self.example.images), *self.cut_from)

    @property
    def question_key(self) -> tuple[object, ...]:
        """Equal where the same is asked about the same pixels, whatever the spelling."""
        row = self.example
        before = [(fold(turn.question), fold(turn.answer), turn.pictures) for turn in row.earlier]
        return row.images, tuple(before), row.system.strip(), fold(row.question)


@dataclass(frozen=True)
class ConflictingJudgements:
    """A question about the same pictures that was judged several times, with different results."""

    question: str
    answer: str  # the one judged last, which counts; empty where it was the last to be refused
    others: tuple[str, ...]


@dataclass(frozen=True)
class SkippedAnswer:
    """A judged answer that no row can be made of, or none that may be trained on."""

    question: str
    reason: str


@dataclass
class CollectedFeedback:
    """The rows of a history, and what became of everything that was judged."""

    rows: list[FeedbackRow] = field(default_factory=list)
    preferred: list[FeedbackRow] = field(default_factory=list)  # for pairs alone
    judged: int = 0
    refused: int = 0  # a thumb down without a correction
    duplicates: int = 0
    overruled: int = 0  # by a later judgement that differs: the conflicts name them
    conflicts: list[ConflictingJudgements] = field(default_factory=list)
    unusable: list[SkippedAnswer] = field(default_factory=list)
    leaks: list[SkippedAnswer] = field(default_factory=list)  # pictures of evaluation data

    def count(self, verdict: Verdict) -> int:
        """Count the rows with a verdict."""
        return sum(row.verdict == verdict for row in self.rows)

    def models(self) -> list[str]:
        """List the models that gave the answers, the commonest first."""
        return [name for name, _ in Counter(row.model for row in self.rows).most_common()]

    def to_json(self) -> dict[str, Any]:
        """Return counts and lists for `--json`."""
        return {
            "judged": self.judged,
            "rows": len(self.rows),
            "corrected": self.count("corrected"),
            "confirmed": self.count("confirmed"),
            "preferred": len(self.preferred),
            "refused": self.refused,
            "duplicates": self.duplicates,
            "overruled": self.overruled,
            "conflicts": [
                {"question": one.question, "kept": one.answer, "others": one.others}
                for one in self.conflicts
            ],
            "unusable": [asdict(one) for one in self.unusable],
            "leaks": [asdict(one) for one in self.leaks],
            "models": self.models(),
        }


def collect_feedback(
    history: History, owner: str | None, folder: Path, tell: Update = lambda done, total: None
) -> CollectedFeedback:
    """Make rows of all that `owner` (None: everybody) judged; pictures go to `folder/pictures`.

    Of several judgements of a question the latest counts. `tell` takes how many answers are done.
    """
    (folder / "pictures").mkdir()
    feedback, files = CollectedFeedback(), _PictureWriter(folder / "pictures")
    answers = history.judged_answers(owner)
    judged: list[FeedbackRow] = []
    preferred: list[FeedbackRow] = []
    for done, (answer_owner, answer) in enumerate(answers, start=1):
        try:
            branch = history.branch(answer_owner, answer.conversation, answer.id)
            system = history.system(answer_owner, answer.conversation)
        except NotFoundError:  # deleted this moment
            continue
        feedback.judged += 1
        try:
            row = _row(branch, system, files)
            if row.verdict != "preferred":
                judged.append(row)
            if answer.better_than is not None:
                other = _other(history, answer_owner, answer.better_than)
                preferred.append(_preferred(row, answer, other))
        except ValueError as error:
            feedback.unusable.append(SkippedAnswer(branch[-2].text, str(error)))
        tell(done, len(answers))
    feedback.refused = sum(row.verdict == "refused" for row in judged)
    _add_latest(judged, feedback)
    latest: dict[object, FeedbackRow] = {}  # choice between the same two answers
    for row in preferred:
        two = frozenset(map(fold, (row.example.answers[0], row.prediction)))
        latest[row.question_key, two] = row
    feedback.preferred = [*latest.values()]
    return feedback


def _add_latest(judged: Sequence[FeedbackRow], feedback: CollectedFeedback) -> None:
    """Add one row of those that ask the same; `judged` begins with what was judged first."""
    by_question: dict[tuple[object, ...], list[FeedbackRow]] = {}
    for row in judged:
        by_question.setdefault(row.question_key, []).append(row)
    for rows in by_question.values():
        answered = [row for row in rows if row.example.answers]
        if not answered:
            continue
        last = answered[-1]
        answers = [row.example.answers[0] for row in answered]
        right = answers[-1]
        later = rows[rows.index(last) + 1 :]
        if any(fold(row.prediction) == fold(right) for row in later):  # refused after all
            feedback.overruled += len(answered)
            others = tuple(dict.fromkeys(answers))
            feedback.conflicts.append(ConflictingJudgements(last.example.question, "", others))
            continue
        others = tuple(dict.fromkeys(a for a in answers if fold(a) != fold(right)))
        differing = sum(fold(answer) != fold(right) for answer in answers)
        feedback.overruled += differing
        feedback.duplicates += len(answered) - 1 - differing
        if others:
            feedback.conflicts.append(ConflictingJudgements(last.example.question, right, others))
        feedback.rows.append(last)


class _PictureWriter:
    """Writes pictures into a folder, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[tuple[Path, Box | None], str] = {}

    def name(self, picture: StoredPicture, box: Box | None = None) -> str:
        """Write a picture, or the part in `box`, if it is not there, and return its name.

        Raises ImageError, and InputError for too small a part.
        """
        if (picture.path, box) not in self._names:
            try:
                content = io.BytesIO(picture.path.read_bytes())
            except OSError as error:
                raise ImageError(f"{picture.name} cannot be read: {error.strerror}") from error
            content.name = picture.name  # what messages call it
            pixels = load_image(content)
            pixels = pixels if box is None else crop(pixels, box)
            name = f"{fingerprint.of_image(pixels)}.png"
            if not (self._folder / name).exists():
                pixels.save(self._folder / name)
            self._names[picture.path, box] = name
        return self._names[picture.path, box]


def _row(branch: Sequence[Turn], system: str, files: _PictureWriter) -> FeedbackRow:
    """Make a row of the answer that ends a branch. Raises ValueError where that is impossible."""
    question, answer = branch[-2:]
    verdict: Verdict = "corrected" if answer.correction else "confirmed"
    if verdict == "confirmed" and answer.rating <= 0:
        verdict = "refused" if answer.rating else "preferred"
    means = {"confirmed": "a thumb up", "preferred": "a choice"}.get(verdict)
    if means and not answer.text.strip():
        raise ValueError(f"there is no answer that {means} could mean")
    if means and (answer.state != "done" or answer.about.get("finish") == "length"):
        raise ValueError(f"{means} for an answer that is cut off: correct it to its end")
    earlier, pictures = _earlier_turns(model_turns(branch[:-1])[:-1])
    try:
        names = [
            f"pictures/{files.name(picture, box)}"
            for picture in (*pictures, *question.pictures)
            for box in model_parts(picture.mark)
        ]
        marked = (picture for picture in (*pictures, *question.pictures) if picture.mark)
        cut_from = tuple(f"pictures/{files.name(picture)}" for picture in marked)
    except InputError as error:
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
    judged = answer.judged or answer.created
    return FeedbackRow(example, verdict, answer.text, answer.model, judged, cut_from)


def _other(history: History, owner: str, answer: str) -> Turn:
    try:
        return history.turn(owner, answer)
    except NotFoundError:
        raise ValueError("the answer that it was preferred to is deleted") from None


def _preferred(row: FeedbackRow, answer: Turn, other: Turn) -> FeedbackRow:
    """Make a row of the answer of `row` as the better of two."""
    better = answer.correction or answer.text.strip()
    extra = {**row.example.extra, "feedback": "preferred"}
    example = replace(row.example, answers=(better,), extra=extra)
    return replace(row, example=example, verdict="preferred", prediction=other.text)


def _earlier_turns(branch: Sequence[Turn]) -> tuple[tuple[EarlierTurn, ...], list[StoredPicture]]:
    """List the turns before a question, and all their pictures.

    As the model is asked them: of questions without an answer only the pictures count.
    """
    earlier: list[EarlierTurn] = []
    pictures: list[StoredPicture] = []
    waiting, question = 0, ""
    for turn in branch:
        if turn.role == "user":
            pictures += turn.pictures
            waiting += sum(len(model_parts(picture.mark)) for picture in turn.pictures)
            question = turn.text
        elif answer := turn.correction or turn.text.strip():
            earlier.append(EarlierTurn(question, answer, waiting, in_loss=False))
            waiting = 0
    return tuple(earlier), pictures


def preference_pairs(feedback: CollectedFeedback) -> Iterator[FeedbackRow]:
    """Yield the corrected rows, with what the model answered as the rejected answer.

    Then those of answers that were preferred, with the other one.
    """
    for row in (*feedback.rows, *feedback.preferred):
        rejected = row.prediction.strip()
        if (
            row.verdict in ("corrected", "preferred")
            and rejected
            and fold(rejected) != fold(row.example.answers[0])
        ):
            extra = {**row.example.extra, REJECTED: rejected}
            yield replace(row, example=replace(row.example, extra=extra))


def drop_leaks(
    feedback: CollectedFeedback,
    folder: Path,
    against: Sequence[Path],
    images: Path | None = None,
    tell: Update = lambda done, total: None,
) -> Iterator[str]:
    """Drop rows with a picture that is in one of the files, by its pixels.

    `images` is the root of the files' pictures, if it is not their folder. Yields what of the files
    could not be compared. Raises InputError where one cannot be read, or none of its pictures.
    """
    from vqa.data.picture_check import PictureCheck
    from vqa.data.reading import read

    names = sorted({name for row in feedback.rows for name in row.shown})
    exported = PictureCheck(prints=True)
    for number, name in enumerate(names):
        exported.add(Example(number, (folder / name,), "", line=number))
    exported.finish()
    leaks: dict[str, str] = {}  # picture -> where else it is
    for path in against:
        bad = rows = 0

        def note(_: object) -> None:
            nonlocal bad
            bad += 1

        other = PictureCheck(prints=True)
        try:
            for rows, example in enumerate(
                read(path, images, need_answers=False, bad=note), start=1
            ):
                other.add(example)
                if rows % 100 == 0:
                    tell(rows, None)
        except BaseException:
            other.stop()
            raise
        other.finish()
        broken = len(list(other.broken()))
        if broken == len(other):
            raise InputError(
                f"{path}: no picture of it can be opened, so nothing is compared; name the root of "
                "its pictures with `images`"
            )
        if bad or broken:
            yield f"{path}: not compared: {bad} bad rows, {broken} pictures that cannot be opened"
        for number, line in exported.also_in(other):
            leaks.setdefault(names[number], f"its picture is in line {line} of {path}")
    remaining = []
    for row in feedback.rows:
        reason = next((leaks[name] for name in row.shown if name in leaks), None)
        if reason is None:
            remaining.append(row)
        else:
            feedback.leaks.append(SkippedAnswer(row.example.question, reason))
    feedback.rows = remaining
