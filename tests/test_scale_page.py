"""The page of many machines has the tables that its command works out."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scale import GPUS, WAYS, bytes_each, hours, needed, tables

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_tables_are_those_of_the_command() -> None:
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    shown = text.split("<!-- benchmarks/scale.py -->\n")[1].split("<!-- end -->")[0]
    assert shown.strip().splitlines() == "\n".join(tables()).strip().splitlines()


def test_figures_that_others_have_measured() -> None:
    """The authors of LLaVA-1.5: about 10 and 20 hours for all weights on eight A100."""
    sharded = WAYS[-1]
    for size, measured in (("7B", 10), ("13B", 20)):
        memory = needed(size, sharded)
        assert 0.5 * measured < hours(memory, size, sharded, 8) < 2 * measured
        each = [bytes_each(memory, size, sharded, gpus) for gpus in GPUS]
        assert each == sorted(each, reverse=True) and each[0] > 80e9 > each[3]


def test_both_readmes_lead_to_it() -> None:
    for name in ("README.md", "README.zh.md"):
        assert "(docs/scale.md)" in (ROOT / name).read_text(encoding="utf-8")
