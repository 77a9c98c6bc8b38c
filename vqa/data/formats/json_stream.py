"""Large JSON files, one element after the other: only the element at hand is in memory.

ijson (3.6, yajl2_c) was measured instead: 100,000 rows of LLaVA's JSON take it 0.54 s of processor
time and 21 MiB, this module 0.58 s and 41 MiB. But it ends the file at the first bad element, at
bytes that are not UTF-8, NaN, Infinity, a byte order mark, a comma behind the last element and
numbers beyond 64 bits; it makes `?` of a lone surrogate, and bounds neither size nor depth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.data.formats.json_nesting import Nesting
from vqa.data.row_limits import ROW, SKIPPED, check_json, too_long
from vqa.utils.disk import reading

_MEMBERS = 500_000  # elements of a list of an object that are gone through for the next member
_FIRST = 3  # elements that tell how they are laid out
_PIECE = 1 << 20  # characters read at once
_TOKEN = 20  # characters that the end of a piece may leave of a name or an escape
_WIDEST = 100  # characters of white space before the elements of a list
_PASSED = 4 * ROW  # characters of an element that ends by its brackets alone
_LONGEST_KEY = 500
_MEMBER = r'"(?:[^"\\\n]|\\.){0,400}"[ \t]{0,20}:[ \t]{0,20}\{'
_BLANK = re.compile(r"[ \t\r\n]*")
_LINE_START = re.compile(r"\n[ \t]*\Z")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_DECODER = json.JSONDecoder()


def elements(path: Path, key: str | None = None) -> Iterator[Any]:
    """Yield the elements of the list that a file is, or that its object has under `key`.

    In place of one that cannot be read, its ValueError: reading goes on behind it by its
    brackets, or where elements begin lines, as programs write them. Raises ValueError where the
    file is not JSON any more and they are not; InputError where it cannot be read.
    """
    with _Text(path) as text:
        if key is None:
            yield from _list(text)
            if text.peek():
                raise ValueError("not JSON: something follows the list")
            return
        for name in _keys(text):
            if name == key:
                yield from _list(text)
                return
            _skip(text)


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the keys of the object that a file is, each with its value; of a list one element.

    In place of a value that cannot be read, its ValueError, as `elements` has it; with an empty key
    where that cannot be read either.
    A list is read to its end only when the next member is asked for; a very long one is not. Raises
    as `elements`.
    """
    with _Text(path) as text:
        text.take("{")
        start, number = "", 0
        while text.peek() != "}":  # also behind a last comma
            if number < _FIRST:
                start, number = start or text.line_start(), number + 1
            key, is_list = "", False
            try:
                key = _key(text)
                is_list = text.peek() == "["
                if is_list:
                    rest = _list(text)
                    yield key, [element for element, _ in zip(rest, range(1), strict=False)]
                    for place, _ in enumerate(rest):
                        if place > _MEMBERS:
                            raise ValueError("a list that is no list of rows")
                else:
                    yield key, _element(text)
                key, is_list = "", False
                if text.peek() != "}":
                    text.take(",")
            except ValueError as error:
                if is_list or not text.pass_over(start, '"', "}"):
                    raise
                yield key, error
        text.take("}")
        if text.peek():
            raise ValueError("not JSON: something follows the object")


