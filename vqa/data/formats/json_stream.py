"""Large JSON files, one element after the other: only the element at hand is in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa.errors import InputError

_PIECE = 1 << 20  # characters read at once
_LONGEST = 1 << 28  # characters of one element; pictures may be written into it
_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


def elements(path: Path, key: str | None = None) -> Iterator[Any]:
    """Yield the elements of the list that a file is, or that its object has under `key`.

    Raises ValueError where the file is not JSON (any more); InputError where it cannot be read.
    """
    with _Text(path) as text:
        if key is None:
            yield from _list(text)
            return
        for found in _keys(text):
            if found == key:
                yield from _list(text)
                return
            _skip(text)


def members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the keys of the object that a file is, each with its value; of a list one element.

    A list is read to its end only when the next member is asked for. Raises as `elements`.
    """
    with _Text(path) as text:
        for key in _keys(text):
            if text.peek() != "[":
                yield key, text.value()
                continue
            rest = _list(text)
            yield key, [element for element, _ in zip(rest, range(1), strict=False)]
            for _ in rest:
                pass


class _Text:
    """A file's text, of which only what is needed is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text, self._at, self._ended = "", 0, False

    def __enter__(self) -> _Text:
        try:
            self._file = self._path.open(encoding="utf-8-sig")
        except OSError as error:
            raise InputError(f"Cannot read {self._path}: {error.strerror or error}.") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._more()

    def take(self, wanted: str) -> None:
        """Go past the next character, which must be one of `wanted`."""
        found = self.peek()
        if not found or found not in wanted:
            raise ValueError("not JSON: the file ends too early" if not found else "not JSON")
        self._at += 1

    def value(self) -> Any:
        """The next value, whole."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # else a number may go on
                    self._at = end
                    return value
            except RecursionError:
                raise ValueError("not JSON: too deep") from None
            except json.JSONDecodeError:
                if self._ended or len(self._text) - self._at > _LONGEST:
                    raise ValueError("not JSON") from None
            self._more()

    def _more(self) -> None:
        # as much again as there is: an element of n characters is tried log n times
        left = len(self._text) - self._at
        try:
            piece = self._file.read(max(_PIECE, left))
        except UnicodeDecodeError:
            raise ValueError("not UTF-8; convert the file first") from None
        except OSError as error:
            raise InputError(f"Cannot read {self._path}: {error.strerror or error}.") from error
        self._ended = not piece
        self._text, self._at = self._text[self._at :] + piece, 0


def _list(text: _Text) -> Iterator[Any]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        yield text.value()
        if text.peek() == "]":
            text.take("]")
            return
        text.take(",")


def _keys(text: _Text) -> Iterator[str]:
    """The keys of an object; the value of each must be taken before the next."""
    text.take("{")
    if text.peek() == "}":
        text.take("}")
        return
    while True:
        if text.peek() != '"':
            raise ValueError("not JSON")
        key = text.value()
        text.take(":")
        yield key
        if text.peek() == "}":
            text.take("}")
            return
        text.take(",")


def _skip(text: _Text) -> None:
    if text.peek() != "[":
        text.value()
        return
    for _ in _list(text):
        pass
