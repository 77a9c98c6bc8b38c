"""Rows that cannot be used: all are named before training starts, or left out and counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.data.broken import write_all
from tests.training.recipes import RECIPES, Start
from training.common import loop, pictures
from training.common.pictures import open_pictures
from vqa.errors import InputError


def add(data: Path, *rows: dict[str, Any]) -> int:
    """Append rows to the data; the line of the first of them."""
    before = len(data.read_text().splitlines())
    with data.open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    return before + 1


def row(image: str, **more: Any) -> dict[str, Any]:
    return {
        "image": image, "question": "What colour is it?", "answer": "red", "rejected": "nothing",
    } | more  # fmt: skip


def described(out: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((out / "run.json").read_text())
    return record


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_bad_row_is_told_at_once_before_anything_is_trained(
    start_recipe: Start, data: Path, recipe: str, tmp_path: Path
) -> None:
    shutil.copy(tmp_path / "0.png", tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    first = add(data, row("cut.png"), row("gone.png"), row("whole.png"), row("cut.png"),
                row("0.png", answer=""), {"image": "0.png"})  # fmt: skip
    with pytest.raises(InputError) as caught:
        start_recipe(recipe)
    message = str(caught.value)
    assert f"{data}:{first}: " in message and "cut.png" in message and "(2 rows name it)" in message
    assert f"{data}:{first + 1}: " in message and "gone.png" in message
    assert f"{data}:{first + 4}: answer is missing" in message
    assert f"{data}:{first + 5}: " in message
    assert f"{data}:{first + 2}: " not in message and f"{data}:{first + 3}: " not in message
    assert "5 bad rows; correct them, or leave them out with skip_bad=true" in message
    assert "\n" not in message and not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", RECIPES)
def test_bad_rows_are_left_out_and_counted(
    start_recipe: Start, data: Path, recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the validation's own data, too; the run is that of the data without them."""
    checked = tmp_path / "checked.jsonl"
    for n in range(3):
        Image.new("RGB", (30 + n, 20), "red").save(tmp_path / f"c{n}.png")
    checked.write_text("".join(json.dumps(row(f"c{n}.png")) + "\n" for n in range(3)))
    own = {"validation": {"data": str(checked)}}
    clean = start_recipe(recipe, "clean", **own)
    assert described(clean)["skipped"]["rows"] == 0
    broken = write_all(tmp_path / "broken")
    images = [f"broken/{name}" for name in broken]
    first = add(data, *map(row, images), row(images[0]), row("0.png", answer=None))
    add(checked, row(images[0]), {"image": "c0.png", "answer": "red"})
    capsys.readouterr()
    out = start_recipe(recipe, "skipping", skip_bad=True, **own)
    count = len(broken) + 4
    message = capsys.readouterr().err
    assert f"vqa: left out for skip_bad=true: {count} bad rows" in message
    assert f"{data}:{first}: " in message and "(2 rows name it)" in message
    record = described(out)
    assert record["skipped"]["rows"] == count and len(record["skipped"]["reasons"]) == 10
    assert record["skipped"]["lines"] == [list(range(first, first + len(broken) + 2)), [4, 5]]
    for name in ("rows", "pictures", "validation_rows"):
        assert record[name] == described(clean)[name]
    assert f"{count} rows could not be used and left out" in (out / "README.md").read_text()
    assert "left out" not in (clean / "README.md").read_text()
    name = next(path.name for path in clean.glob("*.safetensors"))
    one, two = (load_file(path / name) for path in (clean, out))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("recipe", ["finetune", "fusion", "align"])
def test_nothing_is_left(start_recipe: Start, data: Path, recipe: str, tmp_path: Path) -> None:
    data.write_text("".join(json.dumps(row("gone.png")) + "\n" for _ in range(3)))
    with pytest.raises(InputError, match=r"no row of it can be used: .*:1: .*3 rows name it"):
        start_recipe(recipe, skip_bad=True)
    with pytest.raises(InputError, match="3 bad rows"):
        start_recipe(recipe)


def test_rows_that_are_too_long_are_bad_rows(
    start_recipe: Start, data: Path, tmp_path: Path
) -> None:
    first = add(data, row("0.png", question="What? " * 3000))
    with pytest.raises(InputError, match=rf"train.jsonl:{first}: \d+ tokens, but the model takes"):
        start_recipe("finetune")
    assert described(start_recipe("finetune", skip_bad=True))["skipped"]["lines"] == [[first]]
    network = {"hidden_size": 16, "heads": 2}
    assert (
        described(start_recipe("fusion", "f", skip_bad=True, network=network))["skipped"]["rows"]
        == 1
    )
    add(data, row("1.png", answer="a red thing " * 400))
    assert described(start_recipe("align", "a", skip_bad=True))["skipped"]["lines"] == [[first + 1]]


