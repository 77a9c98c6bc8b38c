"""Try each kind of vision-language model on tiny random weights; write docs/models.md's table.

python -m benchmarks.architectures          prints the table
python -m benchmarks.architectures --write  puts it into docs/models.md
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.page_table import show_table
from tests import tiny_vlms
from tests.vlm_architectures import ARCHITECTURES
from tests.vlm_checks import ABILITIES, CHECKS, ONE, Case, ability, asked
from tests.vlm_training import learns_and_merges
from vqa.loading import load

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
_QUANTIZED, _TRAINED = "4 bits", "LoRA"
HEAD = ("kind", "for example", *CHECKS, *ABILITIES, _QUANTIZED, _TRAINED)


def row(name: str, directory: Path) -> list[str]:
    """Try all on the tiny model of an architecture, which is written into a new `directory`."""
    case = Case(name, tiny_vlms.write(directory, name))
    cells = [f"`{name}`", case.kind.checkpoint]
    cells += [_mark(lambda check=check: check(case)) for check in CHECKS.values()]
    cells += ["yes" if ability(case, *messages) else "no" for messages in ABILITIES.values()]
    with tempfile.TemporaryDirectory() as folder:
        trained = _mark(lambda: learns_and_merges(name, directory, Path(folder)))
    return [*cells, _mark(lambda: _quantized(directory)), trained]


def _quantized(directory: Path) -> None:
    answerer = load(str(directory), device="cpu", dtype="float32", quantize="4bit")
    (answer,) = answerer.answer([asked(ONE)])
    assert answer.new_tokens


def _mark(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except Exception as error:
        return f"no ({type(error).__name__})"
    return "yes"


def rows() -> Iterator[list[str]]:
    """Try all architectures."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ARCHITECTURES:
            yield row(name, Path(folder) / name)


if __name__ == "__main__":
    show_table(__doc__, PAGE, HEAD, rows())
