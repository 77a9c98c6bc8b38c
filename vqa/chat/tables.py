"""The tables of the history, and the opening of their file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Engine, ForeignKey, UniqueConstraint, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vqa.errors import InputError

_VERSION = 1  # raise it when a table changes; what another version wrote is refused
_PATIENCE = 30  # seconds to wait for another process that writes


class Base(DeclarativeBase):
    """What the tables share."""

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


class TurnRow(Base):
    """A question or an answer."""

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
    judged: Mapped[datetime | None]


class PictureRow(Base):
    """A picture of a turn."""

    __tablename__ = "pictures"
    __table_args__ = (UniqueConstraint("turn", "position"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    turn: Mapped[str] = mapped_column(ForeignKey("turns.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    name: Mapped[str]
    file: Mapped[str] = mapped_column(index=True)  # name in the folder of pictures: the content's


def opened(file: Path) -> Engine:
    """The database in `file`, made where there is none. Raises InputError for what is not one."""
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": _PATIENCE})
    event.listen(engine, "connect", _connected)
    try:
        with engine.connect() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        if version not in (0, _VERSION):
            raise InputError(
                f"{file} was written by another version of vqa: name another directory."
            )
        Base.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql(f"PRAGMA user_version = {_VERSION}")
    except DatabaseError as error:
        raise InputError(f"{file} is not a readable history: {error.orig}") from error
    return engine


def _connected(connection: Any, _record: Any) -> None:
    for setting in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {setting}").close()
