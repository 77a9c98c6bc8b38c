"""`vqa train align`: what learns, going on after a kill, what counts as right, bad data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from training.align.captions import CaptionPairs, pair_captions, read_captions
from training.align.settings import AlignSettings
from training.common.pictures import open_pictures
from training.common.skipped import FileProblems
from training.run import run
from vqa.alignment import loading
from vqa.errors import InputError
from vqa.models.runs import UnfinishedRun

COLOURS = {"red": (200, 20, 20), "blue": (20, 20, 200), "green": (20, 200, 20), "white": (240,) * 3}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures of four colours with two captions each, and a row about two pictures."""
    rows: list[dict[str, Any]] = []
    for number in range(24):
        name, colour = list(COLOURS.items())[number % 4]
        shade = tuple(max(0, value - number) for value in colour)
        Image.new("RGB", (40, 40), shade).save(tmp_path / f"{number}.png")
        answers = [f"a {name} square", f"a picture of the square in {name} number {number}"]
        rows.append({"id": number, "image": f"{number}.png", "question": "?", "answers": answers})
    both = {"id": 99, "images": ["0.png", "1.png"], "question": "?", "answer": "two"}
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, both]))
    return path


def write(towers: tuple[str, str], data: Path | None, output: Path, **values: Any) -> str:
    config = {
        "recipe": "align", "vision": towers[0], "text": towers[1], "data": data and str(data),
        "output": str(output), "device": "cpu", "batch": 8, "epochs": 6, "save_every": 3,
        "log_every": 5, "heads": {"dim": 8, "hidden": 16, "dropout": 0.1},
        "learning_rate": {"heads": 0.01, "vision": 0.001},
        "validation": {"share": 0.3, "every": 5},
    }  # fmt: skip
    path = output.parent / f"{output.name}.yaml"
    path.write_text(json.dumps(config | values))
    return str(path)


