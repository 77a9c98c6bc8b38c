"""Shards of a run are predicted apart and put together; nothing else is ever put together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.evaluation.colors import Colors, photo, read
from vqa.answering import SamplingParams
from vqa.data.example import Example
from vqa.data.identity import sha256
from vqa.errors import InputError, VQAError
from vqa.evaluation.picture_conditions import OWN_PICTURE
from vqa.evaluation.predicting import PredictionCounts, predict, run_fingerprint
from vqa.evaluation.shards import merge, merge_leftover_parts, parse_shard, remove_parts, shard_path


@pytest.fixture
def data(tmp_path: Path) -> list[Example]:
    colors = ("red", "lime", "blue", "white", "black")
    paths = [photo(tmp_path / f"{c}.png", c, (4, 4 + i)) for i, c in enumerate(colors)]
    return [Example(f"q{i}", (paths[i % 5],), f"question {i}?") for i in range(10)]


def run(
    data: Sequence[Example],
    out: Path,
    shard: tuple[int, int] = (1, 1),
    identity: str = "m",
    answerer: Colors | None = None,
    **more: object,
) -> PredictionCounts:
    return predict(
        answerer or Colors(), data, out, SamplingParams(),
        identity=identity, batch_size=2, shard=shard, failed={"bad": "no question"}, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def ids(data: Sequence[Example]) -> list[str | int]:
    return ["bad", *(example.id for example in data)]


def shards(data: Sequence[Example], folder: Path, count: int) -> list[Path]:
    files = [folder / f"{n}.jsonl" for n in range(1, count + 1)]
    for number, file in enumerate(files, start=1):
        run(data, file, (number, count))
    return files


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_give_the_rows_of_an_unbroken_run(
    data: list[Example], tmp_path: Path, count: int
) -> None:
    run(data, tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_text()
    files = shards(data, tmp_path, count)
    assert sum(len(read(file)) for file in files) == 11
    out = tmp_path / "merged.jsonl"
    assert merge(files[::-1], out, ids(data)) == (11, 1)
    assert [row["id"] for row in read(out)] == ids(data)
    assert sorted(out.read_text().splitlines()) == sorted(whole.splitlines())
    assert json.loads(Path(f"{out}.run.json").read_text())["rows"] == 11
    assert run(data, out) == PredictionCounts(0, 1, 10)  # a merged file goes on as any other


def test_what_does_not_belong_together_is_refused(data: list[Example], tmp_path: Path) -> None:
    first, second = shards(data, tmp_path, 2)
    out = tmp_path / "p.jsonl"
    with pytest.raises(VQAError, match=r"6 rows are in no shard \(id 'q\d', ") as missing:
        merge([first], out, ids(data))
    assert missing.value.exit_code == 1
    with pytest.raises(InputError, match="'bad' is there twice"):
        merge([first, first, second], out, ids(data))
    with pytest.raises(InputError, match="no row with the id 'q"):
        merge([first, second], out, ids(data[:4]))
    with pytest.raises(InputError, match="no such file"):
        merge([first, tmp_path / "none"], out, ids(data))
    run(data, tmp_path / "other.jsonl", (2, 2), identity="other model")
    with pytest.raises(InputError, match=r"other\.jsonl:1: of another run than .*1\.jsonl"):
        merge([first, tmp_path / "other.jsonl"], out, ids(data))
    assert not out.exists()


def test_data_that_changed_since_is_refused(data: list[Example], tmp_path: Path) -> None:
    rows = tmp_path / "data.jsonl"
    rows.write_text("before")
    about = {"data": {"file": "data.jsonl", "sha256": sha256(rows)}}
    files = [tmp_path / "1", tmp_path / "2"]
    for number, file in enumerate(files, start=1):
        run(data, file, (number, 2), about=about)
    merge(files, tmp_path / "p.jsonl", ids(data), rows)
    rows.write_text("after")
    with pytest.raises(InputError, match=r"data\.jsonl has changed since .*1 was predicted"):
        merge(files, tmp_path / "p.jsonl", ids(data), rows)


def test_a_shard_never_removes_rows_of_another(data: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "p.jsonl"
    run(data, out)
    before = out.read_bytes()
    with pytest.raises(InputError, match=r"p\.jsonl holds rows of another shard"):
        run(data, out, (1, 2))
    assert out.read_bytes() == before


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "/2", "a/b", "1/0", "-1/2", "1/2/3"])
def test_no_shard(text: str) -> None:
    with pytest.raises(InputError, match="the first of four is 1/4"):
        parse_shard(text)


def test_a_shard() -> None:
    assert parse_shard("2/16") == (2, 16)


def test_parts_that_were_left_are_gathered(data: list[Example], tmp_path: Path) -> None:
    """A run with two processes was killed; one with three, or one alone, goes on from there."""
    out = tmp_path / "p.jsonl"
    prefix = run_fingerprint("m", OWN_PICTURE, SamplingParams())
    run(data, out, identity="before")
    run(data, shard_path(out, 1, 2), (1, 2))
    with pytest.raises(KeyboardInterrupt):
        run(data, shard_path(out, 2, 2), (2, 2), answerer=Colors(until=1))
    shard_path(out, 9, 9).write_text('{"id": "q0", "fingerp')  # killed in its first line
    merge_leftover_parts(out, prefix)
    assert len(read(out)) == 4 + 2 + 1  # nothing of the model before
    assert list(tmp_path.glob("*shard*")) == [] and list(tmp_path.glob(".*shard*")) == []
    merge_leftover_parts(out, prefix)
    assert len(read(out)) == 7
    parts = [shard_path(out, n, 3) for n in (1, 2, 3)]
    reused = [
        run(data, part, (n, 3), sources=[out]).reused for n, part in enumerate(parts, start=1)
    ]
    assert sum(reused) == 6
    merge(parts, out, ids(data))
    remove_parts(out)
    assert [row["id"] for row in read(out)] == ids(data)
    assert sorted(path.name for path in tmp_path.glob("p.jsonl*")) == [
        "p.jsonl",
        "p.jsonl.run.json",
    ]
