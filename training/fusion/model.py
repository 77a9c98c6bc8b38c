"""The recipe `fusion`: co-attention layers and an answer classifier on a frozen encoder.

Gives a directory that `vqa ask --model` takes. The answers are those that the data gives often
enough; all others are left out and count as wrong in validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.common.features import (
    FeatureCache,
    cache_directory,
    cached_tower,
    features_of,
    original_tower,
    pixels_of,
    seconds_a_picture,
)
from training.common.memory import MemoryEstimate, estimate_module, own_memory
from training.common.processes import device_of
from training.common.questions import QuestionSet, QuestionTrainer
from training.common.recipe import ModelCard, PreparedRun, Recipe
from training.common.timing import timed
from training.fusion.data import FusionPlan, FusionRows, plan_rows
from training.fusion.settings import FusionSettings
from vqa.fusion import storage
from vqa.fusion.answer_vocabulary import AnswerVocabulary
from vqa.fusion.config import FusionConfig
from vqa.fusion.model import FusionModel, fit_temperature
from vqa.fusion.storage import FusionParts
from vqa.metrics import get_metric
from vqa.models.checkpoints import absolute_name
from vqa.models.llava import ModuleReport, count_module
from vqa.utils import fingerprint
from vqa.utils.files import replaced_files


class FusionRecipe(Recipe[FusionSettings, FusionPlan]):
    """Training of a fusion model over a closed set of answers."""

    settings_class = FusionSettings
    memory_advice = "take fewer at once (batch or row_questions), or freeze the encoder"

    @property
    def pixels(self) -> bool:
        """True where the encoder learns too: rows then hold pixels instead of cached features."""
        return self.settings.train.vision

    @cached_property
    def _parts(self) -> FusionParts:
        self.process_bytes = own_memory()
        return storage.open_parts(self.settings.vision, self.settings.language)

    def plan(self) -> FusionPlan:
        """Read the data, keep pictures for validation, and choose the answers."""
        settings, classes = self.settings, self.settings.answers
        return plan_rows(
            settings, self._parts.embeddings, classes.least, classes.most,
            settings.network.question_tokens, settings.row_questions,
        )  # fmt: skip

    def build(self, plan: FusionPlan) -> FusionModel:
        """Make a new model for the answers."""
        settings = self.settings
        self._answers = plan.answers
        torch.manual_seed(settings.seed)
        config = FusionConfig(
            vision=absolute_name(settings.vision), language=absolute_name(settings.language),
            own_vision=self.pixels, **settings.network.model_dump(),
        )  # fmt: skip
        model = storage.build(self._parts, plan.answers, config)
        model.requires_grad_(True)
        model.model.vision_tower.requires_grad_(self.pixels)
        return model

    def prepare(self, plan: FusionPlan, model: FusionModel) -> PreparedRun:
        """Compute the features that are missing, and put batches of questions together."""
        image_processor = self._parts.image_processor
        if self.pixels:
            pictures = pixels_of(image_processor)
        else:
            pictures = features_of(model, image_processor, plan.pictures(), plan.fingerprints)
        size, count = self.settings.row_questions, len(plan.answers)
        train = FusionRows(plan.train, plan.order, size, pictures, count)
        validation = None
        if len(plan.validation):
            order = np.arange(len(plan.validation), dtype=np.int32)
            rows = FusionRows(plan.validation, order, size, pictures, count)
            score = get_metric(self.settings.validation.metric)
            validation = QuestionSet(rows, plan.val_examples, score)
        model.to(device_of(self.settings))
        return PreparedRun(model, train, validation, fingerprint.of_json(self._parts.fingerprints))

    def report(self, model: FusionModel) -> Sequence[ModuleReport]:
        """List encoder, projector, layers and classifier: what learns and what is frozen."""
        tower, projector = model.model.vision_tower, model.model.multi_modal_projector
        parts = (tower, projector, model.classifier)
        elsewhere = {id(p) for part in parts for p in part.parameters()}
        layers = [p for p in model.parameters() if id(p) not in elsewhere]
        answers = f"{model.config.answers} answers"
        return (
            count_module("vision_tower", tower.config.model_type, tower.parameters()),
            count_module("multi_modal_projector", "MLP", projector.parameters()),
            count_module("fusion_layers", "co-attention", layers),
            count_module("classifier", answers, model.classifier.parameters()),
        )

    def remarks(self, plan: FusionPlan) -> list[str]:
        """Count the answers, and the rows of the data that are left out."""
        total = plan.rows + plan.unanswerable
        lines = [f"{len(plan.answers)} answers, those of {plan.rows} of {total} training rows"]
        if plan.unused:
            lines.append(
                f"{plan.unused} rows are left out: they are not about exactly one picture, or "
                "their answer has the weight 0"
            )
        return lines

    def while_training(self, model: nn.Module) -> AbstractContextManager[None]:
        """Let the vision tower stand aside while cached features are trained on."""
        return nullcontext() if self.pixels else cached_tower(model)

    def trainer(self, **options: Any) -> FusionTrainer:
        """Make the Trainer."""
        return FusionTrainer(self._answers, self._parts.fingerprints, **options)

    def save(self, trainer: FusionTrainer) -> None:
        """Fit the temperature on the validation pictures, and write the model's directory."""
        if not trainer.is_world_process_zero():
            return
        model = trainer.model
        if trainer.validation is not None:
            model.config.answer_temperature = self._temperature(trainer, trainer.validation)
        with replaced_files(self.settings.output, last=("config.json",)) as directory:
            storage.save(model, trainer.classes, trainer.parts, directory)

    def _temperature(self, trainer: FusionTrainer, validation: QuestionSet) -> float:
        """Fit the temperature that makes probabilities the chance to be right."""
        with self.while_training(trainer.model):
            logits = trainer.logits()  # [R, A]
        trainer.check_finite(float(logits.sum()), "sum of the logits")
        items = validation.items(trainer.texts_of(logits))
        return fit_temperature(logits, torch.from_numpy(validation.metric.rows(items)))

    def card(self, plan: FusionPlan) -> ModelCard:
        """Describe the result for its model card."""
        trained = f"co-attention with questions and a classifier over {len(plan.answers)} answers"
        trained += ", the vision encoder too" * self.pixels
        return ModelCard(self.settings.vision, trained, task="visual-question-answering")

    def _forward(self, model: FusionModel, size: int) -> Tensor:
        """Run the model on a batch of so many questions about as many pictures, all zeros."""
        config, device = model.config, device_of(self.settings)
        side = self._parts.tower.config.image_size
        words = min(24, config.question_tokens)
        patches = (config.grid[0] * config.grid[1], config.vision_size)
        batch = {
            "input_ids": torch.zeros(size, words, dtype=torch.long, device=device),
            "pixel_values": torch.zeros(
                size, *((3, side, side) if self.pixels else patches), device=device
            ),
            "pictures": torch.arange(size, device=device),
        }
        with self.while_training(model):
            logits: Tensor = model(**batch)
        return logits

    def estimate(self, plan: FusionPlan) -> MemoryEstimate:
        """Estimate the memory of a step, by running the model."""
        model = self._model = self.build(plan).to(device_of(self.settings)).train()
        size, words = self.settings.row_questions, self._parts.embeddings.table.nbytes
        forward = partial(self._forward, model, size)
        return estimate_module(model, forward, self.process_bytes, self.report(model), words)

    def advice(self, plan: FusionPlan, free: int) -> Sequence[str]:
        """List settings under which a step takes less memory."""
        return (f"row_questions={max(1, self.settings.row_questions // 8)}",)

    def seconds(self, plan: FusionPlan) -> float:
        """Estimate the time of all steps and of the features that no run has left behind."""
        settings, model = self.settings, self._model
        image_processor = self._parts.image_processor
        cache = FeatureCache(cache_directory(model, image_processor))
        missing = [str(path) for key, (path, _) in plan.pictures().items() if key not in cache]
        seconds = timed(lambda: self._forward(model, settings.row_questions).sum().backward())
        seconds *= self.steps(plan) * settings.rows_per_step
        if missing and not self.pixels:
            seconds += len(missing) * seconds_a_picture(model, image_processor, missing[:4])
        return seconds


