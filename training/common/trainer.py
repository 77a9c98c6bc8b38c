"""transformers' Trainer on rows in a fixed order, with checkpoints that any kill leaves whole."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerControl

from training.common.finite import check_trained, check_value
from training.common.resume import checkpoint_line, keep_last
from training.common.rows import ValidationSet
from training.common.run_directory import RunDirectory
from training.common.settings import RunSettings
from vqa.errors import DiskError, InputError, VQAError
from vqa.models.runs import STATE, TRAINED
from vqa.utils.disk import disk_failure
from vqa.utils.files import atomic_write
from vqa.utils.stopping import SIGNALS

_UNLOGGED = "unlogged"  # in a checkpoint's state: the losses since the last line of the log


def unwrap(model: nn.Module) -> nn.Module:
    """Return the model inside a peft model, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class RowTrainer(Trainer):
    """Trainer for rows, which come in their given order; no pickle of its own is left."""

    control: TrainerControl
    own_weights: ClassVar[str | None] = None  # in checkpoints that are directories of a model
    metric_name: ClassVar[str] = "answers"  # as the line about a validation calls it

    def __init__(
        self,
        validation: ValidationSet | None,
        settings: RunSettings,
        directory: RunDirectory | None = None,
        **kwargs: Any,
    ) -> None:
        self.validation = validation
        self.settings = settings
        self.directory = directory
        self.save_seconds = 0.0  # what the last checkpoint took
        self._saved_step = -1  # of the last checkpoint of this start
        self._losses_restored = False
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = True  # the loss is divided by the tokens of the whole step

    @property
    def unwrapped(self) -> Any:
        """The model inside a peft model, or the model itself."""
        return unwrap(self.model)

    @property
    def finite_advice(self) -> str:
        """What to set where a loss is not finite."""
        return "a smaller learning_rate"

    @property
    def sharded(self) -> bool:
        """Return whether no process has the whole model."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # packing has shuffled, epoch by epoch

    def module_of(self, parameter: str) -> str:
        """Name the module, as in `learning_rate`, that a parameter's name belongs to."""
        raise NotImplementedError

    def measure(self) -> dict[str, float]:
        """Measure `eval_loss`, and `eval_metric` where there is one, on the validation rows."""
        raise NotImplementedError

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure on the validation rows, and log it."""
        metrics = self.measure()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def check_finite(self, value: float, what: str, step: int | None = None) -> None:
        """Raise VQAError where a number that all processes have is NaN or infinite."""
        step = self.state.global_step if step is None else step
        check_value(value, what, step, self.unwrapped, self.settings.output, self.finite_advice)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> float | None:
        """Return the norm of the gradients; raise VQAError where it is not finite."""
        norm: float | None = super()._get_grad_norm(model, grad_norm)
        if norm is not None:
            self.check_finite(norm, "gradient of the loss", self.state.global_step + 1)
        return norm

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Group what learns by module, each at its own rate."""
        groups: dict[str, list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(self.module_of(name), []).append(parameter)
        rates = self.settings.learning_rate.model_dump()
        return [{"params": group, "lr": rates[module]} for module, group in groups.items()]

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        """Make AdamW with the groups of parameters."""
        if getattr(self, "optimizer", None) is None:
            self.optimizer = torch.optim.AdamW(
                self.parameter_groups(), weight_decay=self.args.weight_decay
            )
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """Write what is trained into a checkpoint."""
        self.check_trained()
        directory = Path(output_dir or self.args.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        self.save_weights(directory, state_dict)

    def save_weights(self, directory: Path, state_dict: dict[str, torch.Tensor] | None) -> None:
        """Write the trained parameters; `state_dict` is all of them of a sharded model."""
        state = self.model.state_dict() if state_dict is None else state_dict
        names = {name for name, p in self.model.named_parameters() if p.requires_grad}
        save_file({name: state[name].contiguous() for name in names}, directory / TRAINED)

    def check_trained(self) -> None:
        """Raise VQAError where a weight that learns is NaN or infinite."""
        step, output = self.state.global_step, self.settings.output
        check_trained(step, self.model, output, self.finite_advice)

    def _run_epoch(self, **kwargs: Any) -> None:
        """Train, unless the run ends with the validation that a kill had cut short."""
        if self.control.should_training_stop:
            return
        self._restore_losses()
        super()._run_epoch(**kwargs)

    def _finalize_training(self, *args: Any, **kwargs: Any) -> Any:
        """Log the mean loss of all steps, those of earlier starts included."""
        self._restore_losses()  # no epoch has: a kill came behind the last step
        self._initial_global_step = 0  # by which the mean is taken: of all steps, as the sum is
        return super()._finalize_training(*args, **kwargs)

    def _restore_losses(self) -> None:
        """Take the sums of losses from the checkpoint that the run goes on from."""
        if self._losses_restored:
            return
        self._losses_restored = True
        carried = self.state.stateful_callbacks.pop(_UNLOGGED, None)
        if carried is not None:  # the log goes on as if nothing had been
            self._tr_loss += carried["loss"]
            self._total_loss_scalar = carried.get("total", 0.0)
            self._globalstep_last_logged = carried["step"]

    def _evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Save a checkpoint, then validate; the next start repeats a validation that was cut short.

        So a signal may end the run at once here, however long the validation takes.
        """
        if self.state.global_step > self._initial_global_step:
            self._save_checkpoint(self.model_wrapped, None)
            self.control.should_save = True  # once more: what was measured
        SIGNALS.allow()
        return super()._evaluate(*args, **kwargs)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save; where that fails leave the checkpoints that are whole, and name the last.

        A checkpoint of this very step only gets a new state: nothing else of it has changed.
        """
        directory = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        anew = self._saved_step != self.state.global_step
        began = time.monotonic()
        try:
            if anew:
                loss = self.accelerator.gather(self._tr_loss.detach().reshape(1)).mean().item()
                unlogged = {
                    "loss": loss,
                    "step": self._globalstep_last_logged,
                    "total": self._total_loss_scalar,  # of all steps that the log has
                }
                self.state.stateful_callbacks[_UNLOGGED] = unlogged
                super()._save_checkpoint(*args, **kwargs)
                self._saved_step = self.state.global_step
            elif self.is_world_process_zero():
                with atomic_write(directory / STATE) as file:
                    json.dump(dataclasses.asdict(self.state), file, indent=2)
            if self.is_world_process_zero():
                keep_last(self.settings.output, self.settings.keep_checkpoints)
        except (OSError, RuntimeError, SafetensorError, InputError, DiskError) as error:
            if anew:
                shutil.rmtree(directory, ignore_errors=True)
            checkpoint = checkpoint_line(self.settings.output)
            why = disk_failure(error.__cause__ or error) or str(error).strip().split("\n")[0]
            raise VQAError(
                f"cannot save {directory}: {why}; {checkpoint}: make room and give the same "
                "command again"
            ) from error
        if anew:
            self.save_seconds = time.monotonic() - began

    def _save_rng_state(self, output_dir: str) -> None:
        """Save it in all processes before any of them goes on: the state is the last file."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        target = model if model is not None else self.model
        for name in (TRAINED, self.own_weights):
            path = Path(resume_from_checkpoint) / str(name)
            if path.is_file():
                target.load_state_dict(load_file(path), strict=False)
                return
        super()._load_from_checkpoint(resume_from_checkpoint, model)
