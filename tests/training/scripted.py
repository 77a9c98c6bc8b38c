"""A tiny loop whose validations are scripted, and which ends where a test says."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.common.loop import fit
from training.common.questions import QuestionTrainer
from training.common.recipe import PreparedRun, Recipe
from training.common.rows import TrainRows, ValidationSet
from training.common.settings import QuestionSettings, QuestionValidationSettings, Section
from training.common.trainer import RowTrainer

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


class Scripted(QuestionTrainer):
    """Validation gives the losses of `script`, by their step; the run is killed before `kill`.

    It is killed in the validation of step `cut`: before it, or with `measured` when the best
    weights are written. `signals` come in the steps that begin behind these numbers.
    """

    script: dict[int, float]
    kill: int | None
    cut: int | None
    measured: bool
    signals: dict[int, list[signal.Signals]]

    def module_of(self, parameter: str) -> str:
        return "linear"

    def row_losses(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return model(inputs["pixel_values"].float()).square()[:, 0], inputs["weights"]

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        here = self.cut == self.state.global_step
        if here and not self.measured:
            raise Killed
        for number in self.signals.get(-self.state.global_step, ()):
            signal.raise_signal(number)
        metrics = {"eval_loss": self.script[self.state.global_step]}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        if here:
            raise Killed
        return metrics

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        if self.state.global_step == self.kill:
            raise Killed
        for number in self.signals.get(self.state.global_step, ()):
            signal.raise_signal(number)
        return super().training_step(*args, **kwargs)


class Rates(Section):
    linear: float = 0.1


class ScriptedRecipe(Recipe[Any, Any]):
    """A recipe of nothing but its trainer."""

    settings_class = QuestionSettings
    memory_advice = "take less"

    def __init__(self, settings: QuestionSettings, script: dict[str, Any]) -> None:
        super().__init__(settings)
        self.script = script

    def trainer(self, **options: Any) -> RowTrainer:
        trainer = Scripted(**options)
        vars(trainer).update(self.script)
        return trainer

    def unused(self, *_: Any) -> Any:
        raise AssertionError

    plan = build = prepare = report = save = card = estimate = advice = seconds = unused


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the run in `tmp_path`, or goes on with it, with a checkpoint every fourth step."""

    def fitted(
        script: dict[int, float],
        kill: int | None = None,
        max_steps: int | None = None,
        cut: int | None = None,
        measured: bool = False,
        signals: dict[int, list[signal.Signals]] | None = None,
        settings: dict[str, Any] | None = None,
        **validation: Any,
    ) -> RowTrainer:
        torch.manual_seed(0)
        given: dict[str, Any] = {
            "output": tmp_path, "rows_per_step": 1, "save_every": 4, "max_steps": max_steps,
            "device": "cpu", "learning_rate": Rates(),
            "validation": QuestionValidationSettings(**validation),
        }  # fmt: skip
        validated = ValidationSet(Rows(), []) if script else None
        recipe = ScriptedRecipe(
            QuestionSettings(**given | (settings or {})),
            {"script": script, "kill": kill, "cut": cut, "measured": measured,
             "signals": signals or {}},
        )  # fmt: skip
        return fit(recipe, PreparedRun(Model(), Rows(), validated))

    return fitted


def weights(trainer: RowTrainer) -> list[float]:
    return trainer.model.linear.weight.flatten().tolist()
