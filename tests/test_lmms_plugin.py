"""lmms-eval runs two of its own tasks on local files, answered by a tiny model of this library."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import datasets
import pytest

from tests import tiny
from tests.evaluation.test_benchmark_rows import HUB, LETTER, SHORT, picture
from vqa import load
from vqa.answering import Request, SamplingParams
from vqa.errors import InputError
from vqa.inputs.images import load_image
from vqa.inputs.placeholders import join_with_pictures
from vqa.inputs.prompts import Message

ROOT = Path(__file__).parents[1]
COLORS = ("red", "green", "blue", "white", "black")

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("lmms_eval") is None, reason="lmms-eval is not installed"
)


def installed(folder: Path) -> Path:
    """Write the entry points that installing the package would."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    directory = folder / "vqa_entry_points-0.dist-info"
    directory.mkdir(parents=True)
    (directory / "METADATA").write_text("Metadata-Version: 2.1\nName: vqa-entry-points\n")
    lines = [f"{name} = {where}" for name, where
             in project["entry-points"]["lmms_eval.models"].items()]  # fmt: skip
    (directory / "entry_points.txt").write_text("\n".join(["[lmms_eval.models]", *lines, ""]))
    return folder


def task(folder: Path, name: str, original: str, split: str, rows: list[dict[str, Any]]) -> None:
    """Write one of its tasks with the rows of a local file in place of the hub's."""
    package = importlib.util.find_spec("lmms_eval")
    assert package is not None and package.submodule_search_locations
    data = datasets.Dataset.from_list(rows)
    for column in [key for key, value in rows[0].items() if isinstance(value, dict)]:
        data = data.cast_column(column, datasets.Image())
    data.to_parquet(folder / f"{name}.parquet")
    (folder / f"{name}.yaml").write_text(
        f"include: {package.submodule_search_locations[0]}/tasks/{original}\n"
        f"task: {name}\ndataset_path: parquet\ndataset_name: null\n"
        f"dataset_kwargs: {{data_files: {{{split}: {folder}/{name}.parquet}}}}\n"
    )


def evaluated(folder: Path, *tasks: str, args: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed(folder / "site")), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "lmms_eval", "--model", "vqa", "--model_args", args,
         "--tasks", ",".join(tasks), "--include_path", folder, "--batch_size", "2",
         "--device", "cpu", "--log_samples", "--output_path", folder / "out"],
        capture_output=True, text=True, timeout=500, cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder)},
    )  # fmt: skip


def samples(folder: Path, name: str) -> list[dict[str, Any]]:
    (file,) = (folder / "out").rglob(f"*samples_{name}.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return sorted(rows, key=lambda row: int(row["doc_id"]))


def test_two_tasks(tmp_path: Path) -> None:
    model = tiny.llava_1_5(tmp_path / "model")
    pope = [
        {"id": str(n), "question_id": str(n), "question": f"Is there a {color} thing?",
         "answer": "yes", "image_source": "a", "category": "random",
         "image": {"bytes": picture(color), "path": None}}
        for n, color in enumerate(COLORS)
    ]  # fmt: skip
    mmmu = {key: value for key, value in HUB["mmmu"][0].items() if value is not None}
    task(tmp_path, "pope_here", "pope/pope.yaml", "test", pope)
    task(tmp_path, "mmmu_here", "mmmu/mmmu_val.yaml", "validation", [mmmu])
    done = evaluated(tmp_path, "pope_here", "mmmu_here", args=f"pretrained={model},dtype=float32")
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    assert "pope_accuracy" in done.stdout and "mmmu_acc" in done.stdout
    engine = load(str(model), device="cpu", dtype="float32")
    pictures = [load_image(picture(color)) for color in COLORS]
    asked = [
        Message("user", f"{row['question']}\n{SHORT}", (image,))
        for row, image in zip(pope, pictures, strict=True)
    ]
    pieces = ["What is it with", "?\nA. $6\nB. $7\nC.", f"D. $9\n\n{LETTER}"]
    text, places = join_with_pictures(pieces)
    asked.append(Message("user", text, (pictures[0], pictures[1], pictures[0]), places))
    wanted = engine.answer(
        [Request((message,), SamplingParams(max_new_tokens=128)) for message in asked]
    )
    rows = samples(tmp_path, "pope_here") + samples(tmp_path, "mmmu_here")
    assert [row["filtered_resps"] for row in rows] == [answer.text.strip() for answer in wanted]
    assert len({answer.text for answer in wanted}) > 1 and all(answer.text for answer in wanted)


def test_what_is_refused(tmp_path: Path) -> None:
    from lmms_eval.api.instance import Instance

    from vqa.lmms_plugin import VQAModel

    with pytest.raises(InputError, match="batch_size is auto"):
        VQAModel(batch_size="auto")
    with pytest.raises(InputError, match="none"):
        VQAModel(str(tmp_path / "none"))
    model = VQAModel(str(tiny.llava_1_5(tmp_path / "model")), device="cpu", dtype="float32")
    model.task_dict = {"t": {"test": [{}]}}
    video = [{"role": "user", "content": [{"type": "video", "url": "a.mp4"}]}]
    instance = Instance(
        "generate_until", ("", lambda row: video, {}, 0, "t", "test"), 0,
        {"task": "t", "doc_id": 0, "repeats": 1},
    )  # fmt: skip
    with pytest.raises(InputError, match="a task with video is not answered"):
        model.generate_until([instance])
    for ask in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(InputError, match="are not answered"):
            ask([instance])
