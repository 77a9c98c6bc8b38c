"""A run whose directory is deleted, emptied or moved meanwhile: one line with what is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import vqa_here
from tests.training.recipes import RECIPES, Start
from training.common import callbacks, loop
from training.sft.finetune import FinetuneRecipe
from training.sft.trainer import SftTrainer
from vqa.errors import LostFile

At = Callable[[Callable[[], Any]], None]


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> At:
    """Does something once, behind the first step that is saved and logged."""

    def at_step(do: Callable[[], Any]) -> None:
        begin = callbacks.CheckpointCallback.on_step_begin
        done: list[int] = []

        def on_step_begin(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1 and not done:
                done.append(1)
                do()
            begin(self, args, state, control)

        monkeypatch.setattr(callbacks.CheckpointCallback, "on_step_begin", on_step_begin)

    return at_step


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_was_deleted_meanwhile_is_not_made_anew(
    start_recipe: Start, recipe: str, tmp_path: Path, at_step: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context():
        at_step(lambda: shutil.rmtree(out))
        with pytest.raises(LostFile) as ended:
            start_recipe(recipe)
    assert str(ended.value) == (
        f"{out} was deleted or emptied while the training wrote there: no checkpoint, best weights "
        "or log of this run is kept; the same command begins again (what was read and encoded is "
        "kept)"
    )
    assert ended.value.exit_code == 1 and not out.exists()
    assert (start_recipe(recipe) / "run.json").is_file()


def test_the_command_says_it_in_its_last_line(
    start_recipe: Start, tmp_path: Path, at_step: At, capfd: pytest.CaptureFixture[str]
) -> None:
    at_step(lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(LostFile):
        start_recipe("finetune")
    done = vqa_here(capfd, "train", tmp_path / "run.yaml")
    assert done.returncode == 0  # once only
    shutil.rmtree(tmp_path / "run")
    at_step(lambda: shutil.rmtree(tmp_path / "run"))
    done = vqa_here(capfd, "train", tmp_path / "run.yaml")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        f"vqa: {tmp_path / 'run'} was deleted or emptied"
    )


def test_emptied_but_for_its_directory(start_recipe: Start, tmp_path: Path, at_step: At) -> None:
    out = tmp_path / "run"

    def empty() -> None:
        for path in out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    at_step(empty)
    with pytest.raises(LostFile, match="deleted or emptied"):
        start_recipe("finetune")
    assert list(out.iterdir()) == []


def test_what_a_careless_hand_has_left_is_told(
    start_recipe: Start, tmp_path: Path, at_step: At
) -> None:
    at_step((tmp_path / "run" / "run.json").unlink)
    with pytest.raises(LostFile, match=r"checkpoint-1 is left, and the same command goes on from"):
        start_recipe("finetune")


def test_moved_it_goes_on_once_it_is_back(start_recipe: Start, tmp_path: Path, at_step: At) -> None:
    out, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    at_step(lambda: out.rename(elsewhere))
    with pytest.raises(LostFile, match=r"was moved .* is kept where it is now; move it back"):
        start_recipe("finetune")
    assert not out.exists() and (elsewhere / "checkpoint-1").is_dir()
    elsewhere.rename(out)
    assert (start_recipe("finetune") / "adapter_model.safetensors").is_file()


def test_another_directory_in_its_place_is_left_alone(
    start_recipe: Start, tmp_path: Path, at_step: At
) -> None:
    out = tmp_path / "run"

    def replace() -> None:
        out.rename(tmp_path / "elsewhere")
        out.mkdir()

    at_step(replace)
    with pytest.raises(LostFile, match="was moved"):
        start_recipe("finetune")
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("where", ["validation", "checkpoint", "best weights", "last save"])
def test_deleted_while_something_is_written(
    start_recipe: Start, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    owner: Any
    owner, name = {
        "validation": (SftTrainer, "predictions"),
        "checkpoint": (SftTrainer, "save_weights"),
        "best weights": (callbacks.BestWeightsCallback, "_store"),
        "last save": (FinetuneRecipe, "save"),
    }[where]
    write = getattr(owner, name)

    def delete(*args: Any, **kwargs: Any) -> Any:
        shutil.rmtree(out)
        return write(*args, **kwargs)

    monkeypatch.setattr(owner, name, delete)
    with pytest.raises(LostFile, match="deleted or emptied"):
        start_recipe("finetune")
    assert not (out / "run.json").exists()


def test_best_weights_that_are_gone_are_named(
    start_recipe: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = tmp_path / "run"
    take = loop._take_best

    def delete(trained: Any) -> None:
        trained.state.log_history = [
            entry | ({"eval_loss": 0.0, "eval_metric": 1.0} if entry["step"] == 1 else {})
            for entry in trained.state.log_history
        ]
        shutil.rmtree(out / "best-1", ignore_errors=True)
        take(trained)

    monkeypatch.setattr(loop, "_take_best", delete)
    start_recipe("finetune", validation={"share": 0.3, "every": 1})
    assert f"{out / 'best-1'} is gone, the weights that were best at validation" in (
        capsys.readouterr().err
    )
