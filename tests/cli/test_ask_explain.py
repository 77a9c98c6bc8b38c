"""`vqa ask --explain`: a picture of where the model looked, beside the same answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.cli.run import refused, vqa_here
from tests.inputs import clips

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers in letters."""
    directory = tiny.llava_1_5(tmp_path_factory.mktemp("model") / "llava")
    words = json.loads((directory / "tokenizer.json").read_text())["model"]["vocab"]
    other = [number for word, number in words.items() if not (word.isascii() and word.isalpha())]
    for path in directory.glob("*.safetensors"):
        weights = load_file(path)
        for name in weights:
            if name.endswith("lm_head.weight"):
                weights[name][other] = 0  # [vocabulary, D]: some letter's logit is above zero
        save_file(weights, path, {"format": "pt"})
    return directory


@pytest.mark.parametrize("by", ["attention", "occlusion"])
def test_the_answer_and_a_picture(
    model: Path, examples: Path, tmp_path: Path, capfd: Capture, by: str
) -> None:
    ask = ("ask", examples / "cat.jpg", "What $x_$ is\tit?", "--model", model)
    ask = (*ask, "--max-new-tokens", "4", "--dtype", "float32")
    out = tmp_path / "new" / "why.png"
    plain = vqa_here(capfd, *ask)
    done = vqa_here(capfd, *ask, "--explain", out, "--explain-by", by)
    assert done.returncode == 0 and done.stdout == plain.stdout
    output = json.loads(
        vqa_here(capfd, *ask, "--explain", out, "--explain-by", by, "--json").stdout
    )
    assert output["answer"] + "\n" == plain.stdout
    why = output["explanation"]
    assert why["path"] == str(out) and why["by"] == by
    scores = [why[f"{a}{b}"] for a in ("", "random_") for b in ("deletion", "insertion")]
    assert all(0 < score < 1 for score in scores)
    worse = scores[1] - scores[0] <= why["best_random"]
    assert why["best_random"] >= scores[3] - scores[2] - 1e-9  # at least their mean
    assert worse == bool(why["warning"]) == ("explains nothing" in done.stderr)
    with Image.open(out) as picture:
        assert picture.format == "PNG" and picture.width > 1.5 * picture.height
        pixels = np.asarray(picture.convert("RGB"), float)
    assert pixels.std() > 10 and (pixels[-5:] == 255).all()
    assert [path.name for path in out.parent.iterdir()] == ["why.png"]


def test_each_picture_is_explained(
    model: Path, examples: Path, tmp_path: Path, capfd: Capture
) -> None:
    out = tmp_path / "why.png"
    photos = [examples / "cat.jpg", examples / "coffee.jpg"]
    ask = ("ask", *photos, "What?", "--model", model, "--max-new-tokens", "4", "--explain", out)
    assert vqa_here(capfd, *ask).returncode == 0
    assert Image.open(out).width > 700


def test_wrong_input_is_said_before_anything_is_answered(
    model: Path, examples: Path, tmp_path: Path, capfd: Capture
) -> None:
    ask = ("ask", examples / "cat.jpg", "What?", "--model", model, "--explain")
    assert "name it why.png" in refused(vqa_here(capfd, *ask, tmp_path / "why.jpg"))
    assert "--explain OUT.png" in refused(vqa_here(capfd, *ask[:-1], "--explain-by", "occlusion"))
    (tmp_path / "a.png").mkdir()
    assert "is a directory" in refused(vqa_here(capfd, *ask, tmp_path / "a.png"))
    message = refused(vqa_here(capfd, *ask, tmp_path / "why.png", "--quantize", "8bit"))
    assert "quantized" in message and "--explain-by occlusion" in message
    assert not (tmp_path / "why.png").exists()


def test_frames_of_a_video_are_explained(model: Path, tmp_path: Path, capfd: Capture) -> None:
    clip = clips.write(tmp_path / "a.mp4", clips.scenes("red", "blue"), every=10)
    out = tmp_path / "why.png"
    ask = ("ask", clip, "What?", "--model", model, "--max-new-tokens", "4", "--json")
    output = json.loads(vqa_here(capfd, *ask, "--explain", out).stdout)
    assert len(output["frames"]) == 2 and out.exists()
