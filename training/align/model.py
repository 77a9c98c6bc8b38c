"""The recipe `align`: heads of a vision and a text encoder learn a shared space from captions.

Gives a directory that `vqa classify`, `vqa search` and `vqa score-caption` take as `--model`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.align.data import AlignPlan, count_steps, plan_pairs, prepare, seconds_of_features
from training.align.settings import AlignSettings
from training.common.memory import MemoryEstimate, estimate_module, own_memory
from training.common.processes import device_of
from training.common.recipe import ModelCard, PreparedRun, Recipe
from training.common.rows import TrainRows
from training.common.timing import timed
from training.common.trainer import RowTrainer
from vqa.alignment import loading
from vqa.alignment.dual_encoder import DualEncoder
from vqa.alignment.joint import JointModel, ProjectionHead
from vqa.alignment.losses import contrastive_loss, duplicate_pairs, gather_rows, sigmoid_loss
from vqa.metrics.retrieval import ranks, recall_at
from vqa.models.checkpoints import absolute_name
from vqa.models.llava import ModuleReport, count_module
from vqa.utils import fingerprint
from vqa.utils.files import replaced_files


class AlignRecipe(Recipe[AlignSettings, AlignPlan]):
    """Training of a dual encoder on pictures and captions."""

    settings_class = AlignSettings
    memory_advice = "take fewer at once (batch or row_questions), or freeze the encoder"

    @cached_property
    def _encoder(self) -> DualEncoder:
        settings = self.settings
        self.process_bytes = own_memory()
        encoder = loading.compose(settings.vision, settings.text, settings.heads, settings.seed)
        loading.name_classes(encoder)
        encoder.model.vision_tower.requires_grad_(settings.train.vision)
        encoder.model.to(device_of(settings))
        torch.manual_seed(settings.seed)  # dropout
        return encoder

    @cached_property
    def _bases(self) -> dict[str, str]:
        """Fingerprints of the encoders before any training."""
        return loading.base_fingerprints(self._encoder)

    def plan(self) -> AlignPlan:
        """Read the data and keep pictures for validation."""
        return plan_pairs(self.settings, self._encoder)

    def build(self, plan: AlignPlan) -> JointModel:
        """Join the encoders."""
        return self._encoder.model

    def prepare(self, plan: AlignPlan, model: JointModel) -> PreparedRun:
        """Compute the features that are missing, and put batches of pairs together."""
        bases = self._bases
        train, validation = prepare(self.settings, self._encoder, plan)
        identity = fingerprint.of_json([bases, fingerprint.of_module(model)])
        return PreparedRun(model, train, validation, identity)

    def report(self, model: JointModel) -> Sequence[ModuleReport]:
        """List the encoders and the heads: what learns and what is frozen."""
        kinds = {
            "vision_tower": model.vision_tower.config.model_type,
            "text_tower": model.text_tower.config.model_type,
            "picture_head": model.shape.projector,
            "text_head": model.shape.projector,
        }
        return [
            count_module(name, kind, getattr(model, name).parameters())
            for name, kind in kinds.items()
        ]

    def remarks(self, plan: AlignPlan) -> list[str]:
        """Count the captions, and the rows of the data that are left out."""
        line = (
            f"{len(plan.pairs)} captions of {len(plan.train)} pictures, {len(plan.validation)} "
            "kept apart"
        )
        if plan.data.left_out:
            line += (
                f"; {plan.data.left_out} rows are left out: they do not show exactly one picture, "
                "or their answer has the weight 0"
            )
        return [line]

    def trainer(self, **options: Any) -> AlignTrainer:
        """Make the Trainer."""
        return AlignTrainer(self._save, **options)

    def _save(self, directory: Path) -> None:
        vision, text = absolute_name(self.settings.vision), absolute_name(self.settings.text)
        loading.save(self._encoder, directory, vision=vision, text=text, base=self._bases)

    def save(self, trainer: AlignTrainer) -> None:
        """Write the dual encoder's directory."""
        if trainer.is_world_process_zero():
            with replaced_files(self.settings.output, last=("config.json",)) as directory:
                self._save(directory)

    def card(self, plan: AlignPlan) -> ModelCard:
        """Describe the result for its model card."""
        settings = self.settings
        trained = f"{settings.heads.projector} heads"
        trained += ", the vision encoder too" * settings.train.vision
        use = [f'vqa score-caption --model {settings.output} PHOTO "A TEXT"']
        base, task = f"{settings.vision} and {settings.text}", "zero-shot-image-classification"
        return ModelCard(base, trained, use, task)

    def _loss(self, count: int) -> Tensor:
        """Compute the loss of a batch of so many pairs, all zeros."""
        model, device = self._encoder.model.train(), device_of(self.settings)
        side = model.vision_tower.config.image_size
        width = _width(model.picture_head)
        shape = (3, side, side) if self.settings.train.vision else (width,)
        pictures = torch.zeros(count, *shape, device=device)
        texts = torch.zeros(count, _width(model.text_head), device=device)
        numbers = torch.arange(count, device=device)
        picture_vectors, text_vectors = model(pictures, texts)  # [count, d] each
        return loss_of(model, picture_vectors, text_vectors, duplicate_pairs(numbers, numbers))

    def _batch(self, plan: AlignPlan) -> int:
        return min(self.settings.batch, len(plan.pairs))

    def steps(self, plan: AlignPlan) -> int:
        """Count the optimizer steps."""
        return count_steps(self.settings, len(plan.pairs))

    def estimate(self, plan: AlignPlan) -> MemoryEstimate:
        """Estimate the memory of a step, by running the model."""
        model, forward = self._encoder.model, partial(self._loss, self._batch(plan))
        return estimate_module(model, forward, self.process_bytes, self.report(model))

    def advice(self, plan: AlignPlan, free: int) -> Sequence[str]:
        """List settings under which a step takes less memory."""
        return f"batch={max(2, self._batch(plan) // 8)}", "train.vision=false"

    def seconds(self, plan: AlignPlan) -> float:
        """Estimate the time of all steps and of the features that no run has left behind."""
        step = timed(lambda: self._loss(self._batch(plan)).backward())
        return step * self.steps(plan) + seconds_of_features(self.settings, self._encoder, plan)


