"""Print a table in Markdown, or put it into its page in the place of the earlier one."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from vqa.loading import quiet_loading


def read_table(page: Path, head: Sequence[str]) -> tuple[int, list[list[str]]]:
    """Return the line at which the table with this first column begins, and the cells of it."""
    lines = page.read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {head[0]} |"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return start, rows


def show_table(
    description: str | None, page: Path, head: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Print the table, or write it with `--write`."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"put it into docs/{page.name}")
    write = parser.parse_args().write
    quiet_loading()
    table = [f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows)]
    if not write:
        print("".join(table), end="")
        return
    start, before = read_table(page, head)
    lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[start : start + len(before)] = table
    page.write_text("".join(lines), encoding="utf-8")
