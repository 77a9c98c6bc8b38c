"""Models whose numbers are NaN or infinite: one line says so, exit 1, and no JSON holds NaN."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests import tiny
from tests.alignment import tiny as tiny_shared
from tests.cli.run import refused, vqa, vqa_here
from tests.damage import plant
from tests.fusion.conftest import directory as fusion_directory  # noqa: F401
from vqa.alignment.index import FileStamp, PictureIndex
from vqa.alignment.loading import load

Capture = pytest.CaptureFixture[str]
LINE = "vqa: the model's numbers are not finite; try --dtype float32"


def strict(text: str) -> Any:
    """JSON as other programs read it."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tiny.llava_1_5(tmp_path_factory.mktemp("damaged"))
    plant(directory, "language_model.model.layers.1.self_attn.v_proj")
    return directory


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    Image.new("RGB", (30, 40), "red").save(path)
    return path


@pytest.fixture
def data(tmp_path: Path, photo: Path) -> Path:
    path = tmp_path / "data.jsonl"
    rows = [
        {"id": number, "image": photo.name, "question": question, "choices": ["a", "b"]}
        for number, question in enumerate(("red?", "blue!", "how many cats?"))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--json",),
        ("--temperature", "1"),
        ("--min-confidence", "0.5"),
        ("--dtype", "float16"),
        ("--explain", "map.png", "--json"),
    ],
)
def test_ask_says_so_in_one_line(
    damaged: Path, photo: Path, options: tuple[str, ...], capfd: Capture
) -> None:
    asked = vqa_here(capfd, "ask", photo, "What is it?", "--model", damaged, *options)
    line = refused(asked, 1)
    assert line.startswith(LINE)
    assert "v_proj.weight holds NaN or infinity" in line


def test_ask_says_so_of_float16_that_overflows_and_float32_answers(
    tmp_path: Path, photo: Path, capfd: Capture
) -> None:
    model = tiny.llava_1_5(tmp_path / "model")
    for file in model.glob("*.safetensors"):
        weights = load_file(file)
        for name in weights:
            if ".mlp." in name and "language_model" in name:
                weights[name] = weights[name] * 2000
        save_file(weights, file, {"format": "pt"})
    command = ("ask", photo, "What is it?", "--model", model, "--json", "--max-new-tokens", "3")
    assert refused(vqa_here(capfd, *command, "--dtype", "float16"), 1) == LINE + "\n"
    answered = vqa_here(capfd, *command, "--dtype", "float32")
    assert answered.returncode == 0
    assert 0 <= strict(answered.stdout)["probability"] <= 1