def test_a_picture_that_is_repaired_or_breaks_before_a_run_goes_on_is_told(
    start_recipe: Start, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add(data, row("late.png"), row("other.png"))
    Image.new("RGB", (20, 20), "red").save(tmp_path / "other.png")

    def begun(**changes: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("training.sft.finetune.FinetuneRecipe.save", _killed)
            with pytest.raises(KeyboardInterrupt):
                start_recipe("finetune", **changes)

    begun(skip_bad=True)
    with pytest.raises(InputError, match="holds a run with skip_bad=True, not False"):
        shutil.copy(tmp_path / "other.png", tmp_path / "late.png")
        start_recipe("finetune")
    with pytest.raises(InputError, match=rf"without 1 bad row,.*data line {first} is good"):
        start_recipe("finetune", skip_bad=True)
    (tmp_path / "late.png").unlink()
    content = (tmp_path / "other.png").read_bytes()
    (tmp_path / "other.png").write_bytes(b"")
    with pytest.raises(InputError, match=rf"now there are 2 \(data line {first + 1} is bad now"):
        start_recipe("finetune", skip_bad=True)
    (tmp_path / "other.png").write_bytes(content)
    assert described(start_recipe("finetune", skip_bad=True))["finished"]


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_what_is_mended_is_read_again(start_recipe: Start, data: Path, tmp_path: Path) -> None:
    """Rows that are bad for files beside the data are not remembered as bad."""
    outside = tmp_path.parent / "outside.png"
    shutil.copy(tmp_path / "0.png", outside)
    (tmp_path / "link.png").symlink_to(outside)
    add(data, row("link.png"), row("empty.png"))
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(InputError, match="2 bad rows"):
        start_recipe("finetune")
    for name in ("link.png", "empty.png"):
        (tmp_path / name).unlink()
        Image.new("RGB", (50, 20), "blue").save(tmp_path / name)
    assert described(start_recipe("finetune"))["skipped"]["rows"] == 0


@pytest.mark.slow
def test_ids_that_are_repeated_are_trained_and_told(
    start_recipe: Start, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) | {"id": "x"} for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for recipe in RECIPES:
        for name in (recipe, f"{recipe}-again"):  # tokens come from the cache
            capsys.readouterr()
            out = start_recipe(recipe, name)
            lines = [line for line in capsys.readouterr().err.splitlines() if "repeat" in line]
            assert lines == [
                f"vqa: {data}: 15 rows repeat the id of an earlier row, first 'x' in line 2: they "
                "are called 'x#2' and so on"
            ]
        answered = sorted((out / "validation").glob("*.jsonl"))
        ids = [json.loads(line)["id"] for path in answered[:1] for line in path.open()]
        assert len(set(ids)) == len(ids)


def test_a_picture_that_vanishes_while_the_encoder_is_trained(
    start_recipe: Start, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that names it, and no traceback."""
    fit = loop.fit

    def vanish(*arguments: Any, **options: Any) -> Any:
        for n in range(8):
            (tmp_path / f"{n}.png").unlink()
        return fit(*arguments, **options)

    monkeypatch.setattr(loop, "fit", vanish)
    with pytest.raises(InputError, match=r"\d.png: no such file"):
        start_recipe("finetune", train={"vision": True})


def test_the_next_start_decodes_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for n in range(5):
        Image.new("RGB", (8, 8 + n), "red").save(tmp_path / f"p{n}.png")
        paths.append(str(tmp_path / f"p{n}.png"))
    (tmp_path / "p4.png").write_bytes(b"no picture")
    monkeypatch.setattr(pictures, "_AT_ONCE", 2)
    first = open_pictures(paths)
    assert list(first.broken) == [paths[4]] and set(first.fingerprints) == set(paths[:4])
    opened: list[str] = []
    load = pictures.load_image
    monkeypatch.setattr(pictures, "load_image", lambda path: [opened.append(path), load(path)][1])
    assert open_pictures(paths) == first and opened == [paths[4]]
    shutil.copy(paths[0], paths[4])  # its content was decoded under another name
    assert open_pictures(paths).fingerprints[paths[4]] == first.fingerprints[paths[0]]
    assert opened == [paths[4]]


@pytest.mark.parametrize("damage", ["cut", "garbage", "directory"])
def test_a_damaged_note_of_whole_pictures_costs_only_time(
    tmp_path: Path, data: Path, damage: str
) -> None:
    paths = [str(tmp_path / f"{n}.png") for n in range(8)]
    (tmp_path / "3.png").write_bytes(b"no picture")
    before = open_pictures(paths)
    (note,) = [path for path in (tmp_path / "cache" / "opened").iterdir() if path.suffix != ".lock"]
    whole = note.read_bytes()
    if damage == "directory":
        note.unlink()
        (note / "below").mkdir(parents=True)
    else:
        note.write_bytes(whole[:13] if damage == "cut" else whole[::-1])
    assert open_pictures(paths) == before == open_pictures(paths)
    assert set(before.broken) == {paths[3]}


def test_a_pipe_is_no_picture_and_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.jpg")
    path = str(tmp_path / "pipe.jpg")
    assert "not a file" in open_pictures([path]).broken[path]
