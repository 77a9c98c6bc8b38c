"""Split data by picture, by content: no copy of a picture is on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from vqa.data.convert import copy_pictures, with_names
from vqa.data.formats import flat_json
from vqa.data.identity import file_sha256
from vqa.data.reading import default_root
from vqa.data.row_reader import BadRow, Notice
from vqa.data.usable_rows import UsableRows
from vqa.errors import InputError
from vqa.utils.files import write_jsonl

_DIGITS = 8


@dataclass(frozen=True)
class Split:
    """The number of rows, and of different pictures, on each side."""

    train: tuple[int, int]
    test: tuple[int, int]
    rows: int  # good ones
    left_out: int  # others
    bad: list[BadRow]  # why; a picture that cannot be opened comes once
    root: Path  # the written names of pictures are relative to it
    written: bool  # nothing is where rows are bad and not skipped


def split(
    source: Path,
    out: Path,
    share: float,
    images: Path | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    notice: Callable[[Notice], None] = lambda notice: None,
    together: Iterable[Sequence[str]] = (),
) -> Split:
    """Write the rows of `source` to `train.jsonl` and `test.jsonl` in the directory `out`.

    About a `share` of the pictures goes to the test side, with all of their rows; which ones
    depends on their bytes and the seed alone; those of each of `together`, paths below the root of
    pictures that rows have, go to one side. Rows without a picture are trained on. Every picture
    is opened; rows whose picture is missing or broken are bad rows, which `skip_bad` leaves out.
    Ids are written as they are made unique, for which `notice` is called. Raises InputError where
    the source is not known or has fewer than two pictures, and where one of the files is there
    already: nothing is written over.
    """
    for name in ("train", "test"):  # the source may be one of them
        if (out / f"{name}.jsonl").exists():
            raise InputError(f"{out / name}.jsonl is there already: name another directory")
    root = images if images is not None else default_root(source)
    good = UsableRows(source, root, need_answers=True, open_pictures=True, notice=notice)
    if good.bad and not (good and skip_bad):
        return Split((0, 0), (0, 0), len(good), good.left_out, good.bad, root, written=False)
    hashes: dict[str, str] = {}  # path -> hash of the file
    rows: Counter[str] = Counter()  # by their first picture; "" for those without

    def pictures_of_rows() -> Iterator[list[str]]:
        for example in good:
            for path in map(str, example.images):
                if path not in hashes:
                    hashes[path] = file_sha256(Path(path))
            pictures = [hashes[str(image)] for image in example.images]
            rows[pictures[0] if pictures else ""] += 1
            yield pictures
        for names in together:
            yield [hashes[str(root / name)] for name in names]

    groups = group_connected(pictures_of_rows())
    held = held_out(groups.values(), share, seed)
    if not held:
        raise InputError(
            f"{source}: its rows show one picture, or all of them together; to split by picture "
            "takes two that are apart"
        )
    test = {name for name, group in groups.items() if group in held}
    out.mkdir(parents=True, exist_ok=True)
    for name, of_test in (("train", False), ("test", True)):
        path = out / f"{name}.jsonl"
        chosen = (
            with_names(example, root, path, inside=False)
            for example in good
            if any(hashes[str(image)] in test for image in example.images) is of_test
        )
        write_jsonl(path, map(flat_json.to_row, copy_pictures(chosen, root, path)))
    tested = sum(count for name, count in rows.items() if name in test)
    train = rows.total() - tested, len(groups) - len(test)
    return Split(train, (tested, len(test)), len(good), good.left_out, good.bad, root, written=True)


def group_connected(rows: Iterable[Sequence[str]]) -> dict[str, str]:
    """Map each name to the least of all names that rows have beside it, directly or by others."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    for row in rows:
        for name in row:
            low, high = sorted((root(row[0]), root(name)))
            parent[high] = low
    return {name: root(name) for name in parent}


def held_out(names: Iterable[str], share: float, seed: int) -> set[str]:
    """Choose about a `share` of the names: at least one and not all, where there are several.

    Which ones depends on the names and the seed alone, not on what other names there are.
    """
    drawn = {name: sha256(f"{seed}/{name}".encode()).hexdigest() for name in set(names)}
    ordered = sorted(drawn, key=drawn.__getitem__)
    if not share or len(ordered) < 2:
        return set()
    limit = int(share * 16**_DIGITS)
    held = {name for name in ordered if int(drawn[name][:_DIGITS], 16) < limit}
    held = held or {ordered[0]}
    if len(held) == len(ordered):
        held.remove(ordered[-1])
    return held