def _width(head: ProjectionHead) -> int:
    return head.linear.in_features


class AlignTrainer(RowTrainer):
    """Trains on batches of pairs, whose loss cannot be taken apart."""

    own_weights = loading.WEIGHTS
    metric_name = "R@1"

    def __init__(self, save: Callable[[Path], None], **options: Any) -> None:
        self._save_encoder = save
        super().__init__(**options)

    def save_weights(self, directory: Path, state_dict: dict[str, Tensor] | None) -> None:
        """Write a dual encoder's directory; of a sharded model just what is trained."""
        if state_dict is not None:
            super().save_weights(directory, state_dict)
            return
        self._save_encoder(directory)

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], None]:  # type: ignore[override]
        """Take the one row of a step."""
        return [next(epoch_iterator) for _ in range(num_batches)], None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """Compute the loss of the pairs of all processes against each other."""
        pictures, texts = model(inputs["pictures"], inputs["texts"])  # [B, d] each
        left_out = duplicate_pairs(
            gather_rows(inputs["picture_ids"]), gather_rows(inputs["text_ids"])
        )
        loss = loss_of(self.model, gather_rows(pictures), gather_rows(texts), left_out)
        return (loss, None) if return_outputs else loss

    def measure(self) -> dict[str, float]:
        """Measure loss and recall among the pictures held out; every process measures all."""
        assert self.validation is not None
        metrics = measure(self.model, self.validation.rows, self.args.device)
        self.check_finite(metrics["eval_loss"], "validation loss")
        return metrics

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Group what learns; the temperature, biases and the encoder do not decay to zero."""
        groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                module = "vision" if "vision_tower" in name else "heads"
                decays = module == "heads" and parameter.ndim > 1
                groups.setdefault((module, decays), []).append(parameter)
        rates = self.settings.learning_rate.model_dump()
        decay = self.args.weight_decay
        return [
            {"params": group, "lr": rates[module], "weight_decay": decay * decays}
            for (module, decays), group in groups.items()
        ]


def loss_of(model: JointModel, pictures: Tensor, texts: Tensor, left_out: Tensor) -> Tensor:
    """Compute the loss that the model's shape names, for unit vectors [B, d] of pairs."""
    if model.logit_bias is not None:
        return sigmoid_loss(pictures, texts, model.scale, model.logit_bias, left_out)
    return contrastive_loss(pictures, texts, model.scale, left_out)


@torch.no_grad()
def measure(model: JointModel, rows: TrainRows, device: torch.device) -> dict[str, float]:
    """Compute the mean loss over `rows`, and R@1 among all their pictures and texts."""
    model.eval()
    pictures: dict[int, Tensor] = {}
    texts: dict[int, Tensor] = {}
    pairs: list[tuple[int, int]] = []
    losses = []
    for number in range(len(rows)):
        inputs = {key: value.to(device) for key, value in rows[number].items()}
        picture_vectors, text_vectors = model(inputs["pictures"], inputs["texts"])  # [B, d] each
        left_out = duplicate_pairs(inputs["picture_ids"], inputs["text_ids"])
        losses.append(float(loss_of(model, picture_vectors, text_vectors, left_out)))
        ids = inputs["picture_ids"].tolist(), inputs["text_ids"].tolist()
        pictures.update(zip(ids[0], picture_vectors, strict=True))
        texts.update(zip(ids[1], text_vectors, strict=True))
        pairs += zip(*ids, strict=True)
    lines = {number: index for index, number in enumerate(pictures)}
    columns = {number: index for index, number in enumerate(texts)}
    scores = torch.stack(list(pictures.values())) @ torch.stack(list(texts.values())).T  # [P, T]
    matching = np.zeros(tuple(scores.shape), dtype=np.bool_)
    for picture, text in pairs:
        matching[lines[picture], columns[text]] = True
    by_picture = ranks(scores.cpu().numpy(), matching)
    by_text = ranks(scores.T.cpu().numpy(), matching.T)
    to_text, to_picture = (recall_at(r, [1])["recall_at_1"] for r in (by_picture, by_text))
    return {
        "eval_loss": float(np.mean(losses)),
        "eval_metric": (to_text + to_picture) / 2,
        "eval_picture_to_text": to_text,
        "eval_text_to_picture": to_picture,
    }
