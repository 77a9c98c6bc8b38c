"""What happens beside the training steps: progress, the log and its curves, the best weights."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from training.curves import draw
from training.resume import BEST, best_weights, last_checkpoint, step_of
from training.settings import ValidationSettings
from vqa.files import atomic_directory, atomic_write

if TYPE_CHECKING:
    from training.loop import RowTrainer

LOG = "log.jsonl"
_EVERY = 30.0  # seconds between two lines where there is no terminal


class Shown(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Progress on stderr: a bar in a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: Any = None
        self._told = 0.0
        # time and step: behind the first of this start
        self._began: tuple[float, int] | None = None
        self._loss = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the bar at the step that the run goes on from."""
        if not state.is_world_process_zero or not sys.stderr.isatty():
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
        if self._began is None:  # the first step waits for much that comes only once
            self._began = (now, state.global_step)
            return
        if not state.is_world_process_zero or now - self._told < _EVERY:
            return
        self._told = now
        began, first = self._began
        rate = (state.global_step - first) / max(now - began, 1e-9)
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
        found = metrics or {}
        line = f"step {state.global_step}: validation loss {found.get('eval_loss', 0):.3f}"
        if "eval_text_to_picture" in found:
            line += f", R@1 {100 * found['eval_metric']:.1f} %"
        elif "eval_metric" in found:
            line += f", answers {100 * found['eval_metric']:.1f} %"
        console = self._bar.console if self._bar is not None else Console(stderr=True)
        console.print(line, highlight=False)

    def stop(self) -> None:
        """Leave the bar as it stands, whatever ended the training."""
        if self._bar is not None:
            self._bar.stop()


class Log(TrainerCallback):  # type: ignore[misc]
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
                file.writelines(json.dumps(entry) + "\n" for entry in state.log_history)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Draw the curves."""
        if state.is_world_process_zero:
            draw(state.log_history, self._output / "curves.png")


class Best(TrainerCallback):  # type: ignore[misc]
    """Keeps the weights of the best validation as `best-STEP`, and stops when none follows."""

    def __init__(self, trainer: RowTrainer, settings: ValidationSettings, output: Path) -> None:
        self._trainer = trainer
        self._settings = settings
        self._output = output

    def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Compare with all validations so far; the log has them, also those before a kill."""
        steps = [entry for entry in state.log_history if "eval_loss" in entry]
        if best_of(steps, self._settings.best_by) is steps[-1]:
            self._keep(state.global_step)
        if out_of_patience(steps, self._settings):
            control.should_training_stop = True
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remove weights that were best before: no run goes on from earlier than this checkpoint.

        Until then a kill may take the run back to where they are the best ones.
        """
        best = best_kept(state.log_history, self._settings.best_by, self._output)
        if best is not None and state.is_world_process_zero:
            for step, path in best_weights(self._output).items():
                if step != best["step"]:
                    shutil.rmtree(path, ignore_errors=True)

    def _keep(self, step: int) -> None:
        path = self._output / f"{BEST}-{step}"
        if self._trainer.sharded:
            self._trainer.save_model(str(path), _internal_call=True)
        elif self._trainer.is_world_process_zero():
            shutil.rmtree(path, ignore_errors=True)
            with atomic_directory(path) as directory:
                self._trainer._save(str(directory))
        if self._trainer.is_world_process_zero():
            checkpoint = last_checkpoint(self._output)
            reached = step_of(checkpoint) if checkpoint else -1
            for old, directory in best_weights(self._output).items():
                if reached < old < step:  # a run that goes on from the checkpoint forgets them
                    shutil.rmtree(directory, ignore_errors=True)
        self._trainer.accelerator.wait_for_everyone()  # nobody reads it half written


def best_of(entries: list[dict[str, Any]], by: str) -> dict[str, Any]:
    """The log entry of the best validation; of equal answers that of less loss, then the first."""
    if by == "metric" and all("eval_metric" in entry for entry in entries):
        return max(entries, key=lambda entry: (entry["eval_metric"], -entry["eval_loss"]))
    return min(entries, key=lambda entry: float(entry["eval_loss"]))


def best_kept(
    log: Sequence[dict[str, Any]], by: str, output: Path, last: int | None = None
) -> dict[str, Any] | None:
    """The log entry of the best validation whose weights are there: in `output`, or as the `last`.

    None where no validated weights are there.
    """
    there = [
        entry
        for entry in log
        if "eval_loss" in entry
        and (entry["step"] == last or (output / f"{BEST}-{entry['step']}").is_dir())
    ]
    return best_of(there, by) if there else None


def out_of_patience(checked: list[dict[str, Any]], settings: ValidationSettings) -> bool:
    """Whether so many validations as `patience` says have come since the best one."""
    if settings.patience is None or not checked:
        return False
    best = checked.index(best_of(checked, settings.best_by))
    return len(checked) - 1 - best >= settings.patience
