"""The tables of a history, and the queries of them.

A change of a table here is a further step of `vqa.chat.migrations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, Select, UniqueConstraint, func, or_, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from vqa.chat.turn import StoredPicture, Turn


class Base(DeclarativeBase):
    """The base of all tables."""

    type_annotation_map = {dict[str, Any]: JSON}


class ConversationRow(Base):
    """A conversation."""

    __tablename__ = "conversations"
    id: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(index=True)
    title: Mapped[str]
    system: Mapped[str]
    head: Mapped[str | None]  # the last turn of the branch that is shown
    changed: Mapped[datetime]
    pinned: Mapped[bool] = mapped_column(default=False)


class TurnRow(Base):
    """A question or an answer."""

    __tablename__ = "turns"
    __table_args__ = (
        Index("ix_turns_running", "conversation", sqlite_where=text("state = 'running'")),
    )
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
    judged: Mapped[datetime | None]
    better_than: Mapped[str | None]  # id of another answer to the question; it may be gone


class PictureRow(Base):
    """A picture of a turn."""

    __tablename__ = "pictures"
    __table_args__ = (UniqueConstraint("turn", "position"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    turn: Mapped[str] = mapped_column(ForeignKey("turns.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    name: Mapped[str]
    file: Mapped[str] = mapped_column(index=True)  # name in the folder of pictures: the content's
    box: Mapped[list[float] | None] = mapped_column(JSON(none_as_null=True))  # what is asked about
    box_alone: Mapped[bool] = mapped_column(default=False)  # the model is given nothing else


def judged_of(owner: str | None) -> Select[TurnRow, str]:
    """Select the answers that were judged, and their owners, in order of judgement.

    Of all owners where none is named.
    """
    judged = or_(TurnRow.rating != 0, TurnRow.correction != "", TurnRow.better_than.is_not(None))
    query = (
        select(TurnRow, ConversationRow.owner)
        .join(ConversationRow)
        .where(TurnRow.role == "assistant", judged)
        .order_by(func.coalesce(TurnRow.judged, TurnRow.created), TurnRow.created, TurnRow.number)
    )
    return query if owner is None else query.where(ConversationRow.owner == owner)


def turns_of(session: Session, conversation: str) -> Iterable[TurnRow]:
    """Select the turns of a conversation in the order they were made: parents come first."""
    query = select(TurnRow).where(TurnRow.conversation == conversation)
    return session.scalars(query.order_by(TurnRow.number))


def turn_of(
    row: TurnRow, pictures: Sequence[StoredPicture], siblings: tuple[str, ...] = ()
) -> Turn:
    """Make a turn of its row."""
    return Turn(
        id=row.id, conversation=row.conversation, parent=row.parent, role=row.role,  # type: ignore[arg-type]
        text=row.text, state=row.state, pictures=tuple(pictures), model=row.model,  # type: ignore[arg-type]
        about=row.about, notice=row.notice, rating=row.rating, correction=row.correction,
        created=row.created, judged=row.judged, better_than=row.better_than, siblings=siblings,
    )  # fmt: skip