def test_it_learns_colours_and_says_so(towers: tuple[str, str], data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run(write(towers, data, out, epochs=12))
    encoder = loading.load(str(out), "cpu")
    names = list(COLOURS)
    pictures = encoder.encode_images([Image.new("RGB", (40, 40), COLOURS[name]) for name in names])
    texts = encoder.encode_texts([f"a {name} square" for name in names])
    assert (pictures @ texts.T).argmax(1).tolist() == [0, 1, 2, 3]
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    checked = [entry for entry in log if "eval_loss" in entry]
    assert checked[-1]["eval_loss"] < checked[0]["eval_loss"]
    card = (out / "README.md").read_text()
    assert "vqa score-caption" in card and "R@1" in card
    assert json.loads((out / "run.json").read_text())["finished"]


@pytest.mark.parametrize(
    "values", [{"train": {"vision": True}, "epochs": 1}, {"heads": {"dim": 8, "loss": "sigmoid"}}]
)
def test_what_learns_is_saved(
    towers: tuple[str, str], data: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    from transformers import AutoModel

    out = tmp_path / "run"
    run(write(towers, data, out, **values))
    weights = load_file(out / "model.safetensors")
    trained = {name for name in weights if name.startswith("vision_tower.")}
    assert bool(trained) == ("train" in values)
    before = {
        f"vision_tower.{k}": v for k, v in AutoModel.from_pretrained(towers[0]).state_dict().items()
    }
    moved = {name for name in trained if not torch.equal(weights[name], before[name])}
    assert len(moved) == len(trained) and not any("running" in name for name in moved)
    loading.load(str(out), "cpu")  # on the base that it was trained on


@pytest.mark.parametrize("kind", [0, 1])
def test_damaged_features_are_computed_again(
    towers: tuple[str, str],
    data: Path,
    tmp_path: Path,
    kind: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run(write(towers, data, tmp_path / "first", epochs=1))
    file = sorted((tmp_path / "cache" / "alignment").glob("*/*.safetensors"))[kind]
    before = file.read_bytes()
    file.write_bytes(before[:-700] + bytes(700))
    run(write(towers, data, tmp_path / "second", epochs=1))
    assert f"vqa: {file} is damaged" in capfd.readouterr().err
    assert file.read_bytes() == before
    first, second = (tmp_path / name / "model.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_stopped_and_started_again_it_ends_like_an_unbroken_run(
    towers: tuple[str, str], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import TrainerCallback

    from training.common import loop

    run(write(towers, data, tmp_path / "whole"))

    class Stop(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 8:
                raise KeyboardInterrupt

    broken = write(towers, data, tmp_path / "broken")
    log = loop.LogCallback
    with monkeypatch.context() as patch:
        patch.setattr(loop, "LogCallback", lambda out: [log(out), Stop()][1])
        with pytest.raises(KeyboardInterrupt):
            run(broken)
    assert not (tmp_path / "broken" / "model.safetensors").exists()
    with pytest.warns(UnfinishedRun, match="of step 6 of 28"):
        stopped = loading.load(str(tmp_path / "broken"), "cpu")
    assert stopped.encode_texts(["a red square"]).shape == (1, 8)
    run(broken)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    with pytest.raises(InputError, match="holds a run with batch"):
        run(write(towers, data, tmp_path / "broken", batch=6))


def captions_of(path: Path) -> CaptionPairs:
    settings = AlignSettings(recipe="align", output=path.parent / "run", data=path)
    rows, left_out = read_captions(FileProblems(path), settings, lambda texts: None)
    pictures = open_pictures([row.image for row in rows])
    return pair_captions(rows, pictures.fingerprints, left_out)


def test_pairs_are_those_of_the_data(data: Path) -> None:
    captions = captions_of(data)
    assert len(captions.fingerprints) == 24 and captions.left_out == 1
    assert len(captions.pairs) == 48 and len(captions.texts) == 4 + 24
    texts = {captions.texts[text] for picture, text in captions.pairs if picture == 1}
    assert texts == {"a blue square", "a picture of the square in blue number 1"}


def test_a_table_of_captions_is_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (9, 9), "red" if name == "a" else "blue").save(tmp_path / f"{name}.jpg")
    path = tmp_path / "captions.csv"
    path.write_text("image,caption\na.jpg,red one\na.jpg,still red\nb.jpg,blue one\n")
    captions = captions_of(path)
    assert sorted(captions.texts) == ["blue one", "red one", "still red"]
    assert len(captions.pairs) == 3


def test_bad_data_is_one_line(towers: tuple[str, str], data: Path, tmp_path: Path) -> None:
    leak = {"validation": {"data": str(data)}}
    with pytest.raises(InputError, match="is also a training picture"):
        run(write(towers, data, tmp_path / "run", **leak))
    lines = data.read_text().splitlines()
    one = tmp_path / "one.jsonl"
    one.write_text(lines[-1] + "\n")
    with pytest.raises(InputError, match="no row shows exactly one picture"):
        run(write(towers, one, tmp_path / "run"))
    row = json.loads(lines[0]) | {"answers": ["a " * 40]}
    one.write_text("\n".join([json.dumps(row), *lines[1:5]]))
    with pytest.raises(InputError, match="has 42 tokens"):
        run(write(towers, one, tmp_path / "run"))
    with pytest.raises(InputError, match="data: name a file"):
        run(write(towers, None, tmp_path / "run"))


@pytest.mark.parametrize("vision", [False, True])
def test_dry_run_writes_nothing(
    towers: tuple[str, str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    vision: bool,
) -> None:  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    run(write(towers, data, tmp_path / "run", train={"vision": vision}), dry_run=True)
    output = capsys.readouterr().out
    for part in ("memory at its peak: about", "on this machine", "steps"):
        assert part in output
    cache = tmp_path / "cache"  # which pictures are whole
    left = set(tmp_path.rglob("*")) - {*before, cache, *cache.rglob("*")}
    assert {path.suffix for path in left} <= {".yaml"}  # the config itself
    assert not list(cache.rglob("*.safetensors"))
