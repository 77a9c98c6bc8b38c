"""Paths and names that the pages for contributors write exist in the code."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARCHITECTURE = "docs/architecture.md"
PAGES = (ARCHITECTURE, "docs/glossary.md", "CONTRIBUTING.md")
PACKAGES = ("vqa", "training", "app")
_PATH = re.compile(r"\.?[\w.-]*/[\w./-]*|[\w-]+\.(py|md|toml|yaml)")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
# where a path without its beginning lies; files of a model's, and names that a reader puts in
_FOLDERS = ("", "docs", "training", "vqa/models")
_EXTERNAL = {"preprocessor_config.json", "NAME", "FILE", "KEY", "VALUE"}


@cache
def code() -> dict[str, str]:
    """Read all files of code and configs, by their paths."""
    paths = [path for top in PACKAGES for path in (ROOT / top).rglob("*.py")]
    paths += [*(ROOT / "configs").glob("*.yaml"), ROOT / "tests/training/recipes.py"]
    paths.append(ROOT / "pyproject.toml")  # names of test markers
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def quoted(text: str) -> list[str]:
    """List what stands in backticks, word by word, without blocks of code."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    text = text.replace("`` `", "`").replace("` ``", "`")
    return [word for part in re.findall(r"`([^`]+)`", text) for word in part.split()]


def path_exists(path: str) -> bool:
    if "NAME" in path:  # of a file that a reader adds: a package beside others
        path = path.split("NAME")[0].rpartition("/")[0]
    return any((ROOT / folder / path).exists() for folder in _FOLDERS)


def dotted_exists(name: str) -> bool:
    """Tell whether a module, or what one defines, has the full `name`."""
    if name.split(".")[0] not in PACKAGES:
        return False
    base, _, last = name.rpartition(".")
    for file in (name.replace(".", "/") + ".py", name.replace(".", "/") + "/__init__.py"):
        if file in code():
            return True
    module = base.replace(".", "/")
    source = code().get(f"{module}.py") or code().get(f"{module}/__init__.py") or ""
    body = ast.parse(source).body
    return last in {getattr(statement, "name", None) for statement in body}


def words_of(name: str, text: str) -> bool:
    """Tell whether a text has all parts of a name; a class or function before a dot, defined."""
    first, *rest = name.split(".")
    start = rf"class {first}\b" if rest and first[0].isupper() else rf"\b{first}\b"
    return all(re.search(pattern, text) for pattern in (start, *(rf"\b{p}\b" for p in rest)))


def is_named(word: str) -> bool:
    if word in _EXTERNAL or _EXTERNAL & set(re.split(r"\W", word)):
        return "/" not in word or path_exists(word)
    if _PATH.fullmatch(word):
        return path_exists(word)
    if word.startswith(tuple(f"{package}." for package in PACKAGES)):
        return dotted_exists(word)
    if _NAME.fullmatch(word):
        return any(words_of(word, text) for text in code().values())
    return True  # an option, a marker, a shape


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page: str) -> None:
    words = quoted((ROOT / page).read_text(encoding="utf-8"))
    assert len(words) > 20
    assert [word for word in words if not is_named(word)] == []


def test_a_walk_names_what_its_file_has() -> None:
    text = (ROOT / ARCHITECTURE).read_text(encoding="utf-8")
    for walk in text.split("\n### ")[1:]:
        items = re.findall(r"^(\d+)\. `([^`]+)`: (.*(?:\n {3,}.*)*)", walk, re.M)
        count = re.search(r"\((\d+) files", walk)
        assert count is not None and int(count[1]) == len(items)
        assert [int(number) for number, *_ in items] == [*range(1, len(items) + 1)]
        for _, path, line in items:
            names = [word for word in quoted(line) if _NAME.fullmatch(word)]
            missing = [name for name in names if not words_of(name, code()[path])]
            assert (path, missing) == (path, [])


def test_what_is_gone_would_be_seen() -> None:
    gone = ["vqa/hints.py", "vqa.loading.lode", "vqa.loadings", "Answerer.anser", "lode_image"]
    assert not any(map(is_named, gone))
    assert all(map(is_named, ["vqa/loading.py", "vqa.loading.load", "Conversation.ask"]))


def test_readmes_lead_to_the_pages() -> None:
    for name in ("README.md", "README.zh.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "(docs/architecture.md)" in text and "(CONTRIBUTING.md)" in text
