"""The loop under scripted validations: what a kill leaves, and where the next start ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from training.callbacks import best_kept
from training.loop import RowTrainer, fit
from training.rows import Prepared, TrainRows, Validation
from training.settings import LearningRates, QuestionSettings, QuestionValidation

Start = Callable[..., RowTrainer]


class Killed(BaseException):
    pass


class Rows(TrainRows):
    dtype = torch.float32

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixel_values": torch.full((1, 2), index), "weights": torch.ones(1)}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


class Scripted(RowTrainer):
    """Validation gives the losses of `script`, by their step; the run is killed before `kill`."""

    script: dict[int, float]
    kill: int | None

    def row_losses(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return model(inputs["pixel_values"].float()).square()[:, 0], inputs["weights"]

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        metrics = {"eval_loss": self.script[self.state.global_step]}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        if self.state.global_step == self.kill:
            raise Killed
        return super().training_step(*args, **kwargs)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the run in `tmp_path`, or goes on with it, with a checkpoint every fourth step."""

    def fitted(
        script: dict[int, float],
        kill: int | None = None,
        max_steps: int | None = None,
        **validation: Any,
    ) -> RowTrainer:
        torch.manual_seed(0)
        settings = QuestionSettings(
            output=tmp_path, rows_per_step=1, save_every=4, max_steps=max_steps, device="cpu",
            learning_rate=LearningRates(language=0.1),
            validation=QuestionValidation(**validation),
        )  # fmt: skip
        held = Validation(Rows(), [], None) if script else None
        prepared = Prepared(Rows(), held, "", 1, 1)

        def kind(**kwargs: Any) -> RowTrainer:
            trainer = Scripted(**kwargs)
            trainer.script, trainer.kill = script, kill
            return trainer

        return fit(Model(), None, prepared, settings, pixels=True, kind=kind)

    return fitted


def weights(trainer: RowTrainer) -> list[float]:
    return trainer.model.linear.weight.flatten().tolist()


def best(output: Path) -> list[str]:
    return sorted(path.name for path in output.glob("best-*"))


def test_the_best_weights_up_to_the_last_checkpoint_outlive_a_kill(tmp_path, start):
    (tmp_path / "best-3-copy").mkdir()  # a user's
    with pytest.raises(Killed):
        start({0: 1.0, 3: 0.5, 6: 0.4}, kill=7, every=3)
    assert best(tmp_path) == ["best-3", "best-3-copy", "best-6"]  # the last checkpoint is of step 4
    trainer = start(
        {5: 0.6, 10: 0.55, 12: 0.52}, every=5
    )  # the weights of step 6 do not come again
    assert trainer.state.global_step == 12
    assert best(tmp_path) == ["best-3", "best-3-copy"]
    kept = load_file(tmp_path / "best-3" / "trained.safetensors")
    assert weights(trainer) == kept["linear.weight"].flatten().tolist()


def test_of_many_improvements_between_two_checkpoints_the_last_is_kept(tmp_path, start):
    with pytest.raises(Killed):
        start({step: 1 / (step + 1) for step in range(13)}, kill=7, every=1)
    assert best(tmp_path) == ["best-4", "best-7"]  # the last checkpoint is of step 4


def test_without_the_best_weights_the_next_best_are_taken(tmp_path):
    log = [{"step": step, "eval_loss": loss} for step, loss in ((0, 0.9), (3, 0.5), (6, 0.7))]
    assert best_kept(log, "loss", tmp_path) is None
    (tmp_path / "best-0").mkdir()
    assert best_kept(log, "loss", tmp_path) == log[0]
    assert best_kept(log, "loss", tmp_path, last=6) == log[2]
    (tmp_path / "best-3").mkdir()
    assert best_kept(log, "loss", tmp_path, last=6) == log[1]


def test_a_run_that_patience_has_stopped_does_not_go_on(tmp_path, start):
    """Killed between its last checkpoint and its end, it is at its end."""
    script = {0: 1.0, 3: 0.5, 6: 0.6, 9: 0.3, 12: 0.2}
    first = start(script, every=3, patience=1)
    again = start(script, kill=6, every=3, patience=1)
    assert first.state.global_step == again.state.global_step == 6
    assert weights(first) == weights(again)
    more = start(script, every=3, patience=2)
    assert more.state.global_step == 12


def test_a_run_that_has_made_its_steps_makes_no_other(start):
    first = start({}, max_steps=5)
    again = start({}, kill=5, max_steps=5)
    assert first.state.global_step == again.state.global_step == 5
    assert weights(first) == weights(again)
    assert start({}, max_steps=6).state.global_step == 6