@pytest.mark.parametrize("options", [(), ("--choices",), ("--batch-size", "1")])
def test_predict_writes_an_error_row_and_goes_on(
    damaged: Path, data: Path, tmp_path: Path, options: tuple[str, ...], capfd: Capture
) -> None:
    out = tmp_path / "p.jsonl"
    done = vqa_here(capfd, "predict", "--data", data, "--model", damaged, "--out", out, *options)
    assert done.returncode == 1
    assert "3 rows could not be answered" in done.stderr
    rows = [strict(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == [0, 1, 2]
    assert all("numbers are not finite; try float32" in row["error"] for row in rows)
    assert all("prediction" not in row for row in rows)


@pytest.mark.parametrize("options", [(), ("--choices",)])
def test_predict_answers_the_rows_beside_one_that_overflows(
    data: Path, tmp_path: Path, options: tuple[str, ...], capfd: Capture
) -> None:
    model = tiny.llava_1_5(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(model)

    def ids(text: str) -> set[int]:
        return set(tokenizer(text, add_special_tokens=False).input_ids)

    own = ids("how many cats?") - ids("red?") - ids("blue!") - ids("a b")
    for file in model.glob("*.safetensors"):
        weights = load_file(file)
        for name in weights:
            if name.endswith("embed_tokens.weight"):
                weights[name][list(own)] = math.inf
        save_file(weights, file, {"format": "pt"})
    outs = []
    for batch in ("1", "3"):
        outs.append(tmp_path / f"p{batch}.jsonl")
        done = vqa_here(capfd, "predict", "--data", data, "--model", model, "--out", outs[-1],
                        "--batch-size", batch, "--max-new-tokens", "1", *options)  # fmt: skip
        assert done.returncode == 1
        assert "2 answered, 1 errors" in done.stderr
    alone, together = ([strict(line) for line in out.read_text().splitlines()] for out in outs)
    assert ["error" in row for row in together] == [False, False, True]
    assert [row.get("prediction") for row in together] == [r.get("prediction") for r in alone]
    assert together[0]["probability"] == pytest.approx(alone[0]["probability"], rel=1e-3)


def test_chat_says_so_and_takes_the_next_line(damaged: Path, photo: Path) -> None:
    done = vqa("chat", photo, "--model", damaged, stdin="what is it?\n/new\n/quit\n")
    assert done.returncode == 0
    assert LINE.removeprefix("vqa: ") in done.stderr
    assert "A new conversation" in done.stdout


def test_a_fusion_model(fusion_directory: Path, data: Path, tmp_path: Path, capfd: Capture) -> None:  # noqa: F811
    model = shutil.copytree(fusion_directory, tmp_path / "fusion")
    plant(model, "classifier")
    photo = tmp_path / "cat.png"
    for options in ((), ("--json",), ("--temperature", "1"), ("--explain", tmp_path / "m.png")):
        line = refused(vqa_here(capfd, "ask", photo, "red?", "--model", model, *options), 1)
        assert "the model's numbers are not finite" in line and "train it again" in line
        assert "--dtype" not in line  # it has no other
    for options in ((), ("--choices",)):
        table = tmp_path / "yes.jsonl"
        rows = [json.loads(line) | {"choices": ["yes", "no"]} for line in data.open()]
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
        out = tmp_path / f"f{len(options)}.jsonl"
        done = vqa_here(capfd, "predict", "--data", table, "--model", model, "--out", out, *options)
        assert done.returncode == 1 and "3 errors" in done.stderr
        assert all("not finite" in strict(line)["error"] for line in out.read_text().splitlines())


@pytest.mark.parametrize("part", ["visual_projection", "text_projection", "logit_scale"])
def test_the_shared_space(tmp_path: Path, photo: Path, part: str, capfd: Capture) -> None:
    model = tiny_shared.clip(tmp_path / "clip")
    good = tmp_path / "good"
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(photo, folder)
    made = vqa_here(capfd, "search", "index", folder, "--out", good, "--model", model)
    assert made.returncode == 0, made.stderr
    plant(model, part)
    commands: list[tuple[str | Path, ...]] = [
        ("classify", photo, "--labels", "red,blue", "--json"),
        ("classify", folder, "--labels", "red,blue", "--out", tmp_path / "labels.csv"),
        ("score-caption", photo, "red", "blue", "--json"),
    ]
    if part == "visual_projection":
        commands.append(("search", "index", folder, "--out", tmp_path / "new"))
    for command in commands:
        line = refused(vqa_here(capfd, *command, "--model", model), 1)
        assert "the model's numbers are not finite" in line, command
        assert "--dtype" not in line
    assert not (tmp_path / "labels.csv").exists()
    assert not (tmp_path / "new" / "index.json").exists()


def test_an_index_that_holds_nan_is_refused(tmp_path: Path, photo: Path, capfd: Capture) -> None:
    model = tiny_shared.clip(tmp_path / "clip")
    encoder = load(str(model), "cpu")
    index = PictureIndex(
        tmp_path / "index", encoder.name, encoder.fingerprint, encoder.dim, tmp_path
    )
    vectors = np.eye(encoder.dim, dtype=np.float32)[:2]
    vectors[1, 3] = np.nan
    index.add(["cat.png", "dog.png"], [FileStamp(1, 1)] * 2, vectors)
    index.save()
    for what in (("red",), ("--like", photo)):
        done = vqa_here(capfd, "search", "find", *what, "--index", tmp_path / "index",
                        "--model", model, "--json")  # fmt: skip
        assert "vectors that are not finite" in refused(done, 2)


def test_merge_and_average_write_no_weights_that_are_not_finite(
    tmp_path: Path, capfd: Capture
) -> None:
    adapter = tiny.lora(tiny.llava_1_5(tmp_path / "base"), tmp_path / "adapter")
    other = tiny.lora(tmp_path / "base", tmp_path / "other")
    plant(other, "lora_B", math.inf)
    out = tmp_path / "out"
    line = refused(vqa_here(capfd, "average", adapter, other, "--out", out), 1)
    assert "lora_B" in line and "not finite" in line
    assert not out.exists()
    line = refused(vqa_here(capfd, "merge", other, out, "--json"), 1)
    assert "lora_B" in line and "not finite" in line
    assert not out.exists()
    name = plant(adapter, "lora_A", 3e38)  # finite in float32, not in float16
    line = refused(vqa_here(capfd, "merge", adapter, out, "--dtype", "float16"), 1)
    assert "not finite" in line and name
    assert not out.exists()


def test_models_info_prints_json_of_a_damaged_model(damaged: Path, capfd: Capture) -> None:
    done = vqa_here(capfd, "models", "info", damaged, "--json")
    assert done.returncode == 0
    assert strict(done.stdout)["kind"] == "LLaVA"