class _Text:
    """A file's text, of which only what is needed is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text, self._at, self._ended = "", 0, False
        self._ahead = ""  # what comes after `_text` and is read already
        self._room = ROW // 4  # characters that may still be gone through for brackets in vain
        self._damaged = False  # whether bytes that are not UTF-8 stand in `_text`

    def __enter__(self) -> _Text:
        with reading(self._path):
            self._file = self._path.open(encoding="utf-8-sig", errors="surrogateescape")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def peek(self) -> str:
        """Return the next character that is no white space; empty at the end."""
        if self._at < len(self._text) and (character := self._text[self._at]) > " ":
            return character
        while True:
            match = _BLANK.match(self._text, self._at)
            self._at = match.end() if match is not None else self._at  # it always is one
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def take(self, mark: str) -> None:
        """Go past the next character, which must be `mark`."""
        character = self.peek()
        if character != mark:
            raise ValueError("not JSON" if character else "not JSON: the file ends too early")
        self._at += 1

    def value(self) -> Any:
        """Parse the next value, whole."""
        self.peek()
        if len(self._text) - self._at > 2 * _PIECE:
            self._put_back()
        while True:
            if len(self._text) - self._at > 2 * _PIECE:  # else they cannot be too many
                check_json(self._text[self._at :])
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # else a number may go on
                    start, self._at = self._at, end
                    if self._damaged and _NOT_UTF8.search(self._text, start, end):
                        raise _Unread("not UTF-8; convert the file first")
                    return value
            except _Unread:
                raise
            except RecursionError:
                raise ValueError("not JSON: too deep") from None
            except json.JSONDecodeError as error:
                goes_on = "Unterminated" in error.msg or error.pos + _TOKEN > len(self._text)
                if self._ended or not goes_on:
                    raise ValueError("not JSON") from None
            except ValueError:  # of Python's own limit
                raise ValueError("a number of thousands of digits, which is not read") from None
            if len(self._text) - self._at > ROW:
                raise too_long()
            self._more()

    def line_start(self) -> str:
        """The line end and white space before the next character; empty where it begins no line."""
        self.peek()
        before = _LINE_START.search(self._text[max(0, self._at - _WIDEST) : self._at])
        return before[0] if before is not None else ""

    def pass_over(self, start: str, opener: str, closer: str) -> bool:
        """Go past the element at hand, which cannot be read, and the comma behind it.

        It ends where its brackets say so, if what follows is `closer`, or another element: behind
        `start`, with `opener`. Otherwise the next is where a line begins so. False where there is
        none.
        """
        nesting = Nesting()
        ahead = passed = 0  # characters behind `_at` that are gone through; those before it
        while True:
            most = _PASSED if not start else self._room
            stop = min(len(self._text), self._at + most)
            end = nesting.end(self._text, self._at + ahead, stop)
            if end is not None:
                break
            ahead = stop - self._at
            if not start:  # nothing to come back for
                passed, ahead, self._at = passed + ahead, 0, stop
            if self._ended or passed >= _PASSED or (start and ahead >= self._room):
                return self._leave(ahead, start, opener)
            self._more()
        length = end - self._at
        while not self._ended and len(self._text) - self._at - length < 2 * _WIDEST:
            self._more()
        end = self._at + length
        blank = _BLANK.match(self._text, end + 1)
        behind = blank.end() if blank is not None else end + 1
        following = self._text[behind : behind + 1]
        if self._text[end] == closer:
            self._at = end
        elif self._text[end] == "," and (
            following == closer or (following == opener and self._text.endswith(start, 0, behind))
        ):
            self._at = end + 1
        else:
            return self._leave(end - self._at, start, opener)
        return True

    def _leave(self, scanned: int, start: str, opener: str) -> bool:
        """Give up on brackets; go to the next element that begins a line behind `start`."""
        self._room -= scanned
        if not start:
            return False
        begins = re.compile(re.escape(start) + (_MEMBER if opener == '"' else r"\{"))
        skipped = 0
        self._at += 1
        while (match := begins.search(self._text, self._at)) is None:
            skipped += len(self._text) - self._at
            if self._ended or skipped > SKIPPED:
                return False
            self._at = max(self._at, len(self._text) - len(start) - _LONGEST_KEY)
            self._more()
        self._at = match.start() + len(start)
        return True

    def _more(self) -> None:
        # as much again as there is: an element of n characters is tried log n times
        left = len(self._text) - self._at
        size = min(max(_PIECE, left), ROW)
        if self._ahead:
            piece, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            piece = self._read(size)
            self._ended = not piece
        self._damaged = (self._damaged and left > 0) or not _is_utf8(piece)
        self._text, self._at = self._text[self._at :] + piece, 0

    def _read(self, size: int) -> str:
        with reading(self._path):
            return self._file.read(size)

    def _put_back(self) -> None:
        """Leave a long rest of the text, which a long element has had read, for later."""
        end = self._at + _PIECE
        self._text, self._ahead = self._text[:end], self._text[end:] + self._ahead
        self._ended = False


def _is_utf8(text: str) -> bool:
    """Return whether no bytes that are not UTF-8 stand in it as lone surrogates."""
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Unread(ValueError):
    """A value that is there and ends where it should, but cannot be used."""


def _list(text: _Text) -> Iterator[Any]:
    text.take("[")
    start, number = "", 0
    while text.peek() != "]":  # also behind a last comma, which some programs write
        if number < _FIRST:  # the first may stand behind the bracket
            start, number = start or text.line_start(), number + 1
        try:
            yield _element(text)
            if text.peek() != "]":
                text.take(",")
        except ValueError as error:
            if not text.pass_over(start, "{", "]"):
                raise
            yield error
    text.take("]")


def _element(text: _Text) -> Any:
    try:
        return text.value()
    except _Unread as error:
        return error


def _keys(text: _Text) -> Iterator[str]:
    """The keys of an object; the value of each must be taken before the next."""
    text.take("{")
    if text.peek() == "}":
        text.take("}")
        return
    while True:
        yield _key(text)
        if text.peek() == "}":
            text.take("}")
            return
        text.take(",")


def _key(text: _Text) -> str:
    if text.peek() != '"':
        raise ValueError("not JSON")
    key: str = text.value()
    text.take(":")
    return key


def _skip(text: _Text) -> None:
    if text.peek() != "[":
        text.value()
        return
    for _ in _list(text):
        pass
