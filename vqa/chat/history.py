"""Conversations on disk: one SQLite database, and a folder with the bytes of their pictures.

A conversation is a tree. A question that is edited, or an answer that is written again, becomes a
sibling of the old one; the conversation shows the branch that ends at its `head`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
from sqlalchemy import (
    JSON,
    ForeignKey,
    UniqueConstraint,
    create_engine,
    delete,
    event,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from vqa import fingerprint
from vqa.errors import InputError, VQAError
from vqa.files import atomic_write

State = Literal["running", "done", "stopped", "failed", "note"]
_TITLE = 60  # characters
_VERSION = 1  # of the tables


class NotThere(InputError):
    """A conversation or turn that does not exist, or belongs to somebody else."""


@dataclass(frozen=True)
class Picture:
    """A picture of a turn. Its bytes lie, as they came, in the file `path`."""

    name: str
    path: Path


@dataclass(frozen=True)
class Turn:
    """A question or an answer that is kept, with what people said of it."""

    id: str
    conversation: str
    parent: str | None
    role: Literal["user", "assistant"]
    text: str
    state: State = "done"
    pictures: tuple[Picture, ...] = ()
    model: str = ""  # of an answer
    about: dict[str, Any] = field(default_factory=dict)  # of an answer: tokens, times, probability
    notice: str = ""  # why there is no answer
    rating: int = 0  # 1 for a thumb up, -1 for down
    correction: str = ""
    created: datetime = datetime.min
    siblings: tuple[str, ...] = ()  # all that answer or continue the same, oldest first, itself too


@dataclass(frozen=True)
class Summary:
    """A conversation in a list."""

    id: str
    title: str
    changed: datetime


class _Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON}


class _Conversation(_Base):
    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    title: Mapped[str]
    system: Mapped[str]
    head: Mapped[str | None]  # the last turn of the branch that is shown
    changed: Mapped[datetime]


class _Turn(_Base):
    __tablename__ = "turns"
    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]  # in the order they were made, within the conversation
    conversation: Mapped[str] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), index=True
    )
    parent: Mapped[str | None] = mapped_column(
        ForeignKey("turns.id", ondelete="CASCADE"), index=True
    )
    role: Mapped[str]
    text: Mapped[str]
    state: Mapped[str] = mapped_column(default="done")
    process: Mapped[int] = mapped_column(default=0)  # that writes it, while it runs
    model: Mapped[str] = mapped_column(default="")
    about: Mapped[dict[str, Any]] = mapped_column(default=dict)
    notice: Mapped[str] = mapped_column(default="")
    rating: Mapped[int] = mapped_column(default=0)
    correction: Mapped[str] = mapped_column(default="")
    created: Mapped[datetime]


class _Picture(_Base):
    __tablename__ = "pictures"
    __table_args__ = (UniqueConstraint("turn", "position"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    turn: Mapped[str] = mapped_column(ForeignKey("turns.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    name: Mapped[str]
    file: Mapped[str] = mapped_column(index=True)  # name in the folder of pictures: the content's


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
        file = directory / "history.sqlite"
        try:
            self._pictures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{directory}: cannot be made ({error.strerror})") from error
        self._engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 30})
        event.listen(self._engine, "connect", _connected)
        with _readable(file):
            with self._engine.connect() as connection:
                version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version not in (0, _VERSION):
                raise InputError(
                    f"{file} was written by another version of vqa: name another directory."
                )
            _Base.metadata.create_all(self._engine)
            with self._engine.begin() as connection:
                connection.exec_driver_sql(f"PRAGMA user_version = {_VERSION}")
            self._end_abandoned()

    def close(self) -> None:
        """Close the files of the database."""
        self._engine.dispose()

    # --- conversations ---

    def start(self, owner: str, system: str = "") -> str:
        """Begin an empty conversation; its id."""
        key = secrets.token_urlsafe(16)
        with self._session() as session:
            session.add(
                _Conversation(
                    id=key, owner=owner, title="", system=system, head=None, changed=_now()
                )
            )
        return key

    def conversations(self, owner: str, search: str = "", limit: int = 200) -> list[Summary]:
        """The owner's conversations in which something was said, the latest first.

        With `search`, those where the words, as they stand, are in a question or an answer.
        """
        query = select(_Conversation).where(
            _Conversation.owner == owner,
            select(_Turn.id).where(_Turn.conversation == _Conversation.id).exists(),
        )
        if search.strip():
            words = search.strip()
            said = select(_Turn.id).where(
                _Turn.conversation == _Conversation.id,
                or_(
                    _Turn.text.icontains(words, autoescape=True),
                    _Turn.correction.icontains(words, autoescape=True),
                ),
            )
            query = query.where(said.exists())
        with self._session() as session:
            found = session.scalars(query.order_by(_Conversation.changed.desc()).limit(limit))
            return [Summary(row.id, row.title, row.changed) for row in found]

    def delete(self, owner: str, conversation: str) -> None:
        """Delete a conversation, and the pictures that no other one has."""
        with self._session() as session:
            session.delete(self._owned(session, owner, conversation))
        self._remove_unused_pictures()

    def system(self, owner: str, conversation: str) -> str:
        """What the model is told before the first question."""
        with self._session() as session:
            return self._owned(session, owner, conversation).system

    def branch(self, owner: str, conversation: str, to: str | None = None) -> list[Turn]:
        """The turns from the first to `to`, or to the end of the branch that is shown."""
        with self._session() as session:
            row = self._owned(session, owner, conversation)
            turns = {
                turn.id: turn
                for turn in session.scalars(
                    select(_Turn).where(_Turn.conversation == conversation).order_by(_Turn.number)
                )
            }
            pictures: dict[str, list[Picture]] = {}
            for picture in session.scalars(
                select(_Picture)
                .where(_Picture.turn.in_(turns))
                .order_by(_Picture.turn, _Picture.position)
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
        with self._session() as session:
            row, conversation = self._owned_turn(session, owner, turn)
            head: str | None = row.id
            while head is not None:
                conversation.head = head
                head = session.scalars(
                    select(_Turn.id)
                    .where(_Turn.parent == head)
                    .order_by(_Turn.number.desc())
                    .limit(1)
                ).first()

    def delete_turn(self, owner: str, turn: str) -> None:
        """Delete a turn and all that came after it. What stood beside it is shown instead."""
        with self._session() as session:
            row, conversation = self._owned_turn(session, owner, turn)
            parent, key = row.parent, conversation.id
            session.delete(row)
            session.flush()
            beside = session.scalars(
                select(_Turn.id)
                .where(_Turn.conversation == key, _Turn.parent == parent)
                .order_by(_Turn.number.desc())
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
        with self._session() as session:
            self._owned_turn(session, owner, answer)[0].rating = rating

    def correct(self, owner: str, answer: str, correction: str) -> None:
        """Keep what the answer should have been; an empty text takes it back."""
        with self._session() as session:
            self._owned_turn(session, owner, answer)[0].correction = correction.strip()

    def judged(self, owner: str | None = None) -> Iterator[list[Turn]]:
        """The branches that end in an answer with a rating or a correction, the oldest first.

        Of all owners where none is named.
        """
        query = (
            select(_Turn.id, _Turn.conversation, _Conversation.owner)
            .join(_Conversation)
            .where(_Turn.role == "assistant", or_(_Turn.rating != 0, _Turn.correction != ""))
            .order_by(_Turn.created, _Turn.number)
        )
        if owner is not None:
            query = query.where(_Conversation.owner == owner)
        with self._session() as session:
            found = session.execute(query).all()
        for turn, conversation, its_owner in found:
            yield self.branch(its_owner, conversation, turn)

    # --- inside ---

    @contextmanager
    def _session(self) -> Iterator[Session]:
        try:
            with Session(self._engine) as session, session.begin():
                yield session
        except DatabaseError as error:  # a full disk, a broken file
            raise VQAError(f"{self.directory}: the history cannot be used: {error.orig}") from error

    def _owned(self, session: Session, owner: str, conversation: str) -> _Conversation:
        row = session.get(_Conversation, conversation)
        if row is None or not secrets.compare_digest(row.owner.encode(), owner.encode()):
            raise NotThere("There is no such conversation.")
        return row

    def _owned_turn(self, session: Session, owner: str, turn: str) -> tuple[_Turn, _Conversation]:
        row = session.get(_Turn, turn)
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
        with self._session() as session:
            # the first statement writes: two who add at once wait for each other, and no picture
            # is taken for unused between its file and its row
            session.execute(
                update(_Conversation)
                .where(_Conversation.id == conversation, _Conversation.owner == owner)
                .values(changed=_now())
            )
            row = self._owned(session, owner, conversation)
            if parent is not None:
                before, _ = self._owned_turn(session, owner, parent)
                if before.conversation != conversation:
                    raise NotThere("There is no such turn in this conversation.")
            last = session.scalars(
                select(_Turn.number)
                .where(_Turn.conversation == conversation)
                .order_by(_Turn.number.desc())
                .limit(1)
            ).first()
            number = 0 if last is None else last + 1
            session.add(
                _Turn(
                    id=key, number=number, conversation=conversation, parent=parent,
                    created=_now(), **values,
                )
            )  # fmt: skip
            session.flush()
            for position, (name, content) in enumerate(pictures):
                file = self._store(content)
                session.add(_Picture(turn=key, position=position, name=name, file=file))
            row.head = key
            if not row.title:
                row.title = " ".join(values["text"].split())[:_TITLE]
        return key

    def _update(self, turn: str, **values: Any) -> None:
        with self._session() as session:
            session.execute(update(_Turn).where(_Turn.id == turn).values(**values))

    def _store(self, content: bytes) -> str:
        name = fingerprint.of_bytes(content)
        path = self._pictures / name
        if not path.exists():
            with atomic_write(path, "wb") as file:
                file.write(content)
        return name

    def _picture(self, row: _Picture) -> Picture:
        return Picture(row.name, self._pictures / row.file)

    def _pictures_of(self, session: Session, turn: str) -> list[Picture]:
        query = select(_Picture).where(_Picture.turn == turn).order_by(_Picture.position)
        return [self._picture(row) for row in session.scalars(query)]

    def _remove_unused_pictures(self) -> None:
        with self._session() as session:
            # changes nothing, but waits for those who write and lets nobody write meanwhile
            session.execute(delete(_Picture).where(_Picture.id == -1))
            used = set(session.scalars(select(_Picture.file).distinct()))
            for path in self._pictures.iterdir():
                if path.name not in used:
                    path.unlink(missing_ok=True)

    def _end_abandoned(self) -> None:
        """Answers whose process is gone will not be written further."""
        with self._session() as session:
            for row in session.scalars(select(_Turn).where(_Turn.state == "running")):
                if row.process == os.getpid() or not psutil.pid_exists(row.process):
                    row.state = "stopped"
                    row.process = 0


def _turn(row: _Turn, pictures: Sequence[Picture], siblings: tuple[str, ...] = ()) -> Turn:
    return Turn(
        id=row.id, conversation=row.conversation, parent=row.parent, role=row.role,  # type: ignore[arg-type]
        text=row.text, state=row.state, pictures=tuple(pictures), model=row.model,  # type: ignore[arg-type]
        about=row.about, notice=row.notice, rating=row.rating, correction=row.correction,
        created=row.created, siblings=siblings,
    )  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)  # SQLite keeps no zone


def _connected(connection: Any, _record: Any) -> None:
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}").close()


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise InputError(f"{file} is not a readable history: {error.orig}") from error
