"""The training loop: what a run goes on from, and which weights it ends with."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import PrinterCallback, TrainerState, TrainingArguments

from training.common.best_weights import (
    best_of,
    best_stored,
    out_of_patience,
    stored_weights,
    validations_of,
    weights_path,
)
from training.common.callbacks import (
    BestWeightsCallback,
    CheckpointCallback,
    LogCallback,
    ProgressCallback,
)
from training.common.processes import on_cpu, shutdown_distributed
from training.common.recipe import PreparedRun, Recipe
from training.common.resume import remove_partial_checkpoints
from training.common.run_directory import RunDirectory, RunDirectoryCallback
from training.common.settings import RunSettings
from training.common.trainer import RowTrainer, unwrap
from vqa.errors import InputError, VQAError
from vqa.models.memory import is_out_of_memory
from vqa.models.runs import STATE, last_checkpoint, step_of
from vqa.utils.stopping import SIGNALS


def fit(
    recipe: Recipe[Any, Any], prepared: PreparedRun, directory: RunDirectory | None = None
) -> RowTrainer:
    """Train the parameters that require gradients; go on from the last checkpoint in `output`.

    With validation the weights that were best at it are those the model has in the end. Raises Stop
    where a signal ends the run, and LostFile where its `directory` is no longer in its place.
    """
    model, settings = prepared.model, recipe.settings
    for parameter in model.parameters():
        if parameter.requires_grad:  # small steps would vanish in bfloat16
            parameter.data = parameter.data.float()
    remove_partial_checkpoints(settings.output)
    checkpoint = last_checkpoint(settings.output)
    _remove_best_after(settings.output, step_of(checkpoint) if checkpoint else -1)
    state = checkpoint and TrainerState.load_from_json(str(checkpoint / STATE))
    over = state is not None and _is_over(state, settings, prepared)
    if over and PartialState().is_main_process:
        more = "for more, raise epochs, max_steps or validation.patience"
        print(f"{checkpoint}: nothing is left to train; {more}", file=sys.stderr)
    with recipe.while_training(unwrap(model)):
        trainer = recipe.trainer(
            validation=prepared.validation,
            settings=settings,
            directory=directory,
            model=model,
            args=_arguments(recipe, prepared, state, over),
            train_dataset=prepared.train,
            eval_dataset=prepared.validation and prepared.validation.rows,
            data_collator=recipe.collate,
        )
        _train(trainer, checkpoint, recipe.memory_advice)
        _take_best(trainer)
    return trainer


def _train(trainer: RowTrainer, checkpoint: Path | None, memory_advice: str) -> None:
    """Run Trainer.train with callbacks; turn an out-of-memory error into a VQAError with advice."""
    settings = trainer.settings
    trainer.remove_callback(PrinterCallback)
    progress = ProgressCallback(trainer.metric_name)
    checkpoints = CheckpointCallback(trainer, settings.save_minutes)
    callbacks = [progress, LogCallback(settings.output), checkpoints]
    if trainer.directory is not None:
        callbacks.insert(0, RunDirectoryCallback(trainer.directory))
    if trainer.validation is not None:
        callbacks.append(BestWeightsCallback(trainer, settings.validation, settings.output))
    for callback in callbacks:
        trainer.add_callback(callback)
    try:
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise VQAError(f"the memory is full: {memory_advice}") from error
    finally:
        progress.stop()
    if checkpoints.stopped:
        shutdown_distributed()
    SIGNALS.allow()


def _take_best(trainer: RowTrainer) -> None:
    """Load the weights that were best at validation, unless the model has them already."""
    if trainer.validation is None:
        return
    settings, last = trainer.settings, trainer.state.global_step
    by = settings.validation.best_by
    best = best_stored(trainer.state.log_history, by, settings.output, last)
    _name_lost_best(trainer, best)
    if best is not None and best["step"] != last:
        trainer._load_from_checkpoint(str(weights_path(settings.output, best["step"])))


def _name_lost_best(trainer: RowTrainer, taken: dict[str, Any] | None) -> None:
    """Print which weights were better than those that are taken, but are no longer there."""
    by = trainer.settings.validation.best_by
    validations = validations_of(trainer.state.log_history)
    best = best_of(validations, by) if validations else taken
    if best is None or best == taken or not trainer.is_world_process_zero():
        return
    path = weights_path(trainer.settings.output, best["step"])
    instead = f"those of step {taken['step']}" if taken else "the last ones"
    print(
        f"{path} is gone, the weights that were best at validation: {instead} are taken",
        file=sys.stderr,
    )


def _is_over(state: TrainerState, settings: RunSettings, prepared: PreparedRun) -> bool:
    """Return whether a checkpoint is the last: a kill came between it and the end of the run."""
    validations = validations_of(state.log_history)
    return state.global_step >= settings.steps_for(len(prepared.train)) or (
        prepared.validation is not None and out_of_patience(validations, settings.validation)
    )


def _remove_best_after(output: Path, step: int) -> None:
    """Remove best weights of later steps than that from which the run goes on."""
    if PartialState().is_main_process:
        for best_step, path in stored_weights(output).items():
            if best_step > step:
                shutil.rmtree(path, ignore_errors=True)
    PartialState().wait_for_everyone()


def _is_unvalidated(state: TrainerState | None, every: int, steps: int) -> bool:
    """Return whether a start begins with a validation: the first, or one that a kill cut short."""
    if state is None:
        return True
    step = state.global_step
    done = any(entry["step"] == step for entry in validations_of(state.log_history))
    return not done and (step % every == 0 or step >= steps)


def _arguments(
    recipe: Recipe[Any, Any], prepared: PreparedRun, state: TrainerState | None, over: bool
) -> TrainingArguments:
    settings = recipe.settings
    processes = PartialState().num_processes
    rows, at_once = settings.rows_of_step(), settings.rows_of_pass()
    if rows % processes:
        raise InputError(
            f"rows_per_step={rows} cannot be shared by {processes} processes: make it a multiple"
        )
    if rows // processes % at_once:
        raise InputError(
            f"rows_at_once={at_once} does not part the {rows // processes} rows of a step in a "
            "process: make it a divisor"
        )
    validated = prepared.validation is not None
    steps = settings.steps_for(len(prepared.train))
    every = settings.validation.every or max(1, steps // 5)
    arguments = TrainingArguments(
        output_dir=str(settings.output),
        per_device_train_batch_size=at_once,
        gradient_accumulation_steps=rows // processes // at_once,
        # the rows hold all epochs; with none of them the Trainer only takes up the checkpoint
        num_train_epochs=0 if over else 1,
        max_steps=-1 if over else settings.max_steps or -1,
        learning_rate=max(settings.learning_rate.model_dump().values()),
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=prepared.train.dtype == torch.bfloat16,
        use_cpu=on_cpu(settings),
        eval_strategy="steps" if validated else "no",
        eval_steps=every if validated else None,
        eval_on_start=validated and _is_unvalidated(state, every, steps),
        save_steps=settings.save_every or steps,  # besides those of `CheckpointCallback`
        logging_steps=settings.log_every,
        seed=settings.seed,
        report_to=settings.loggers or "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        label_names=["targets"],
        **recipe.arguments(),
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # Trainer would part a batch over all GPUs it sees
    return arguments
