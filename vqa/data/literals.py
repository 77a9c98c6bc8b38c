"""Lists and objects that stand as text in a cell, as JSON, Python or numpy writes them.

Python writes `['red', None]`, numpy `['red' 'dark red']`, `[1. nan]` and in a list of Python's
`np.str_('red')`. Only literals are read, by a grammar of its own: Python's would join numpy's texts
into one. Anything else stays a text, as do `[unclear]` and `['a`.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

_LONGEST = 1 << 20  # characters
_DEEPEST = 32
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>[bu]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))
    |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    |(?P<name>[-+]?(?:None|True|False|null|true|false|nan|NaN|NaT|inf|Infinity)(?!\w)|<NA>)
    |(?P<array>array\(|(?:np|numpy)\.\w+\()
    |(?P<type>dtype\s*=\s*[\w.'<>]+)
    |(?P<mark>[\[\](){},:])
    )""",
    re.VERBOSE | re.DOTALL,
)
_NAMES: dict[str, Any] = {
    "None": None, "null": None, "NaT": None, "<NA>": None, "True": True, "true": True,
    "False": False, "false": False,
}  # fmt: skip
_CLOSING = {"[": "]", "(": ")", "{": "}"}
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[\\'\"nrt\n])", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}


def literal(text: str) -> list[Any] | dict[str, Any] | None:
    """The list or object that a text is, or None where it is none.

    A tuple is a list, but for one without any text: `(1, 2)` is a point, which people write.
    """
    if text[:1] not in ("[", "{", "(") or len(text) > _LONGEST:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        return value if isinstance(value, list | dict) else None
    try:
        value = _Literal(text).whole()
    except (ValueError, OverflowError):
        return None
    if text[0] == "(" and not any(isinstance(item, str) for item in value):
        return None
    return value if isinstance(value, list | dict) else None


class _Literal:
    """Reads one value by recursive descent. Raises ValueError where the text is no literal."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._spaced = False  # whether white space stands before the token that came last
        self._kind, self._token = "", ""
        self._next()

    def whole(self) -> Any:
        value = self._value(0)
        if self._kind:
            raise ValueError("something follows the value")
        return value

    def _next(self) -> None:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            if self._text[self._at :].strip():
                raise ValueError("not a literal")
            self._kind = self._token = ""
            return
        kind = match.lastgroup
        assert kind is not None
        self._kind, self._token = kind, match[kind]
        self._spaced = match.start(kind) > self._at
        self._at = match.end()

    def _take(self, mark: str) -> None:
        if self._token != mark or self._kind != "mark":
            raise ValueError(f"no {mark}")
        self._next()

    def _value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("too deep")
        kind, token = self._kind, self._token
        self._next()
        if kind == "text":
            return _unescaped(token)
        if kind == "number":
            return float(token) if set(token) & set(".eE") else int(token)
        if kind == "name":
            return _NAMES[token] if token in _NAMES else _not_finite(token)
        if kind == "array":
            return self._array(depth)
        if token == "{":
            return self._object(depth)
        if kind == "mark" and token in "[(":
            return self._items(_CLOSING[token], depth)
        raise ValueError("no value")

    def _array(self, depth: int) -> Any:
        """`array(VALUE, dtype=...)`, as numpy writes it inside something else; `np.str_(VALUE)`."""
        value = self._value(depth + 1)
        if self._token == ",":
            self._next()
            if self._kind == "type":
                self._next()
        self._take(")")
        return value

    def _items(self, closing: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while self._token != closing or self._kind != "mark":
            items.append(self._value(depth + 1))
            if self._token == "," and self._kind == "mark":
                self._next()
            elif (self._token != closing or self._kind != "mark") and not self._spaced:
                raise ValueError("nothing parts two values")
        if closing == ")" and len(items) == 1 and self._text[: self._at - 1].rstrip()[-1] != ",":
            raise ValueError("a value in brackets, not a tuple")
        self._next()
        return items

    def _object(self, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while self._token != "}" or self._kind != "mark":
            name = self._value(depth + 1)
            self._take(":")
            values[str(name)] = self._value(depth + 1)
            if self._token == "," and self._kind == "mark":
                self._next()
            elif self._token != "}" or self._kind != "mark":
                raise ValueError("nothing parts two values")
        self._next()
        return values


def _unescaped(token: str) -> str | bytes:
    text = token.lstrip("bu")[1:-1]
    text = _ESCAPE.sub(lambda match: _character(match[1]), text)
    return text.encode("latin-1") if token[0] == "b" else text


def _character(escape: str) -> str:
    if escape[0] in "xuU":
        return chr(int(escape[1:], 16))
    return _ESCAPED.get(escape, escape)


def _not_finite(token: str) -> float:
    if token.lstrip("+-") in ("nan", "NaN"):
        return math.nan
    return -math.inf if token[0] == "-" else math.inf
