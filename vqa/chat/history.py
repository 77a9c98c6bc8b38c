"""Conversations on disk: one SQLite database, and a folder with the bytes of their pictures.

A conversation is a tree. A question that is edited, or an answer that is written again, becomes a
sibling of the old one; the conversation shows the branch that ends at its `head`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from vqa.chat import listing
from vqa.chat.database import Database
from vqa.chat.picture_store import PictureFolder
from vqa.chat.tables import (
    ConversationRow,
    PictureRow,
    TurnRow,
    judged_of,
    turn_of,
    turns_of,
)
from vqa.chat.titles import checked_title, title_of
from vqa.chat.turn import Mark, NewPicture, NotFoundError, State, StoredPicture, Summary, Turn
from vqa.errors import InputError, VQAError
from vqa.inputs.boxes import Box
from vqa.utils.cache import data_dir
from vqa.utils.processes import lives_since

_UNWRITTEN = "This answer is not kept yet"
_END = ("text", "state", "about", "notice")  # of an answer, shown while it cannot be written


def history_directory() -> Path:
    """Return the directory of this user's conversations, unless another one is named."""
    return data_dir() / "chats"


class History:
    """The conversations in a directory. Any thread, and several processes, may use one.

    What belongs to an owner is shown and changed for this owner only; NotFoundError is raised for
    anybody else, as for what does not exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            (directory / "pictures").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{directory}: cannot be made ({error.strerror}): name another with `history`"
            ) from error
        self._pictures = PictureFolder(directory / "pictures")
        self._database = Database(directory / "history.sqlite")
        self._unwritten: dict[str, dict[str, Any]] = {}  # ends of answers that no disk has taken
        self._end_abandoned()

    def close(self) -> None:
        """Close the files of the database."""
        self._database.close()

    # --- conversations ---

    def start(self, owner: str, system: str = "", title: str = "") -> str:
        """Begin an empty conversation, and return its id; the title may be that of its question."""
        key = secrets.token_urlsafe(16)
        with self._database.writing() as session:
            session.add(
                ConversationRow(
                    id=key, owner=owner, title=title_of(title), system=system, head=None,
                    changed=_now(),
                )
            )  # fmt: skip
        return key

    def conversations(self, owner: str, search: str = "", limit: int = 200) -> list[Summary]:
        """List the owner's conversations that have turns: those pinned first, then the latest.

        With `search`, those where the words, as they stand, are in the title, a turn or the name of
        a picture. Raises InputError where they are more than a question can have.
        """
        with self._database.reading() as session:
            return listing.summaries(session, owner, search, limit, self._pictures.path)

    def running(self, owner: str) -> list[tuple[str, str]]:
        """List the owner's answers that are being written: conversation and answer."""
        with self._database.reading() as session:
            answers = listing.running(session, owner)
        return [(key, answer) for key, answer in answers if answer not in self._unwritten]

    def rename(self, owner: str, conversation: str, title: str) -> None:
        """Give a conversation another title. Raises InputError for an empty or too long one."""
        title = checked_title(title)
        with self._database.writing() as session:
            self._owned(session, owner, conversation).title = title

    def delete(self, owner: str, conversation: str) -> None:
        """Delete a conversation, and the pictures that no other one has."""
        with self._database.writing() as session:
            session.delete(self._owned(session, owner, conversation))
        self._remove_unused_pictures()

    def pin(self, owner: str, conversation: str, pinned: bool) -> None:
        """Put a conversation before those that are not pinned, or back among them."""
        with self._database.writing() as session:
            self._owned(session, owner, conversation).pinned = pinned

    def system(self, owner: str, conversation: str) -> str:
        """Return the system prompt."""
        with self._database.reading() as session:
            return self._owned(session, owner, conversation).system

    def turn_ids(self, owner: str, conversation: str, turn: str | None = None) -> list[str]:
        """List the turns of a conversation on all its branches, or `turn` and what follows it."""
        with self._database.reading() as session:
            self._owned(session, owner, conversation)
            ids: list[str] = []
            for row in turns_of(session, conversation):
                if turn is None or row.id == turn or row.parent in ids:
                    ids.append(row.id)
            return ids

    def branch(self, owner: str, conversation: str, to: str | None = None) -> list[Turn]:
        """List the turns from the first to `to`, or to the end of the branch that is shown."""
        with self._database.reading() as session:
            row = self._owned(session, owner, conversation)
            unvisited = {turn.id: turn for turn in self._turns(session, conversation)}
            if to is not None and to not in unvisited:
                raise NotFoundError("There is no such turn any more.")
            branch, key = [], to or row.head
            while key is not None:
                branch.append(unvisited.pop(key))  # a damaged file may have them in a circle
                key = branch[-1].parent
            return branch[::-1]

    def turns(self, owner: str, conversation: str) -> list[Turn]:
        """List the turns of all branches in the order they were made: parents come first."""
        with self._database.reading() as session:
            self._owned(session, owner, conversation)
            return self._turns(session, conversation)

    # --- turns ---

    def add_question(
        self,
        owner: str,
        conversation: str,
        parent: str | None,
        text: str,
        pictures: Sequence[NewPicture | tuple[str, bytes]] = (),
    ) -> str:
        """Add a question after the turn `parent` (None: as a beginning), with its pictures."""
        return self._add(owner, conversation, parent, pictures, role="user", text=text)

    def edit_question(self, owner: str, turn: str, text: str) -> str:
        """Add a question beside `turn`, with its pictures and another text: a new branch."""
        with self._database.reading() as session:
            row, conversation = self._owned_turn(session, owner, turn)
            pictures = [
                NewPicture(picture.name, picture.path.read_bytes(), picture.mark)
                for picture in self._pictures_of(session, turn)
            ]
            parent, key = row.parent, conversation.id
        return self._add(owner, key, parent, pictures, role="user", text=text)

    def add_answer(self, owner: str, question: str, model: str) -> str:
        """Add an answer to a question, which this process is going to write."""
        with self._database.reading() as session:
            _, conversation = self._owned_turn(session, owner, question)
            key = conversation.id
        return self._add(
            owner, key, question, [], role="assistant", text="", model=model,
            state="running", process=os.getpid(),
        )  # fmt: skip

    def write(self, answer: str, text: str) -> None:
        """Store what has been written of an answer so far."""
        self._update(answer, text=text)

    def finish(
        self, answer: str, text: str, state: State, about: dict[str, Any], notice: str = ""
    ) -> None:
        """Store an answer that has ended. It may have been deleted meanwhile: that is no error.

        Raises VQAError where that cannot be written. This process then shows the answer with that
        line, until a later call succeeds.
        """
        values = {"text": text, "state": state, "about": about, "process": 0}
        try:
            self._update(answer, **values, notice=notice)
        except VQAError as error:
            self._unwritten[answer] = values | {"notice": f"{_UNWRITTEN}: {error}"}
            raise
        self._unwritten.pop(answer, None)

    def turn(self, owner: str, turn: str) -> Turn:
        """Return one turn, without its siblings."""
        with self._database.reading() as session:
            row, _ = self._owned_turn(session, owner, turn)
            return self._turn(row, self._pictures_of(session, turn))

    def choose(self, owner: str, turn: str) -> None:
        """Show the branch of `turn`, to the latest turn that came after it."""
        with self._database.writing() as session:
            row, conversation = self._owned_turn(session, owner, turn)
            head: str | None = row.id
            while head is not None:
                conversation.head = head
                head = session.scalars(
                    select(TurnRow.id)
                    .where(TurnRow.parent == head)
                    .order_by(TurnRow.number.desc())
                    .limit(1)
                ).first()

    def delete_turn(self, owner: str, turn: str) -> None:
        """Delete a turn and all that came after it. What stood beside it is shown instead.

        A conversation of which nothing is left goes too, with its title and system prompt.
        """
        with self._database.writing() as session:
            row, conversation = self._owned_turn(session, owner, turn)
            parent, key = row.parent, conversation.id
            session.delete(row)
            session.flush()
            beside = session.scalars(
                select(TurnRow.id)
                .where(TurnRow.conversation == key, TurnRow.parent == parent)
                .order_by(TurnRow.number.desc())
                .limit(1)
            ).first()
            conversation.head = parent
            if beside is None and parent is None:
                session.delete(conversation)
        if beside is not None:
            self.choose(owner, beside)
        self._remove_unused_pictures()

    # --- ratings and corrections ---

    def rate(self, owner: str, answer: str, rating: int) -> None:
        """Store a thumb up (1) or down (-1), or take it back (0)."""
        if rating not in (-1, 0, 1):
            raise ValueError(f"a rating is -1, 0 or 1, not {rating}")
        self._judge(owner, answer, rating=rating)

    def correct(self, owner: str, answer: str, correction: str) -> None:
        """Store what the answer should have been; an empty text takes it back."""
        self._judge(owner, answer, correction=correction.strip())

    def prefer(self, owner: str, answer: str, other: str) -> None:
        """Store that an answer is better than another to the same question, and show it."""
        one, two = self.turn(owner, answer), self.turn(owner, other)
        if answer == other or one.parent != two.parent or one.role != "assistant":
            raise InputError("Two answers to the same question are needed: choose among them.")
        if two.better_than == answer:
            self._judge(owner, other, better_than=None)
        self._judge(owner, answer, better_than=other)
        self.choose(owner, answer)

    def take_back(self, owner: str, answer: str) -> None:
        """Remove all that an answer was judged by."""
        self._judge(owner, answer, rating=0, correction="", better_than=None)

    def judged_answers(self, owner: str | None = None) -> list[tuple[str, Turn]]:
        """List owner and answer where it was rated, corrected or preferred, in order of judgement.

        Of all owners where none is named. The answers come without their siblings.
        """
        with self._database.reading() as session:
            return [(name, self._turn(row, ())) for row, name in session.execute(judged_of(owner))]

    # --- inside ---

    def _owned(self, session: Session, owner: str, conversation: str) -> ConversationRow:
        row = session.get(ConversationRow, conversation)
        if row is None or not secrets.compare_digest(row.owner.encode(), owner.encode()):
            raise NotFoundError("There is no such conversation.")
        return row

    def _owned_turn(
        self, session: Session, owner: str, turn: str
    ) -> tuple[TurnRow, ConversationRow]:
        row = session.get(TurnRow, turn)
        if row is None:
            raise NotFoundError("There is no such turn any more.")
        return row, self._owned(session, owner, row.conversation)

    def _add(
        self,
        owner: str,
        conversation: str,
        parent: str | None,
        pictures: Sequence[NewPicture | tuple[str, bytes]],
        **values: Any,
    ) -> str:
        key = secrets.token_urlsafe(12)
        with self._database.writing() as session:
            # the first statement writes: two who add at once wait for each other, and no picture
            # is taken for unused between its file and its row
            session.execute(
                update(ConversationRow)
                .where(ConversationRow.id == conversation, ConversationRow.owner == owner)
                .values(changed=_now())
            )
            row = self._owned(session, owner, conversation)
            if parent is not None:
                before, _ = self._owned_turn(session, owner, parent)
                if before.conversation != conversation:
                    raise NotFoundError("There is no such turn in this conversation.")
            last = session.scalars(
                select(TurnRow.number)
                .where(TurnRow.conversation == conversation)
                .order_by(TurnRow.number.desc())
                .limit(1)
            ).first()
            number = 0 if last is None else last + 1
            session.add(
                TurnRow(
                    id=key, number=number, conversation=conversation, parent=parent,
                    created=_now(), **values,
                )
            )  # fmt: skip
            session.flush()
            for position, picture in enumerate(pictures):
                name, content, mark = NewPicture(*picture)
                session.add(
                    PictureRow(
                        turn=key, position=position, name=name, file=self._pictures.add(content),
                        box=mark and mark.box.values, box_alone=bool(mark and mark.alone),
                    )
                )  # fmt: skip
            row.head = key
            if not row.title:
                row.title = title_of(values["text"])
        return key

    def _judge(self, owner: str, answer: str, **values: Any) -> None:
        with self._database.writing() as session:
            row, _ = self._owned_turn(session, owner, answer)
            for name, value in values.items():
                setattr(row, name, value)
            row.judged = _now()

    def _update(self, turn: str, **values: Any) -> None:
        with self._database.writing() as session:
            session.execute(update(TurnRow).where(TurnRow.id == turn).values(**values))

    def _turns(self, session: Session, conversation: str) -> list[Turn]:
        rows = list(turns_of(session, conversation))
        pictures: dict[str, list[StoredPicture]] = {row.id: [] for row in rows}
        siblings: dict[str | None, list[str]] = {}
        for row in rows:
            siblings.setdefault(row.parent, []).append(row.id)
        query = select(PictureRow).where(PictureRow.turn.in_(pictures))
        for picture in session.scalars(query.order_by(PictureRow.turn, PictureRow.position)):
            pictures[picture.turn].append(self._picture(picture))
        return [self._turn(row, pictures[row.id], tuple(siblings[row.parent])) for row in rows]

    def _turn(
        self, row: TurnRow, pictures: Sequence[StoredPicture], siblings: tuple[str, ...] = ()
    ) -> Turn:
        turn = turn_of(row, pictures, siblings)
        end = self._unwritten.get(row.id, {})
        return replace(turn, **{name: end[name] for name in _END if name in end})

    def _picture(self, row: PictureRow) -> StoredPicture:
        mark = None if row.box is None else Mark(Box(*row.box), row.box_alone)
        return StoredPicture(row.name, self._pictures.path(row.file), mark)

    def _pictures_of(self, session: Session, turn: str) -> list[StoredPicture]:
        query = select(PictureRow).where(PictureRow.turn == turn).order_by(PictureRow.position)
        return [self._picture(row) for row in session.scalars(query)]

    def _remove_unused_pictures(self) -> None:
        with self._database.writing() as session:
            # changes nothing, but waits for those who write and lets nobody write meanwhile
            session.execute(delete(PictureRow).where(PictureRow.id == -1))
            self._pictures.remove_all_but(set(session.scalars(select(PictureRow.file).distinct())))

    def _end_abandoned(self) -> None:
        """Stop the answers whose process is gone."""
        with self._database.writing() as session:
            for row in session.scalars(select(TurnRow).where(TurnRow.state == "running")):
                created = row.created.replace(tzinfo=UTC).timestamp()
                if row.process == os.getpid() or not lives_since(row.process, created):
                    row.state = "stopped"
                    row.process = 0


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)  # SQLite keeps no zone