class FusionTrainer(QuestionTrainer):
    """Trains a classifier over answers on batches of questions."""

    own_weights = storage.WEIGHTS

    def __init__(self, classes: AnswerVocabulary, parts: dict[str, str], **options: Any) -> None:
        self.classes = classes
        self.parts = parts  # fingerprints of what the model stands on
        super().__init__(**options)

    def save_weights(self, directory: Path, state_dict: dict[str, Tensor] | None) -> None:
        """Write a fusion model's directory; of a sharded model just what is trained."""
        if state_dict is not None:
            super().save_weights(directory, state_dict)
            return
        with original_tower(self.model):  # the config says how that is read
            storage.save(self.model, self.classes, self.parts, directory)

    def row_losses(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Compute cross entropy with the shares of accepted answers, and weights; both [B]."""
        inputs = dict(inputs)
        targets, weights = inputs.pop("targets"), inputs.pop("weights")  # [B, A], [B]
        return F.cross_entropy(model(**inputs), targets, reduction="none"), weights

    def predictions(self) -> list[str]:
        """Choose the likeliest answer to each question; every process answers all."""
        return self.texts_of(self.logits())

    def texts_of(self, logits: Tensor) -> list[str]:
        """Choose the likeliest answers by logits [R, A]."""
        return [self.classes.texts[number] for number in logits.argmax(-1).tolist()]

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Compute the logits [R, A] of the validation's questions, on the CPU."""
        assert self.validation is not None
        rows = self.validation.rows
        self.model.eval()
        parts = []
        for number in range(len(rows)):
            inputs = {name: value.to(self.model.device) for name, value in rows[number].items()}
            del inputs["targets"], inputs["weights"]
            parts.append(self.model(**inputs).cpu())
        return torch.cat(parts)

    def module_of(self, parameter: str) -> str:
        """Name the module, as in `learning_rate`, that a parameter's name belongs to."""
        return "vision" if "vision_tower" in parameter else "fusion"
