"""What is trained and what is frozen, as a table."""

from __future__ import annotations

from collections.abc import Iterable

from accelerate import PartialState
from rich.console import Console
from rich.table import Table

from vqa.model import ModuleReport


def print_report(report: Iterable[ModuleReport]) -> None:
    """One line for each module, from the main process alone: kind, parameters, what learns."""
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
    Console().print(table)
