"""Read the pictures of a batch, find out which of its rows still hold, and answer the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any

from vqa import fingerprint
from vqa.answering import AnsweringEach, Remembering
from vqa.data.example import Example
from vqa.errors import InputError, VQAError
from vqa.evaluation.asking import Cancelled, Row, ask, error_row
from vqa.evaluation.pictures import Pictures
from vqa.evaluation.plan import Group
from vqa.evaluation.resume import Id, joined

if TYPE_CHECKING:
    from PIL import Image

    from vqa.answering import Answerer, Settings

# A batch with more is put to the model in pieces. They depend on the pictures alone, so a run that
# goes on makes the same ones.
_PIXELS_AT_ONCE = 200_000_000


@dataclass(frozen=True)
class Read:
    """A group whose files were read; its pictures only where a row has to be answered."""

    group: Group
    prints: Mapping[Id, str]  # fingerprints of its rows
    pictures: tuple[Image.Image, ...] | None = None
    error: InputError | None = None  # why the pictures cannot be opened

    @property
    def pixels(self) -> int:
        return sum(picture.width * picture.height for picture in self.pictures or ())


class Work:
    """Reads the groups of batches (in any thread) and answers batches (in one)."""

    def __init__(
        self,
        answerer: Answerer,
        settings: Settings,
        choices: bool,
        run: str,
        pictures: Pictures,
        before: Mapping[Id, str],
        cancel: Event | None = None,
    ) -> None:
        self._answerer = answerer
        self._each_alone = isinstance(answerer, AnsweringEach)  # an endpoint
        self._silent = False  # whether it answered nothing the last time
        self._settings = settings
        self._choices = choices
        self._run = run
        self._pictures = pictures
        self._before = before
        self._cancel = cancel
        self._asked: set[int] = set()  # numbers of batches that have a row to be answered

    def read(self, task: tuple[int, Group]) -> Read:
        """Fingerprint the rows of a group; open its pictures unless nothing needs them."""
        number, group = task
        shown = self._pictures.prints(group.images)
        prints = {}
        for row in group.rows:
            content: list[Any] = [shown, row.question]
            if self._choices:
                content.append(row.extra.get("choices"))
            if row.earlier or row.system:  # rows without keep the fingerprints they have
                turns = [[turn.question, turn.answer, turn.pictures] for turn in row.earlier]
                content.append({"earlier": turns, "system": row.system})
            prints[row.id] = joined(self._run, fingerprint.of_json(content))
        read = Read(group, prints)
        if all(self._holds(read, row) for row in group.rows):
            return self._open(read) if number in self._asked else read
        read = self._open(read)
        if read.error is None:
            self._asked.add(number)
        return read

    def rows(self, number: int, reads: Iterator[Read]) -> list[Row]:
        """The new rows of a batch, in the order of the plan; none where all hold."""
        rows: list[Row] = []
        order: dict[Id, int] = {}
        together: list[Read] = []
        pixels = 0
        for read in self._opened(number, reads):
            order |= {row.id: len(order) + n for n, row in enumerate(read.group.rows)}
            if read.error is not None:
                rows += [
                    error_row(row.id, read.error) | {"fingerprint": read.prints[row.id]}
                    for row in read.group.rows
                    if not self._holds(read, row)
                ]
                continue
            if together and pixels + read.pixels > _PIXELS_AT_ONCE:
                rows += self._ask(together)
                together, pixels = [], 0
            together.append(read)
            pixels += read.pixels
        self._asked.discard(number)
        rows += self._ask(together)
        return sorted(rows, key=lambda row: order[row["id"]])

    def _opened(self, number: int, reads: Iterator[Read]) -> Iterator[Read]:
        """The groups with their pictures or errors, as soon as one of the batch has to be answered.

        Until then they are not opened; a batch of which all rows hold never is.
        """
        waiting: list[Read] = []
        for read in reads:
            waiting.append(read)
            if number in self._asked:
                while waiting:
                    yield self._opened_now(waiting.pop(0))
        yield from (read for read in waiting if read.error is not None)

    def _opened_now(self, read: Read) -> Read:
        opened = read.pictures is not None or read.error is not None
        return read if opened else self._open(read)

    def _open(self, read: Read) -> Read:
        try:
            return Read(read.group, read.prints, self._pictures.load(read.group.images))
        except InputError as error:
            return Read(read.group, read.prints, error=error)

    def _ask(self, reads: Sequence[Read]) -> list[Row]:
        """Ask about groups at once, with the rows that hold: in a batch they may count."""
        prints = {key: value for read in reads for key, value in read.prints.items()}
        if all(self._before.get(key) == value for key, value in prints.items()):
            return []
        pairs = [(row, read.pictures or ()) for read in reads for row in read.group.rows]
        if self._each_alone:
            held = [row.id for row, _ in pairs if self._before.get(row.id) == prints[row.id]]
            # one that was answered before shows whether the endpoint is there at all
            pairs = [pair for pair in pairs if pair[0].id not in held[1:]]
        if isinstance(self._answerer, Remembering):
            self._answerer.forget()  # or a run that goes on here would differ in last digits
        try:
            rows = ask(
                self._answerer, pairs, self._settings, choices=self._choices, cancel=self._cancel
            )
            self._silent = False
        except (InputError, Cancelled):
            raise
        except VQAError as error:
            if self._silent or not self._each_alone:
                raise
            self._silent = True  # these rows may be what it fails on; a second time it is gone
            rows = [error_row(row.id, error) for row, _ in pairs]
        return [
            row | {"fingerprint": prints[row["id"]]}
            for row in rows
            if self._before.get(row["id"]) != prints[row["id"]]
        ]

    def _holds(self, read: Read, row: Example) -> bool:
        return self._before.get(row.id) == read.prints[row.id]
