"""Lines for the user before a run trains: what learns, which visits it makes, and remarks."""

from __future__ import annotations

from collections.abc import Iterable

from accelerate import PartialState
from rich.console import Console
from rich.table import Table

from training.common.recipe import SetVisits
from vqa.models.llava import ModuleReport


def print_report(report: Iterable[ModuleReport]) -> None:
    """Print a line for each module, from the main process alone: kind, parameters, what learns."""
    if not PartialState().is_main_process:
        return
    table = Table("module", "kind", "parameters", "")
    for row in report:
        table.add_row(
            row.name,
            row.kind,
            f"{row.parameters:,}",
            f"{row.trainable:,} trainable" if row.trainable else "frozen",
        )
    Console(stderr=True).print(table)


def print_remarks(remarks: Iterable[str]) -> None:
    """Print what the user should know of the data, from the main process alone."""
    if PartialState().is_main_process:
        for line in remarks:
            Console(stderr=True).print(line, highlight=False)


def print_sets(sets: Iterable[SetVisits]) -> None:
    """Print a line for each set of pictures, from the main process alone."""
    rows = [
        (one.name or "(no source)", f"{one.pictures:,}", f"{one.visited:,}",
         f"{one.visits / max(1, one.visited):.1f}, at most {one.most}", f"{one.questions:,}")
        for one in sets
    ]  # fmt: skip
    if not rows or not PartialState().is_main_process:
        return
    table = Table("set", "pictures", "visited", "visits of each", "questions")
    for row in rows:
        table.add_row(*row)
    Console(stderr=True).print(table)
