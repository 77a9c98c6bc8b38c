"""Conversations on disk: one SQLite database, and a folder with the bytes of their pictures.

A conversation is a tree. A question that is edited, or an answer that is written again, becomes a
sibling of the old one; the conversation shows the branch that ends at its `head`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from vqa import fingerprint
from vqa.chat.tables import ConversationRow, PictureRow, TurnRow, opened
from vqa.chat.turn import NotThere, Picture, State, Summary, Turn
from vqa.errors import InputError, VQAError
from vqa.files import atomic_write
from vqa.processes import lives_since

_TITLE = 60  # characters


def history_directory() -> Path:
    """Where conversations of this user are kept unless another place is named."""
    import platformdirs

    return Path(platformdirs.user_data_dir("vqa")) / "chats"


class History:
    """The conversations in a directory. Any thread, and several processes, may use one.

    What belongs to an owner is shown and changed for this owner only; NotThere is raised for
    anybody else, as for what does not exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pictures = directory / "pictures"
        self._write_lock = Lock()  # SQLite lets those who wait try again, some of them never
        try:
            self._pictures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{directory}: cannot be made ({error.strerror})") from error
        self._engine = opened(directory / "history.sqlite")
        self._end_abandoned()

    def close(self) -> None:
        """Close the files of the database."""
        self._engine.dispose()

    # --- conversations ---

    def start(self, owner: str, system: str = "") -> str:
        """Begin an empty conversation; its id."""
        key = secrets.token_urlsafe(16)
        with self._writing() as session:
            session.add(
                ConversationRow(
                    id=key, owner=owner, title="", system=system, head=None, changed=_now()
                )
            )
        return key

    def conversations(self, owner: str, search: str = "", limit: int = 200) -> list[Summary]:
        """The owner's conversations in which something was said, the latest first.

        With `search`, those where the words, as they stand, are in a question or an answer.
        """
        query = select(ConversationRow).where(
            ConversationRow.owner == owner,
            select(TurnRow.id).where(TurnRow.conversation == ConversationRow.id).exists(),
        )
        if search.strip():
            words = search.strip()
            said = select(TurnRow.id).where(
                TurnRow.conversation == ConversationRow.id,
                or_(
                    TurnRow.text.icontains(words, autoescape=True),
                    TurnRow.correction.icontains(words, autoescape=True),
                ),
            )
            query = query.where(said.exists())
        with self._session() as session:
            found = session.scalars(query.order_by(ConversationRow.changed.desc()).limit(limit))
            return [Summary(row.id, row.title, row.changed) for row in found]

    def delete(self, owner: str, conversation: str) -> None:
        """Delete a conversation, and the pictures that no other one has."""
        with self._writing() as session:
            session.delete(self._owned(session, owner, conversation))
        self._remove_unused_pictures()

    def system(self, owner: str, conversation: str) -> str:
        """What the model is told before the first question."""
        with self._session() as session:
            return self._owned(session, owner, conversation).system

    def ids(self, owner: str, conversation: str, turn: str | None = None) -> list[str]:
        """The turns of a conversation on all its branches, or `turn` and what came after it."""
        with self._session() as session:
            self._owned(session, owner, conversation)
            found: list[str] = []
            for row in _turns(session, conversation):
                if turn is None or row.id == turn or row.parent in found:
                    found.append(row.id)
            return found

    def branch(self, owner: str, conversation: str, to: str | None = None) -> list[Turn]:
        """The turns from the first to `to`, or to the end of the branch that is shown."""
        with self._session() as session:
            row = self._owned(session, owner, conversation)
            turns = {turn.id: turn for turn in _turns(session, conversation)}
            pictures: dict[str, list[Picture]] = {}
            for picture in session.scalars(
                select(PictureRow)
                .where(PictureRow.turn.in_(turns))
                .order_by(PictureRow.turn, PictureRow.position)
            ):
                pictures.setdefault(picture.turn, []).append(self._picture(picture))
            if to is not None and to not in turns:
                raise NotThere("There is no such turn any more.")
            found, key = [], to or row.head
            while key is not None:
                turn = turns[key]
                siblings = tuple(
                    other.id for other in turns.values() if other.parent == turn.parent
                )
                found.append(_turn(turn, pictures.get(turn.id, ()), siblings))
                key = turn.parent
            return found[::-1]

    # --- turns ---

    def add_question(
        self,
        owner: str,
        conversation: str,
        parent: str | None,
        text: str,
        pictures: Sequence[tuple[str, bytes]] = (),
    ) -> str:
        """Add a question after the turn `parent` (None: as a beginning), with (name, bytes)."""
        return self._add(owner, conversation, parent, pictures, role="user", text=text)

    def edit_question(self, owner: str, turn: str, text: str) -> str:
        """Add a question beside `turn`, with its pictures and another text: a new branch."""
        with self._session() as session:
            row, conversation = self._owned_turn(session, owner, turn)
            pictures = [
                (picture.name, picture.path.read_bytes())
                for picture in self._pictures_of(session, turn)
            ]
            parent, key = row.parent, conversation.id
        return self._add(owner, key, parent, pictures, role="user", text=text)

    def add_answer(self, owner: str, question: str, model: str) -> str:
        """Add an answer to a question, which this process is going to write."""
        with self._session() as session:
            _, conversation = self._owned_turn(session, owner, question)
            key = conversation.id
        return self._add(
            owner, key, question, [], role="assistant", text="", model=model,
            state="running", process=os.getpid(),
        )  # fmt: skip

    def write(self, answer: str, text: str) -> None:
        """Keep what has been written of an answer so far."""
        self._update(answer, text=text)

    def finish(
        self, answer: str, text: str, state: State, about: dict[str, Any], notice: str = ""
    ) -> None:
        """Keep an answer that has ended. It may have been deleted meanwhile: that is no error."""
        self._update(answer, text=text, state=state, about=about, notice=notice, process=0)

    def turn(self, owner: str, turn: str) -> Turn:
        """One turn, without its siblings."""
        with self._session() as session:
            row, _ = self._owned_turn(session, owner, turn)
            return _turn(row, self._pictures_of(session, turn))

    def choose(self, owner: str, turn: str) -> None:
        """Show the branch of `turn`, to the latest turn that came after it."""
        with self._writing() as session:
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
        """Delete a turn and all that came after it. What stood beside it is shown instead."""
        with self._writing() as session:
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
        if beside is not None:
            self.choose(owner, beside)
        self._remove_unused_pictures()

    # --- what people say of answers ---

    def rate(self, owner: str, answer: str, rating: int) -> None:
        """Keep a thumb up (1) or down (-1), or take it back (0)."""
        if rating not in (-1, 0, 1):
            raise ValueError(f"a rating is -1, 0 or 1, not {rating}")
        self._judge(owner, answer, rating=rating)

    def correct(self, owner: str, answer: str, correction: str) -> None:
        """Keep what the answer should have been; an empty text takes it back."""
        self._judge(owner, answer, correction=correction.strip())

    def take_back(self, owner: str, answer: str) -> None:
        """Forget what was said of an answer."""
        self._judge(owner, answer, rating=0, correction="")

    def judged_answers(self, owner: str | None = None) -> list[tuple[str, Turn]]:
        """Owner and answer where it has a rating or a correction, those judged first first.

        Of all owners where none is named. The answers come without their siblings.
        """
        query = (
            select(TurnRow, ConversationRow.owner)
            .join(ConversationRow)
            .where(TurnRow.role == "assistant", or_(TurnRow.rating != 0, TurnRow.correction != ""))
            .order_by(
                func.coalesce(TurnRow.judged, TurnRow.created), TurnRow.created, TurnRow.number
            )
        )
        if owner is not None:
            query = query.where(ConversationRow.owner == owner)
        with self._session() as session:
            return [(whose, _turn(row, ())) for row, whose in session.execute(query)]

    def judged(self, owner: str | None = None) -> Iterator[list[Turn]]:
        """The branches that end in those answers. What is deleted meanwhile is passed over."""
        for whose, answer in self.judged_answers(owner):
            with suppress(NotThere):
                yield self.branch(whose, answer.conversation, answer.id)

    # --- inside ---

    @contextmanager
    def _session(self) -> Iterator[Session]:
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except (DatabaseError, OSError) as error:  # a full disk, a broken file, a lost picture
            why = error.orig if isinstance(error, DatabaseError) else error.strerror
            raise VQAError(f"{self.directory}: the history cannot be used: {why}") from error

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with self._write_lock, self._session() as session:
            yield session

    def _owned(self, session: Session, owner: str, conversation: str) -> ConversationRow:
        row = session.get(ConversationRow, conversation)
        if row is None or not secrets.compare_digest(row.owner.encode(), owner.encode()):
            raise NotThere("There is no such conversation.")
        return row

    def _owned_turn(
        self, session: Session, owner: str, turn: str
    ) -> tuple[TurnRow, ConversationRow]:
        row = session.get(TurnRow, turn)
        if row is None:
            raise NotThere("There is no such turn any more.")
        return row, self._owned(session, owner, row.conversation)

    def _add(
        self,
        owner: str,
        conversation: str,
        parent: str | None,
        pictures: Sequence[tuple[str, bytes]],
        **values: Any,
    ) -> str:
        key = secrets.token_urlsafe(12)
        with self._writing() as session:
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
                    raise NotThere("There is no such turn in this conversation.")
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
            for position, (name, content) in enumerate(pictures):
                file = self._store(content)
                session.add(PictureRow(turn=key, position=position, name=name, file=file))
            row.head = key
            if not row.title:
                row.title = " ".join(values["text"].split())[:_TITLE]
        return key

    def _judge(self, owner: str, answer: str, **values: Any) -> None:
        with self._writing() as session:
            row, _ = self._owned_turn(session, owner, answer)
            for name, value in values.items():
                setattr(row, name, value)
            row.judged = _now()

    def _update(self, turn: str, **values: Any) -> None:
        with self._writing() as session:
            session.execute(update(TurnRow).where(TurnRow.id == turn).values(**values))

    def _store(self, content: bytes) -> str:
        name = fingerprint.of_bytes(content)
        path = self._pictures / name
        if not path.exists():
            with atomic_write(path, "wb") as file:
                file.write(content)
        return name

    def _picture(self, row: PictureRow) -> Picture:
        return Picture(row.name, self._pictures / row.file)

    def _pictures_of(self, session: Session, turn: str) -> list[Picture]:
        query = select(PictureRow).where(PictureRow.turn == turn).order_by(PictureRow.position)
        return [self._picture(row) for row in session.scalars(query)]

    def _remove_unused_pictures(self) -> None:
        with self._writing() as session:
            # changes nothing, but waits for those who write and lets nobody write meanwhile
            session.execute(delete(PictureRow).where(PictureRow.id == -1))
            used = set(session.scalars(select(PictureRow.file).distinct()))
            for path in self._pictures.iterdir():
                if path.name not in used:
                    path.unlink(missing_ok=True)

    def _end_abandoned(self) -> None:
        """Answers whose process is gone will not be written further."""
        with self._writing() as session:
            for row in session.scalars(select(TurnRow).where(TurnRow.state == "running")):
                created = row.created.replace(tzinfo=UTC).timestamp()
                if row.process == os.getpid() or not lives_since(row.process, created):
                    row.state = "stopped"
                    row.process = 0


def _turns(session: Session, conversation: str) -> Iterable[TurnRow]:
    """The turns of a conversation in the order they were made: what follows a turn comes later."""
    of_it = TurnRow.conversation == conversation
    return session.scalars(select(TurnRow).where(of_it).order_by(TurnRow.number))


def _turn(row: TurnRow, pictures: Sequence[Picture], siblings: tuple[str, ...] = ()) -> Turn:
    return Turn(
        id=row.id, conversation=row.conversation, parent=row.parent, role=row.role,  # type: ignore[arg-type]
        text=row.text, state=row.state, pictures=tuple(pictures), model=row.model,  # type: ignore[arg-type]
        about=row.about, notice=row.notice, rating=row.rating, correction=row.correction,
        created=row.created, judged=row.judged, siblings=siblings,
    )  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)  # SQLite keeps no zone
