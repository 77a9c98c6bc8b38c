"""What happens beside the steps: progress, log and curves, checkpoints, the best weights."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from training.common.best_weights import (
    best_of,
    best_stored,
    out_of_patience,
    stored_weights,
    validations_of,
    weights_path,
)
from training.common.curves import draw
from training.common.settings import ValidationSettings
from vqa.utils.files import atomic_directory, atomic_write, json_text
from vqa.utils.stopping import SIGNALS

if TYPE_CHECKING:
    from training.common.trainer import RowTrainer

LOG = "log.jsonl"
_EVERY = 30.0  # seconds between two lines where there is no terminal
_LEAST = 20  # times as long as a checkpoint takes to write, it trains before the next


class ProgressCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Progress on stderr: a bar in a terminal, else a line now and then."""

    def __init__(self, metric_name: str) -> None:
        self._metric_name = metric_name
        self._bar: Progress | None = None
        self._task: Any = None
        self._last_line = 0.0
        # time and step: behind the first of this start
        self._start: tuple[float, int] | None = None
        self._loss = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Print where the run begins, and start the bar there."""
        if not state.is_world_process_zero:
            return
        if state.global_step:
            line = f"goes on from step {state.global_step} of {state.max_steps}"
        else:
            line = f"from the start: {state.max_steps} steps"
        if state.global_step < state.max_steps:
            print(line, file=sys.stderr, flush=True)
        if not sys.stderr.isatty():
            return
        columns = (
            TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"),
            TimeRemainingColumn(), TextColumn("{task.fields[loss]}"),
        )  # fmt: skip
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task(
            "", total=state.max_steps, completed=state.global_step, loss=""
        )
        self._bar.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar, or print a line."""
        if self._bar is not None:
            self._bar.update(self._task, completed=state.global_step, loss=self._loss)
            return
        now = time.monotonic()
        if self._start is None:  # the first step waits for much that comes only once
            self._start = (now, state.global_step)
            return
        if not state.is_world_process_zero or now - self._last_line < _EVERY:
            return
        self._last_line = now
        start, first = self._start
        rate = (state.global_step - first) / max(now - start, 1e-9)
        minutes, seconds = divmod(round((state.max_steps - state.global_step) / rate), 60)
        left = f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left"
        line = f"step {state.global_step} of {state.max_steps}, {rate:.2f} steps/s, {left}"
        print(f"{line} {self._loss}".rstrip(), file=sys.stderr, flush=True)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Keep the last loss for the next line."""
        if "loss" in (logs or {}):
            self._loss = f"loss {logs['loss']:.3f}"

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> None:
        """Print what validation gave."""
        if not state.is_world_process_zero:
            return
        metrics = metrics or {}
        line = f"step {state.global_step}: validation loss {metrics.get('eval_loss', 0):.3f}"
        if "eval_metric" in metrics:
            line += f", {self._metric_name} {100 * metrics['eval_metric']:.1f} %"
        console = self._bar.console if self._bar is not None else Console(stderr=True)
        console.print(line, highlight=False)

    def stop(self) -> None:
        """Leave the bar as it stands, whatever ended the training."""
        if self._bar is not None:
            self._bar.stop()


class LogCallback(TrainerCallback):  # type: ignore[misc]
    """`log.jsonl` with all that was logged, and the curves; both whole after any kill."""

    def __init__(self, output: Path) -> None:
        self._output = output

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the intervals from the settings: a checkpoint brings those of its own start."""
        state.compute_steps(args, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the log anew: a run that goes on repeats no line."""
        if state.is_world_process_zero:
            with atomic_write(self._output / LOG) as file:
                file.writelines(json_text(entry) + "\n" for entry in state.log_history)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Draw the curves."""
        if state.is_world_process_zero:
            draw(state.log_history, self._output / "curves.png")


class CheckpointCallback(TrainerCallback):  # type: ignore[misc]
    """Decide when to save besides the validations: by time, and where a signal stops the run.

    The first step of each start is saved, too: what cannot be saved fails at once, not hours later,
    and a run that is killed again and again gets on. All processes do the same: the clock of the
    first one counts, and a signal that any of them has received.
    """

    def __init__(self, trainer: RowTrainer, minutes: float) -> None:
        self.stopped = False  # by a signal, behind a step that is saved
        self._trainer = trainer
        self._seconds = 60 * minutes
        self._next: float | None = None  # on a clock that nobody sets

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Let signals wait for the end of the step."""
        SIGNALS.defer()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save if it is time; stop if a signal has come: the next start validates."""
        due = self._next is None or time.monotonic() >= self._next
        if self._agree(args, due):
            control.should_save = True
        if self.stopped:
            control.should_training_stop = control.should_save = True
            control.should_evaluate = False

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Set the time of the next checkpoint; stop if a signal has come meanwhile."""
        wait = max(self._seconds, _LEAST * self._trainer.save_seconds)
        self._next = time.monotonic() + wait
        self._agree(args, False)
        if self.stopped:
            control.should_training_stop = True

    def _agree(self, args: Any, due: bool) -> bool:
        """Return whether it is time to save by the first process; note a signal of any of them."""
        number = SIGNALS.received
        if args.world_size > 1:
            mine = [number, int(due and args.process_index == 0)]
            flags = torch.tensor(mine, device=args.device)
            torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
            number, due = int(flags[0]), bool(flags[1])
        if number:  # one that has come since counts the next time, when all know of it
            SIGNALS.received = number
            self.stopped = True
        return due


class BestWeightsCallback(TrainerCallback):  # type: ignore[misc]
    """Store the weights of the best validation as `best-STEP`; stop when patience is at its end."""

    def __init__(self, trainer: RowTrainer, settings: ValidationSettings, output: Path) -> None:
        self._trainer = trainer
        self._settings = settings
        self._output = output

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Compare with all validations so far; the log has even those before a kill."""
        validations = validations_of(state.log_history)
        if best_of(validations, self._settings.best_by) is validations[-1]:
            self._store(state.global_step)
        if out_of_patience(validations, self._settings):
            control.should_training_stop = True
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remove weights that were best before: no run goes on from before this checkpoint.

        Until it is there a kill may take the run back to where they are the best ones.
        """
        best = best_stored(state.log_history, self._settings.best_by, self._output)
        if best is not None and state.is_world_process_zero:
            for step, path in stored_weights(self._output).items():
                if step != best["step"]:
                    shutil.rmtree(path, ignore_errors=True)

    def _store(self, step: int) -> None:
        path = weights_path(self._output, step)
        if self._trainer.sharded:
            self._trainer.save_model(str(path), _internal_call=True)
        elif self._trainer.is_world_process_zero():
            shutil.rmtree(path, ignore_errors=True)
            with atomic_directory(path) as directory:
                self._trainer._save(str(directory))
        self._trainer.accelerator.wait_for_everyone()  # nobody reads it half written
