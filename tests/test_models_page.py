"""The table of models of other kinds is that of the architectures that are tested."""

from __future__ import annotations

from pathlib import Path

from benchmarks import machines
from benchmarks.architectures import HEAD
from benchmarks.page_table import read_table
from tests.vlm_architectures import ARCHITECTURES
from tests.vlm_checks import ABILITIES

ROOT = Path(__file__).parents[1]


def test_the_table_has_each_architecture_and_what_it_can() -> None:
    _, (head, _, *rows) = read_table(ROOT / "docs" / "models.md", HEAD)
    assert head == [*HEAD]
    shown = {name.strip("`"): dict(zip(head, [name, *cells], strict=True)) for name, *cells in rows}
    assert list(shown) == list(ARCHITECTURES)
    for name, row in shown.items():
        kind = ARCHITECTURES[name]
        assert row.pop("for example") == kind.checkpoint
        lacking = {what for what, mark in row.items() if mark == "no"}
        assert lacking == set(kind.lacks) <= set(ABILITIES)
        assert {mark for what, mark in row.items() if what not in ("kind", *lacking)} == {"yes"}


def test_the_table_of_memory_is_what_the_estimate_gives() -> None:
    _, (head, _, *rows) = read_table(ROOT / "docs" / "models.md", machines.HEAD)
    assert head == [*machines.HEAD]
    assert [name for name, *_ in rows] == list(machines.CONFIGS)
    assert machines.row(rows[0][0]) == rows[0]


def test_both_readmes_lead_to_it() -> None:
    for name in ("README.md", "README.zh.md"):
        assert "(docs/models.md)" in (ROOT / name).read_text(encoding="utf-8")
