"""Valid inputs, changed: bytes of a file, and values, names and shape of JSON."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

TEXTS = [
    "", " ", "\0", "\ud800", "\u202e\u2066", "\x1b[2J\x1b]0;x\x07", "\r", "\u2028", "a" * 5000,
    "../../etc/passwd", "/dev/zero", "C:\\x", "http://localhost/x", "data:image/png;base64,AAAA",
    "<image>", "</s><|im_end|>", "{{ 7 * 7 }}", "<script>alert(1)</script>", "[a](javascript:b)",
    "=1+1", '"', "'", ",", "\t", "nan", "1e999", "None", "true", "x.bin", "torch.float32", "auto",
    "e\u0301" * 20, "\U0001f469\u200d\U0001f680", "\ufeff", "%s%n", "(a+)+$", "org/name",
]  # fmt: skip
NUMBERS: list[Any] = [
    0, 1, -1, 2, 3, 255, 256, 65536, 1 << 31, -(1 << 31), 1 << 63, 10**7, 10**12, 10**30, -(10**9),
    0.0, -0.0, 0.5, 2.5, 1e-300, 1e308, float("inf"), float("-inf"), float("nan"),
]  # fmt: skip
_DEEP: Any = []
for _ in range(80):
    _DEEP = [_DEEP]
_SHAPES: list[Any] = [
    None, True, False, [], {}, [[]], [None], {"": None}, [0] * 50, ["a", 1], {"a": {"b": 1}}, _DEEP,
]  # fmt: skip
values = (
    st.sampled_from([*_SHAPES, *NUMBERS, *TEXTS]).map(copy.deepcopy)  # they will be changed
    | st.text(max_size=8)
    | st.integers()
)
texts = st.lists(st.sampled_from(TEXTS) | st.text(max_size=6), max_size=4).map("".join)
_EXTREMES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\1"]


@st.composite
def changed_bytes(draw: st.DrawFn, content: bytes, head: int = 150) -> bytes:
    """A file with some bytes changed, taken out, doubled or cut off.

    The first `head` bytes, where the header is, are changed more often than the rest.
    """
    changed = bytearray(content)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3, 6]))):
        last = max(len(changed) - 1, 0)
        at = draw(st.integers(0, min(head, last)) | st.integers(0, last))
        length = draw(st.sampled_from([1, 1, 2, 4, 16, 200]))
        match draw(st.sampled_from(["set"] * 4 + ["extreme", "out", "double", "random"])):
            case "set":
                changed[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case "extreme":
                extreme = draw(st.sampled_from(_EXTREMES))
                changed[at : at + len(extreme)] = extreme
            case "out":
                del changed[at : at + length]
            case "double":
                changed[at:at] = changed[at : at + length] * draw(st.sampled_from([1, 2, 50]))
            case "random":
                changed[at:at] = draw(st.binary(max_size=8))
    if draw(st.integers(0, 5)) == 0:
        del changed[draw(st.integers(0, len(changed))) :]
    return bytes(changed)


@st.composite
def changed_json(draw: st.DrawFn, value: Any, names: tuple[str, ...] = ()) -> Any:
    """A value with one to three of its parts changed; `names` are keys that may be put in."""
    whole = [copy.deepcopy(value)]
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        within: Any = whole
        key: Any = 0
        while isinstance(within[key], dict | list) and within[key] and draw(st.integers(0, 5)):
            within = within[key]
            keys = list(within) if isinstance(within, dict) else list(range(len(within)))
            key = draw(st.sampled_from(keys))
        match draw(st.sampled_from(["set", "set", "set", "out", "in", "double", "deeper"])):
            case "out" if within is not whole:
                del within[key]
            case "in" if isinstance(within, dict):
                within[draw(st.sampled_from([*names, ""]) | st.text(max_size=4))] = draw(values)
            case "double" if isinstance(within, list) and within is not whole:
                within.insert(key, copy.deepcopy(within[key]))
            case "deeper":
                within[key] = draw(st.sampled_from([[within[key]], {"a": within[key]}]))
            case _:
                within[key] = draw(values)
    return whole[0]


@st.composite
def json_bytes(draw: st.DrawFn, value: Any, names: tuple[str, ...] = ()) -> bytes:
    """A changed value as JSON; sometimes the text is changed as well."""
    plain = draw(st.booleans())
    text = json.dumps(draw(changed_json(value, names)), ensure_ascii=plain)
    content = text.encode("utf-8", "surrogatepass")
    return draw(changed_bytes(content)) if draw(st.integers(0, 5)) == 0 else content
