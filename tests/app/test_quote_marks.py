"""What an answer quotes of its pictures' text, marked in its Markdown and safe there."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.quote_marks import markdown
from app.texts import formatted
from tests.app.fake import Parrot
from tests.app.test_page import ask, captions, opened, png, texts

HINTS = ('[text: "STOP" / "Old Town | 5 km" / "1. http x"]',)
NOTE = "Marked: read in the picture"


def shown(answer: str) -> str:
    """An answer with its marks, a mark as <...>, without what nobody sees."""
    words, any_marked = markdown(answer, HINTS)
    assert any_marked == (":blue-background[" in words)
    return words.replace(":blue-background[", "<").replace("\u2060", "")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("It says stop.", "It says <stop]."),
        ("**STOP** and *old town*", "**<STOP]** and *<old town]*"),
        ("[STOP](http://a.example/stop)", "[<STOP]](http://a.example/stop)"),
        ("`STOP` http://stop.example/stop stop@stop.example", None),
        ("```\nSTOP\n```", None),
        ("    STOP", None),
        ("1. one\n2. two", None),  # an item's number stays one
        ("a 1. b", "a <1]. b"),
        ("&stop; :stop: STOP", "&stop; \\:<stop]: <STOP]"),
        ("x:STOP{.a}", "x\\:<STOP]{.a}"),
    ],
)
def test_marks_stand_where_they_break_nothing(answer: str, expected: str | None) -> None:
    plain = formatted(answer).replace("\u2060", "")
    assert shown(answer) == (plain if expected is None else expected)


def test_signs_beside_a_mark_are_none_of_its_own() -> None:
    for answer in ("\\STOP", "STOP{.a}", "STOP(a)", "::STOP", "aSTOP STOP[b]"):
        words, _ = markdown(answer, HINTS)
        at = words.index(":blue-background[")
        assert at == 0 or words[at - 1] in "\u2060 "
        assert words[words.index("]", at) + 1 :][:1] in ("", "\u2060", " ")


@example(":5")
@given(st.text(alphabet="STOP5km []():*_`\\{}\n<$&;.-#\ue000\ue001"))
def test_without_its_marks_it_is_the_answer_as_ever(answer: str) -> None:
    words, _ = markdown(answer, HINTS)
    unmarked = words.replace("\u2060", "")
    assert unmarked.count(":blue-background[") == words.count(":blue-background[")
    while ":blue-background[" in unmarked:
        before, rest = unmarked.split(":blue-background[", 1)
        inside, after = rest.split("]", 1)
        unmarked = before + inside + after
    plain = formatted(answer).replace("\u2060", "")
    # a colon before a mark is escaped, before a number it need not be: both are shown as a colon
    assert unmarked.replace("\\:", ":") == plain.replace("\\:", ":")


def test_an_answer_without_hints_has_no_marks(parrot: Parrot) -> None:
    assert markdown("STOP", ()) == ("STOP", False)
    page = ask(opened(), "Which sign? STOP or GO", ("a.png", png()))
    assert texts(page)[1].endswith(":blue-background[STOP] or :blue-background[GO]")
    assert NOTE in captions(page)
    ask(page, "STOP or GO")
    assert texts(page)[3].endswith("STOP or GO")
    assert captions(page).count(NOTE) == 1
