"""The training loop: transformers' Trainer on packed rows, with a learning rate for each module."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME

from training import validation
from training.callbacks import Best, Log, Shown, best_kept, out_of_patience
from training.features import cached_tower
from training.processes import on_cpu
from training.resume import BEST, best_weights, last_checkpoint, step_of
from training.rows import Prepared, Validation
from training.settings import RunSettings, TrainSettings
from vqa.checkpoints import record_base
from vqa.conversion import make_config_portable
from vqa.errors import InputError, VQAError
from vqa.files import replaced_files
from vqa.room import memory_is_full

_TRAINED = "trained.safetensors"


def fit(
    model: nn.Module,
    processor: Any,
    prepared: Prepared,
    settings: RunSettings,
    pixels: bool = False,
    kind: Callable[..., RowTrainer] | None = None,
) -> RowTrainer:
    """Train the parameters that require gradients; go on from the last checkpoint in `output`.

    `model` is the LLaVA model or a peft model around it, or another one with a `vision_tower`, for
    which `kind` says what is learned of a row. Unless the rows hold `pixels`, its vision
    tower stands aside while cached features are trained on, and is back in place afterwards. With
    validation the weights that were best at it are those the model has in the end.
    """
    llava = model.get_base_model() if hasattr(model, "get_base_model") else model
    for parameter in model.parameters():
        if parameter.requires_grad:  # small steps would vanish in bfloat16
            parameter.data = parameter.data.float()
    checkpoint = last_checkpoint(settings.output)
    _remove_best_after(settings.output, step_of(checkpoint) if checkpoint else -1)
    over = checkpoint is not None and _is_over(checkpoint, settings, prepared)
    if over and PartialState().is_main_process:
        more = "for more, raise epochs, max_steps or validation.patience"
        print(f"{checkpoint}: nothing is left to train; {more}", file=sys.stderr)
    with nullcontext() if pixels else cached_tower(llava):
        trainer = (kind or RowTrainer)(
            llava=llava,
            processor=processor,
            validation=prepared.validation,
            settings=settings,
            model=model,
            args=_arguments(settings, prepared, first=checkpoint is None, over=over),
            train_dataset=prepared.train,
            eval_dataset=prepared.validation and prepared.validation.rows,
            data_collator=lambda batch: batch[0],
        )
        _train(trainer, checkpoint)
        _take_best(trainer)
    return trainer


def _train(trainer: RowTrainer, checkpoint: Path | None) -> None:
    """Run the loop, told of and logged; where the memory is full say what to do."""
    settings = trainer.settings
    trainer.remove_callback(PrinterCallback)
    shown = Shown()
    callbacks = [shown, Log(settings.output)]
    if trainer.validation is not None:
        callbacks.append(Best(trainer, settings.validation, settings.output))
    for callback in callbacks:
        trainer.add_callback(callback)
    try:
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not memory_is_full(error):
            raise
        raise VQAError(_smaller(settings)) from error
    finally:
        shown.stop()


def _take_best(trainer: RowTrainer) -> None:
    """Give the model the weights that were best at the validation, if those are not its own."""
    if trainer.validation is None:
        return
    settings, last = trainer.settings, trainer.state.global_step
    by = settings.validation.best_by
    best = best_kept(trainer.state.log_history, by, settings.output, last)
    if best is not None and best["step"] != last:
        trainer._load_from_checkpoint(str(settings.output / f"{BEST}-{best['step']}"))


def _is_over(checkpoint: Path, settings: RunSettings, prepared: Prepared) -> bool:
    """Whether nothing follows `checkpoint`: a kill came between it and the end of the run."""
    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    checked = [entry for entry in state.log_history if "eval_loss" in entry]
    return state.global_step >= steps_of(settings, len(prepared.train)) or (
        prepared.validation is not None and out_of_patience(checked, settings.validation)
    )


def _smaller(settings: RunSettings) -> str:
    if not isinstance(settings, TrainSettings):
        return (
            "the memory is full: take fewer at once (batch or row_questions), or freeze the encoder"
        )
    return (
        "the memory is full: set gradient_checkpointing=true, a smaller row_tokens, quantize=4bit "
        "or train.language=lora; `vqa train CONFIG --dry-run` tells what each of them takes"
    )


def _remove_best_after(output: Path, step: int) -> None:
    """Forget best weights that are later than where the run goes on from."""
    if PartialState().is_main_process:
        for kept, path in best_weights(output).items():
            if kept > step:
                shutil.rmtree(path, ignore_errors=True)
    PartialState().wait_for_everyone()


def save(trainer: RowTrainer, output: Path, dtype: torch.dtype, base: str | None = None) -> None:
    """Write what was trained into `output`, in `dtype`: an adapter to `base`, or a LLaVA model.

    The files are written apart and then take their places, the one that names the rest last.
    """
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.sharded else None
    trained: Any = trainer.model
    for parameter in trained.parameters():
        if parameter.dtype == torch.float32:  # what has learned, and what ran behind it
            parameter.data = parameter.data.to(dtype)
    if not trainer.is_world_process_zero():
        return
    if state is not None:
        state = {name: value.to(dtype) for name, value in state.items()}
    with replaced_files(output, last=("adapter_config.json", "config.json")) as directory:
        if isinstance(trained, PeftModel):
            # no embedding is trained; peft would look on the hub for the base's own
            trained.save_pretrained(directory, state_dict=state, save_embedding_layers=False)
            assert base is not None
            record_base(directory, base)
            (directory / "README.md").unlink(missing_ok=True)  # an empty form of peft's
        else:
            trained.save_pretrained(directory, state_dict=state)
            trainer.processor.save_pretrained(directory)
            make_config_portable(directory)


class RowTrainer(Trainer):
    """Trainer for rows: loss over learned tokens, rows in their given order, no pickles kept."""

    control: TrainerControl

    def __init__(
        self,
        llava: Any,
        processor: Any,
        validation: Validation | None,
        settings: RunSettings,
        **kwargs: Any,
    ) -> None:
        self.llava = llava
        self.processor = processor
        self.validation = validation
        self.settings = settings
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = True  # the loss is divided by the tokens of the whole step

    @property
    def sharded(self) -> bool:
        """Whether no process has the whole model."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # packing has shuffled, epoch by epoch

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor]:
        """The rows of one optimizer step and what their tokens weigh, over all processes."""
        batches = []
        for _ in range(num_batches):
            try:
                batches.append(next(epoch_iterator))
            except StopIteration:
                break
        total = torch.tensor(sum(float(batch["weights"].sum()) for batch in batches), device=device)
        if self.args.world_size > 1:
            total = self.accelerator.gather(total).sum()
        return batches, total

    def row_losses(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The losses of what is learned of a row, and their weights; both [K]."""
        return validation.row_losses(model, inputs)

    def answers(self) -> list[str]:
        """The answers to the questions of the validation, by the model as it is now."""
        assert self.validation is not None and isinstance(self.settings, TrainSettings)
        tokens = self.settings.validation.max_new_tokens
        return validation.answers(
            self.llava, self.processor, self.validation, tokens, self.accelerator
        )

    def module_of(self, parameter: str) -> str:
        """Which module, as in `learning_rate`, a parameter's name belongs to."""
        if "multi_modal_projector" in parameter:
            return "projector"
        return "vision" if "vision_tower" in parameter else "language"

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """The weighted mean over what the whole step learns."""
        losses, weights = self.row_losses(model, inputs)
        if "pixel_values" not in inputs:  # wrappers for several devices wait for every gradient
            seeing = self.llava.model.multi_modal_projector, self.llava.model.vision_tower
            unused = (p for module in seeing for p in module.parameters() if p.requires_grad)
            losses = losses + 0 * sum(p.sum() for p in unused)
        total = weights.sum() if num_items_in_batch is None else num_items_in_batch
        # gradients are averaged over processes, the total is already that of all
        loss = (losses * weights).sum() / total * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Measure on the validation rows; their answers go to `validation/step-N.jsonl`."""
        assert self.validation is not None
        model = self.model_wrapped if self.sharded else self.model
        model.eval()
        rows = self.validation.rows
        loss = validation.loss(model, rows, self.accelerator, self.row_losses)
        metrics = {"eval_loss": loss}
        if not self.sharded:  # answers are written by a whole model
            found = self.answers()
            metrics["eval_metric"] = validation.score(self.validation, found)
            if self.is_world_process_zero():
                name = f"step-{self.state.global_step:06}.jsonl"
                path = Path(self.args.output_dir) / "validation" / name
                validation.write_answers(path, self.validation, found)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        """AdamW with each module at its own rate."""
        if getattr(self, "optimizer", None) is None:
            groups: dict[str, list[nn.Parameter]] = {}
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault(self.module_of(name), []).append(parameter)
            rates = self.settings.learning_rate.model_dump()
            self.optimizer = torch.optim.AdamW(
                [{"params": found, "lr": rates[module]} for module, found in groups.items()],
                weight_decay=self.args.weight_decay,
            )
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint holds what is trained: the adapter, or the trained parameters."""
        directory = Path(output_dir or self.args.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        if hasattr(self.model, "get_base_model"):
            self.model.save_pretrained(
                directory, state_dict=state_dict, save_embedding_layers=False
            )
        else:
            whole = self.model.state_dict() if state_dict is None else state_dict
            names = {name for name, p in self.model.named_parameters() if p.requires_grad}
            trained = {name: whole[name].contiguous() for name in names}
            save_file(trained, directory / _TRAINED)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Save, and where that fails leave the checkpoints that are whole, and say so."""
        try:
            super()._save_checkpoint(*args, **kwargs)
        except (OSError, RuntimeError, SafetensorError) as error:
            broken = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            shutil.rmtree(broken, ignore_errors=True)
            last = last_checkpoint(self.settings.output)
            kept = f"{last} is whole" if last else "no checkpoint is there yet"
            reason = str(error).strip().split("\n")[0]
            raise VQAError(
                f"cannot save {broken}: {reason}; {kept}: make room and give the same command again"
            ) from error

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        path = Path(resume_from_checkpoint) / _TRAINED
        target = model if model is not None else self.model
        if path.is_file():
            target.load_state_dict(load_file(path), strict=False)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)


def steps_of(settings: RunSettings, rows: int) -> int:
    """Optimizer steps of a run over so many packed rows."""
    return settings.max_steps or math.ceil(rows / settings.rows_of_step())


def _arguments(
    settings: RunSettings, prepared: Prepared, first: bool, over: bool
) -> TrainingArguments:
    processes = PartialState().num_processes
    rows = settings.rows_of_step()
    if rows % processes:
        raise InputError(
            f"rows_per_step={rows} cannot be shared by {processes} processes: make it a multiple"
        )
    validated = prepared.validation is not None
    every = settings.validation.every or max(1, steps_of(settings, len(prepared.train)) // 5)
    checkpointing: dict[str, Any] = {}
    if isinstance(settings, TrainSettings) and settings.gradient_checkpointing:
        checkpointing = {
            "gradient_checkpointing": True,
            "gradient_checkpointing_kwargs": {"use_reentrant": False},
        }
    arguments = TrainingArguments(
        output_dir=str(settings.output),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=rows // processes,
        # the rows hold all epochs; with none of them the Trainer only takes up the checkpoint
        num_train_epochs=0 if over else 1,
        max_steps=-1 if over else settings.max_steps or -1,
        learning_rate=max(settings.learning_rate.model_dump().values()),
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_ratio * steps_of(settings, len(prepared.train))),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=prepared.train.dtype == torch.bfloat16,
        use_cpu=on_cpu(settings),
        eval_strategy="steps" if validated else "no",
        eval_steps=every if validated else None,
        eval_on_start=validated and first,
        save_steps=settings.save_every,
        save_total_limit=settings.keep_checkpoints,
        logging_steps=settings.log_every,
        seed=settings.seed,
        report_to=settings.loggers or "none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        label_names=["targets"],
        **checkpointing,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # Trainer would part a batch over all GPUs it sees
    return arguments
