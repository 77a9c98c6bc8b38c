"""Pictures and questions through pipes: `-`, `/dev/stdin`, `<(...)` and named pipes."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from vqa.errors import InputError

Name = TypeVar("Name", str, Path)

STDIN = "-"
_STDIN_FILES = frozenset({"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_MOST = 512_000_000  # bytes of a picture: as many as 64 million pixels of 16 bits have
_MOST_TEXT = 1_000_000  # bytes of a question


class Piped(io.BytesIO):
    """The bytes of a pipe. Messages name it `name`, results as the user did: `str` of it."""

    def __init__(self, content: bytes, name: str, argument: str) -> None:
        super().__init__(content)
        self.name = name
        self._argument = argument

    def __str__(self) -> str:
        return self._argument


def is_stdin(argument: str | Path) -> bool:
    """Return whether an argument means standard input."""
    return str(argument) == STDIN or str(argument) in _STDIN_FILES


def pictures(photos: Sequence[Name]) -> list[Name | Piped]:
    """Return the pictures that arguments name: paths as they stand, and the content of pipes.

    Raises InputError where standard input is named twice, is a terminal, or is too large.
    """
    if sum(map(is_stdin, photos)) > 1:
        raise InputError("standard input is named twice, and holds one thing: name files instead")
    return [_picture(photo) for photo in photos]


def picture(photo: Name) -> Name | Piped:
    """Return the picture that one argument names, as `pictures` does."""
    return pictures([photo])[0]


def question(photos: Sequence[str | Path]) -> str:
    """Read the text in standard input, without the line's end; no photo may be there, too."""
    if any(map(is_stdin, photos)):
        raise InputError("standard input is the picture already: give the question in quotes")
    content = _read(_stdin("the question"), "standard input", _MOST_TEXT)
    from vqa.inputs import signatures

    kind = signatures.detect_format(content[: signatures.HEAD_BYTES])
    if kind is not None:
        raise InputError(
            f"standard input holds a picture ({kind.name}), where `-` stands for the question: "
            "vqa ask - QUESTION"
        )
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InputError("standard input is no text in UTF-8, so it is no question") from None


def _picture(photo: Name) -> Name | Piped:
    argument = str(photo)
    if is_stdin(argument):
        return Piped(
            _read(_stdin("a picture"), "standard input", _MOST), "standard input", argument
        )
    try:
        if not stat.S_ISFIFO(os.stat(argument).st_mode):
            return photo
        with open(argument, "rb") as file:
            return Piped(_read(file, argument, _MOST), argument, argument)
    except (OSError, ValueError):  # who opens it says what is wrong
        return photo


def _stdin(what: str) -> BinaryIO:
    """Return standard input; InputError if it is closed or a terminal."""
    if sys.stdin is None or sys.stdin.closed:
        raise InputError("- is standard input, and that is closed: name a file")
    if sys.stdin.isatty():
        raise InputError(
            f"- is standard input, and that is this terminal: pipe {what} into the command "
            "(`cat cat.jpg | vqa ask - QUESTION`), or name a file"
        )
    return sys.stdin.buffer


def _read(file: BinaryIO, name: str, most: int) -> bytes:
    try:
        content = file.read(most + 1)
    except OSError as error:  # a directory, or the other end has failed
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from error
    if len(content) > most:
        raise InputError(f"{name} holds more than {most:,} bytes: name a file instead")
    return content
