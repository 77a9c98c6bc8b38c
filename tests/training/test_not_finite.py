"""A loss, gradient or weight that is NaN or infinite ends a training, and is never saved."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import tiny
from tests.alignment import tiny as tiny_shared
from tests.damage import plant
from tests.tiny import llava_1_5
from training.run import run
from vqa.errors import VQAError


def finetune(tmp_path: Path, data: Path, **values: object) -> dict[str, object]:
    return {
        "recipe": "finetune", "model": llava_1_5(tmp_path / "base"), "data": data, "epochs": 4,
        "save_every": 1, "validation": {"share": 0.3, "every": 2, "max_new_tokens": 2}, **values,
    }  # fmt: skip


def weights_are_finite(directory: Path) -> bool:
    files = list(directory.rglob("*.safetensors"))
    return all(bool(t.isfinite().all()) for file in files for t in load_file(file).values())


def test_rates_that_are_too_large_end_it_with_step_and_advice_and_the_last_checkpoint_is_good(
    tmp_path, data, config
):
    output = tmp_path / "out"
    rates = {"projector": 3e37, "language": 3e37}
    with pytest.raises(VQAError, match=r"^step \d+: .* is not finite.*learning_rate") as caught:
        run(config(**finetune(tmp_path, data, learning_rate=rates), output=output))
    assert "\n" not in str(caught.value) and "another output=" in str(caught.value)
    assert weights_are_finite(output)
    assert not (output / "adapter_config.json").exists()  # nothing is shipped
    assert not json.loads((output / "run.json").read_text()).get("finished")
    lines = (
        (output / "log.jsonl").read_text().splitlines() if (output / "log.jsonl").exists() else []
    )
    for line in lines:
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("share", [0, 0.3])
@pytest.mark.parametrize("part", ["language_model.model.layers.1.self_attn.q_proj", "vision_model"])
def test_a_damaged_model_is_not_trained(tmp_path, data, config, share, part):
    values = finetune(tmp_path, data, validation={"share": share, "max_new_tokens": 2})
    plant(tmp_path / "base", part)
    with pytest.raises(VQAError, match=r"not finite.*damaged"):
        run(config(**values, output=tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_an_overflow_in_the_middle_keeps_the_checkpoint_before(tmp_path, data, config):
    """The run goes on from a checkpoint whose next step overflows."""
    output = tmp_path / "out"
    values = finetune(tmp_path, data, validation={"share": 0}, learning_rate={"language": 1e-3})
    run(config(**values, max_steps=2, output=output))
    (checkpoint,) = output.glob("checkpoint-2")
    plant(checkpoint, "lora_A", math.nan)
    for path in output.glob("*.safetensors"):
        path.unlink()
    before = {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()}
    with pytest.raises(VQAError, match=r"^step 3: the gradient of the loss is not finite \(nan\)"):
        run(config(**values, max_steps=4, output=output))
    assert {path: path.read_bytes() for path in before} == before
    assert not list(output.glob("*.safetensors"))


def test_weights_of_zero_alone_in_a_step_change_nothing_to_nan(tmp_path, config):
    from PIL import Image

    rows = []
    for number in range(6):
        Image.new("RGB", (20, 20), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
        row = {"image": f"{number}.png", "question": "What is it?", "answer": "red", "weight": 0}
        rows.append(row)
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = finetune(tmp_path, path, validation={"share": 0}, epochs=1)
    run(config(**values, output=tmp_path / "out"))
    assert weights_are_finite(tmp_path / "out")


def test_a_fusion_model(tmp_path, data):
    vision = tiny.timm_vision(tmp_path / "v", "test_efficientnet", 96, (1, 2))
    language = tiny.language(tmp_path / "l")
    path = tmp_path / "fusion.yaml"
    values = {"recipe": "fusion", "vision": str(vision), "language": str(language),
              "data": str(data), "output": str(tmp_path / "out"), "device": "cpu", "epochs": 4,
              "answers": {"least": 1}, "network": {"hidden_size": 16, "heads": 2},
              "save_every": 1, "learning_rate": {"fusion": 3e37}, "row_questions": 2,
              "rows_per_step": 1,
              "validation": {"share": 0.3, "every": 2}}  # fmt: skip
    path.write_text(json.dumps(values))
    with pytest.raises(VQAError, match=r"^step \d+: .* is not finite.*learning_rate"):
        run(str(path))
    assert weights_are_finite(tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").exists()
    shutil.rmtree(tmp_path / "out")
    plant(vision, "conv_stem")
    path.write_text(json.dumps(values | {"learning_rate": {"fusion": 1e-3}}))
    with pytest.raises(VQAError, match=r"not finite.*damaged"):
        run(str(path))


def test_the_shared_space(tmp_path, data):
    vision = tiny.timm_vision(tmp_path / "v", "test_efficientnet", 64, (1, 2))
    text = tiny_shared.text_encoder(tmp_path / "t")
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    captions = tmp_path / "captions.jsonl"
    captions.write_text(
        "".join(
            json.dumps(
                {
                    "image": row["image"],
                    "question": "?",
                    "answers": [f"a {row['answer']} square {n}"],
                }
            )
            + "\n"
            for n, row in enumerate(rows)
        )
    )
    path = tmp_path / "align.yaml"
    values = {"recipe": "align", "vision": str(vision), "text": str(text), "data": str(captions),
              "output": str(tmp_path / "out"), "device": "cpu", "epochs": 4, "batch": 4,
              "save_every": 1, "learning_rate": {"heads": 2e37},
              "validation": {"share": 0.3, "every": 2}}  # fmt: skip
    path.write_text(json.dumps(values))
    with pytest.raises(VQAError, match=r"^step \d+: .* is not finite.*learning_rate"):
        run(str(path))
    assert weights_are_finite(tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()


def test_weights_that_do_not_fit_into_16_bits_are_not_written(tmp_path: Path) -> None:
    from vqa.models.finite import check_weights, is_finite

    assert is_finite(torch.full((4,), 3e38)) and is_finite(torch.zeros(3, dtype=torch.int8))
    assert is_finite(torch.full((4,), 6e4, dtype=torch.float16))  # their sum would overflow
    with pytest.raises(VQAError, match="w is not finite"):
        check_weights([("v", torch.ones(2)), ("w", torch.tensor([1e5]).half())], "give float32")
