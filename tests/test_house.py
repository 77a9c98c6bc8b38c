"""The structure of the packages: no import circle, however it is hidden, and a short way in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("vqa", "training", "app", "tests", "benchmarks")


def modules() -> dict[str, Path]:
    paths = [path for top in ("vqa", "training", "app") for path in (ROOT / top).rglob("*.py")]
    names = (".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, paths, strict=True)}


def imported(tree: ast.AST, names: set[str]) -> Iterator[str]:
    """Yield the modules of this project that a file imports anywhere: in functions, for types."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in names else str(node.module)


def test_no_import_circle() -> None:
    paths = modules()
    names = set(paths)
    graph = {
        name: set(imported(ast.parse(path.read_text(encoding="utf-8")), names)) & names - {name}
        for name, path in paths.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_a_circle_would_be_seen() -> None:
    tree = ast.parse("def f():\n    from vqa.a import b\n")
    assert list(imported(tree, {"vqa.a"})) == ["vqa.a"]


def test_few_modules_stand_outside_the_packages() -> None:
    assert len(list((ROOT / "vqa").glob("*.py"))) <= 8


def test_the_library_names_parameters_not_options() -> None:
    """Commands in backticks may have options: "run `vqa predict --blind` for it"."""
    messages = {
        (name, re.sub("`?vqa [^`]+`?", "", part.value))
        for name, path in modules().items()
        if not name.startswith(("vqa.cli", "app"))
        for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(statement, ast.Raise)
        for part in ast.walk(statement)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }
    assert len(messages) > 100
    assert not {entry for entry in messages if re.search(r"(?<![\w-])--[a-z]", entry[1])}


def test_names_say_what_they_are() -> None:
    """Words that could stand for anything are left to texts that users read (docs/glossary.md)."""
    vague = re.compile(r"\b(f[o]und|s[a]id|t[o]ld|k[e]pt|s[e]en)\b")  # but not this line
    files = (path for top in FOLDERS for path in (ROOT / top).rglob("*.py"))
    lines = [line for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    assert sum(bool(vague.search(line)) for line in lines) < 60
