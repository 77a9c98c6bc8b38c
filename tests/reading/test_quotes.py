"""Which words of an answer are read text, and marks that leave all else as it is."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqa.inputs.hints import joined_blocks, text_block
from vqa.reading import marked, quoted_spans, read_rows

ROWS = ["STOP", "Old Town | 5 km", "The Royal Oak", "Total | 12.50", "出口 Exit", "No | a"]


def quotes(answer: str, rows: list[str] = ROWS) -> list[str]:
    return [answer[start:end] for start, end in quoted_spans(answer, rows)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The sign says stop.", ["stop"]),
        ("It is 5 km to the old town, so STOP!", ["5 km", "old town", "STOP"]),
        ("Old Town: 5 km", ["Old Town: 5 km"]),
        ("The total is 12.50, not 12.5 or 50.", ["total", "12.50"]),
        ("A pub, The Royal Oak", ["The Royal Oak"]),
        ("The oak of the royals", ["oak"]),  # a common word alone is none
        ("No, it has a", []),  # nor is one letter
        ("Stopping stops nonstop", []),  # whole words
        ("Exit is 出口, not 入口", ["Exit", "出口"]),
        ("old\ntown", ["old", "town"]),
        ("(Old) **Town**", ["Old", "Town"]),
        ("", []),
    ],
)
def test_whole_words_of_a_row_are_quotes(answer: str, expected: list[str]) -> None:
    assert quotes(answer) == expected


def test_the_longest_row_is_quoted() -> None:
    assert quotes("go to Old Town Road", ["Old Town", "Old Town Road"]) == ["Old Town Road"]


def test_rows_are_read_from_the_hints_as_they_were_written() -> None:
    rows = ["STOP", 'say "hi" / [text: x]', "Town | 5 km"]
    block = joined_blocks("[names: likely sign]", text_block(rows))
    assert read_rows([block, "", text_block(["GO"])]) == [
        "STOP", "say 'hi' / [text: x]", "Town | 5 km", "GO",
    ]  # fmt: skip
    assert read_rows(['[names: maybe "STOP"]']) == []


WORDS = st.lists(
    st.sampled_from(["Old", "town", "5", "km", "12.5", "*", "\n", "a", "出", ", ", " ", "'"])
)


@given(WORDS.map("".join) | st.text(), st.lists(WORDS.map("".join) | st.text()))
def test_marks_change_nothing_else(answer: str, rows: list[str]) -> None:
    spans = quoted_spans(answer, rows)
    words = marked(answer, spans, lambda part: f"\0{part}\1")
    assert re.sub("[\0\1]", "", words) == re.sub("[\0\1]", "", answer)
    assert all(start < end for start, end in spans)
    assert all(one[1] <= after[0] for one, after in pairwise(spans))
