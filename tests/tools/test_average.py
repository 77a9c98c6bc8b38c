"""The mean of several runs' weights, used as a run is."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.run import refused, vqa_here
from tests.tiny import llava_1_5, lora
from vqa.errors import InputError
from vqa.models import checkpoints
from vqa.models.model_files import HINT_SETTINGS
from vqa.models.name_classifier import HintSettings, write_hint_settings
from vqa.tools.average import average

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return lora(llava_1_5(tmp_path / "base"), tmp_path / "adapter")


def configure(adapter: str, **values: object) -> None:
    path = Path(adapter) / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def moved(adapter: Path, name: str, by: float) -> str:
    """A copy of the adapter whose weights are all larger by so much."""
    copy = adapter.parent / name
    shutil.copytree(adapter, copy)
    weights = {key: value + by for key, value in load_file(adapter / WEIGHTS).items()}
    save_file(weights, copy / WEIGHTS, metadata={"format": "pt"})
    return str(copy)


def test_the_mean_lies_between_and_is_loaded_as_a_run(adapter: Path) -> None:
    runs = [moved(adapter, name, by) for name, by in (("a", 0.25), ("b", 0.5), ("c", 1.5))]
    out = adapter.parent / "mean"

    average(runs, out)

    mean, expected = load_file(out / WEIGHTS), load_file(adapter / WEIGHTS)
    assert mean.keys() == expected.keys()
    for name, value in mean.items():
        assert value.dtype == expected[name].dtype
        torch.testing.assert_close(value, expected[name] + 0.75)
    alone = checkpoints.load(moved(adapter, "alone", 0.75), dtype="float32").model.state_dict()
    loaded = checkpoints.load(str(out), dtype="float32").model.state_dict()
    assert all(torch.allclose(loaded[name], value, atol=1e-5) for name, value in alone.items())


def test_the_mean_of_equal_runs_is_the_run(adapter: Path) -> None:
    average([str(adapter), str(adapter)], adapter.parent / "mean")

    mean, run = (load_file(path / WEIGHTS) for path in (adapter.parent / "mean", adapter))
    assert all(torch.equal(mean[name], value) for name, value in run.items())


def test_the_mean_of_runs_with_hints_is_asked_with_hints(adapter: Path) -> None:
    runs = [moved(adapter, name, 0) for name in ("a", "b")]
    settings = HintSettings(most=2)
    for run in runs:
        write_hint_settings(Path(run), settings)

    average(runs, adapter.parent / "mean")

    assert json.loads((adapter.parent / "mean" / HINT_SETTINGS).read_text()) == asdict(settings)
    # one was trained with other names before its questions, and one with none
    for settings_of_b in (HintSettings(most=1), None):
        (Path(runs[1]) / HINT_SETTINGS).unlink()
        if settings_of_b is not None:
            write_hint_settings(Path(runs[1]), settings_of_b)
        with pytest.raises(InputError, match=r"b and .*a were trained with other hints"):
            average(runs, adapter.parent / "other")


def test_a_pattern_that_one_config_leaves_out_and_the_other_has_empty_is_the_same(
    adapter: Path,
) -> None:
    run, exported = moved(adapter, "a", 0), moved(adapter, "b", 0)
    configure(exported, rank_pattern=None, alpha_pattern=None, use_dora=None)
    average([run, exported], adapter.parent / "mean")
    assert (adapter.parent / "mean" / WEIGHTS).is_file()


def test_what_cannot_be_averaged_is_refused(adapter: Path) -> None:
    run, other = moved(adapter, "a", 0), moved(adapter, "b", 0)
    out = adapter.parent / "mean"
    with pytest.raises(InputError, match="at least two"):
        average([run], out)
    with pytest.raises(InputError, match="no adapter here"):
        average([run, str(adapter.parent)], out)
    configure(other, lora_alpha=7)
    with pytest.raises(InputError, match=r"b has lora_alpha=7, .*a \d+"):
        average([run, other], out)
    configure(other, base_model_name_or_path="embedded/base")
    with pytest.raises(InputError, match="b is on embedded/base, "):
        average([run, other], out)
    short = moved(adapter, "short", 0)
    weights = load_file(Path(short) / WEIGHTS)
    weights.popitem()
    save_file(weights, Path(short) / WEIGHTS)
    with pytest.raises(InputError, match="do not have the same weights"):
        average([run, short], out)
    (Path(short) / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        average([run, short], out)
    assert not out.exists()


def test_the_command(adapter: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run, out = moved(adapter, "a", 1), adapter.parent / "mean"

    done = vqa_here(capfd, "average", adapter, run, "--out", out)

    assert done.returncode == 0 and "the mean of" in done.stdout
    assert json.loads((out / "vqa.json").read_text())["base"]
    assert "is there already" in refused(vqa_here(capfd, "average", run, run, "--out", out))
