"""The training loop: transformers' Trainer on packed rows, with a learning rate for each module."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from training.features import CachedTower
from training.processes import on_cpu
from training.rows import PackedRows
from training.settings import TrainSettings
from vqa.errors import InputError
from vqa.files import atomic_write

_TRAINED = "trained.safetensors"


def fit(model: nn.Module, rows: PackedRows, settings: TrainSettings) -> None:
    """Train the parameters that require gradients; go on from the last checkpoint in `output`.

    `model` is the LLaVA model or a peft model around it. Its vision tower stands aside while cached
    features are trained on, and is back in place afterwards.
    """
    settings.output.mkdir(parents=True, exist_ok=True)
    if PartialState().is_main_process:
        _write_config(settings)
    llava = model.get_base_model() if hasattr(model, "get_base_model") else model
    for parameter in model.parameters():
        if parameter.requires_grad:  # small steps would vanish in bfloat16
            parameter.data = parameter.data.float()
    tower, config = llava.model.vision_tower, llava.config
    selection = config.vision_feature_layer, config.vision_feature_select_strategy
    llava.model.vision_tower = CachedTower()
    config.vision_feature_layer, config.vision_feature_select_strategy = -1, "full"
    try:
        trainer = RowTrainer(
            model=model,
            args=_arguments(settings, rows),
            train_dataset=rows,
            data_collator=lambda batch: batch[0],
            rates=settings.learning_rate.model_dump(),
        )
        trainer.train(resume_from_checkpoint=get_last_checkpoint(str(settings.output)))
    finally:
        llava.model.vision_tower = tower
        config.vision_feature_layer, config.vision_feature_select_strategy = selection
    if not trainer.is_world_process_zero():
        return
    with atomic_write(settings.output / "log.jsonl") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in trainer.state.log_history)


class RowTrainer(Trainer):
    """Trainer for rows: loss over learned tokens, rows in their given order, no pickles kept."""

    def __init__(self, rates: dict[str, float], **kwargs: Any) -> None:
        self.rates = rates
        super().__init__(**kwargs)
        self.model_accepts_loss_kwargs = True  # the loss is divided by the tokens of the whole step

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

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """Cross entropy of the learned tokens; logits are computed where one is predicted."""
        inputs = dict(inputs)
        targets, weights = inputs.pop("targets"), inputs.pop("weights")  # [K]
        predict_from = inputs.pop("predict_from")  # [K]
        outputs = model(**inputs, logits_to_keep=predict_from, use_cache=False)
        logits = outputs.logits[0].float()  # [K, vocabulary]
        total = weights.sum() if num_items_in_batch is None else num_items_in_batch
        losses = F.cross_entropy(logits, targets, reduction="none")  # [K]
        loss = (losses * weights).sum() / total
        # gradients are averaged over processes, the total is already that of all
        loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        """AdamW with the projector and the language model at their own rates."""
        if getattr(self, "optimizer", None) is None:
            groups: dict[str, list[nn.Parameter]] = {"projector": [], "language": []}
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    module = "projector" if "multi_modal_projector" in name else "language"
                    groups[module].append(parameter)
            self.optimizer = torch.optim.AdamW(
                [
                    {"params": parameters, "lr": self.rates[module]}
                    for module, parameters in groups.items()
                    if parameters
                ],
                weight_decay=self.args.weight_decay,
            )
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint holds what is trained: the adapter, or the trained parameters."""
        directory = Path(output_dir or self.args.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        if hasattr(self.model, "get_base_model"):
            self.model.save_pretrained(directory, save_embedding_layers=False)
        else:
            save_file(_trained(self.model), directory / _TRAINED)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        path = Path(resume_from_checkpoint) / _TRAINED
        if not path.is_file():
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        target = model if model is not None else self.model
        state = load_file(path)
        if set(state) != set(_trained(target)):
            raise InputError(f"{path}: this checkpoint belongs to another model")
        target.load_state_dict(state, strict=False)


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.detach().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def _arguments(settings: TrainSettings, rows: PackedRows) -> TrainingArguments:
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    return TrainingArguments(
        output_dir=str(settings.output),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=max(1, settings.rows_per_step // processes),
        num_train_epochs=1,  # the rows hold all epochs
        max_steps=settings.max_steps or -1,
        learning_rate=max(settings.learning_rate.model_dump().values()),
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=rows.dtype == torch.bfloat16,
        use_cpu=on_cpu(settings),
        save_steps=settings.save_every,
        save_total_limit=settings.keep_checkpoints,
        logging_steps=settings.log_every,
        seed=settings.seed,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        label_names=["targets"],
    )


def _write_config(settings: TrainSettings) -> None:
    described = settings.model_dump(mode="json") | {"processes": PartialState().num_processes}
    with atomic_write(settings.output / "run.json") as file:
        file.write(json.dumps(described, indent=2))
