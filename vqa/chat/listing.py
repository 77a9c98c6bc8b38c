"""Conversations in a list: which of them, in which order, and what is shown of each.

However many there are, a list is made by a few queries, and no file of a picture is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from vqa.chat.conversation import MAX_QUESTION
from vqa.chat.tables import ConversationRow, PictureRow, TurnRow
from vqa.chat.turn import StoredPicture, Summary
from vqa.errors import InputError

_BEFORE, _AFTER = 30, 60  # characters shown around what was looked for
_LONGEST = 200  # characters of a place


def summaries(
    session: Session, owner: str, search: str, limit: int, path: Callable[[str], Path]
) -> list[Summary]:
    """List the owner's conversations that have turns: those pinned first, then the latest.

    With `search`, those where the words, as they stand, are in the title, a question, an answer, a
    correction or the name of a picture. `path` gives the path of a picture's file. Raises
    InputError where the words are more than a question can have.
    """
    if len(search) > MAX_QUESTION:
        raise InputError(
            f"the search has {len(search):,} characters: at most {MAX_QUESTION:,} are looked for."
        )
    words = search.strip()
    rows = list(session.scalars(_conversations(owner, words).limit(limit)))
    ids = [row.id for row in rows]
    pictures = {
        key: StoredPicture(name, path(file)) for key, name, file in _first(session, _pictures(ids))
    }
    places = _places(session, ids, words) if words else {}
    return [
        Summary(
            row.id, row.title, row.changed, row.pinned, pictures.get(row.id), places.get(row.id, "")
        )
        for row in rows
    ]


def running(session: Session, owner: str) -> list[tuple[str, str]]:
    """List the owner's answers that are being written: conversation and answer."""
    query = (
        select(TurnRow.conversation, TurnRow.id)
        .join(ConversationRow)
        .where(TurnRow.state == "running", ConversationRow.owner == owner)
    )
    return [(conversation, answer) for conversation, answer in session.execute(query)]


def _conversations(owner: str, words: str) -> Select[ConversationRow]:
    inside = TurnRow.conversation == ConversationRow.id
    query = select(ConversationRow).where(
        ConversationRow.owner == owner, select(TurnRow.id).where(inside).exists()
    )
    if words:
        turns = select(TurnRow.id).where(inside, or_(*_in_turn(words)))
        names = select(PictureRow.id).join(TurnRow).where(inside, _has(PictureRow.name, words))
        query = query.where(or_(_has(ConversationRow.title, words), turns.exists(), names.exists()))
    return query.order_by(ConversationRow.pinned.desc(), ConversationRow.changed.desc())


def _has(column: InstrumentedAttribute[str], words: str) -> ColumnElement[bool]:
    return column.icontains(words, autoescape=True)


def _in_turn(words: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _has(TurnRow.text, words), _has(TurnRow.correction, words)


def _pictures(ids: Sequence[str]) -> Select[Any, Any, Any, Any]:
    order = (TurnRow.number, PictureRow.position)
    return (
        select(TurnRow.conversation, PictureRow.name, PictureRow.file, _rank(*order))
        .join_from(PictureRow, TurnRow)
        .where(TurnRow.conversation.in_(ids))
    )


def _rank(*order: InstrumentedAttribute[int]) -> ColumnElement[int]:
    """Number the rows of each conversation from 1 on."""
    ranked = func.row_number().over(partition_by=TurnRow.conversation, order_by=order)
    return ranked.label("rank")


def _first(session: Session, query: Select[Any, Any, Any, Any]) -> list[tuple[Any, ...]]:
    """Execute a query that ends in `_rank` for the first row of each conversation, without it."""
    ranked = query.subquery()
    rows = session.execute(select(ranked).where(ranked.c.rank == 1))
    return [tuple(row)[:-1] for row in rows]


def _places(session: Session, ids: Sequence[str], words: str) -> dict[str, str]:
    """Cut out what stands around `words` where each conversation has them first.

    That is in a turn, else in the name of a picture; where only the title has them it is nothing.
    """
    in_text, in_correction = _in_turn(words)
    source = case((in_text, TurnRow.text), else_=TurnRow.correction)
    at = func.instr(func.lower(source), func.lower(words))  # as `icontains` compares
    begin = case((at > _BEFORE, at - _BEFORE), else_=1)
    size = _BEFORE + len(words) + _AFTER
    turns = select(
        TurnRow.conversation, func.substr(source, begin, size), begin, _rank(TurnRow.number)
    ).where(TurnRow.conversation.in_(ids), or_(in_text, in_correction))
    names = _pictures(ids).where(_has(PictureRow.name, words))
    places = {key: _one_line(name) for key, name, _ in _first(session, names)}
    for key, part, first in _first(session, turns):
        before, after = "… " if first > 1 else "", " …" if len(part) == size else ""
        places[key] = before + _one_line(part) + after
    return places


def _one_line(words: str) -> str:
    return " ".join(words.split())[:_LONGEST]
