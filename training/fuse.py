"""Training of a fusion model: co-attention layers and an answer classifier on a frozen encoder.

Gives a directory that `vqa ask --model` takes. The answers are those that the data gives often
enough; all others are left out and count as wrong in validation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import torch
from accelerate import PartialState
from pydantic import Field
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from training.dry_run import Outlook, seconds_a_picture, show, timed
from training.features import FeatureCache, cache_directory, cached_tower
from training.fuse_rows import Planned, plan, prepare
from training.loop import RowTrainer, fit, steps_of
from training.memory import Estimate, available, kept_by_autograd, own_memory
from training.processes import device_of, join
from training.record import begin, describe, end
from training.report import print_report
from training.resume import refuse_another
from training.rows import Validation
from training.settings import QuestionSettings, Section
from vqa import fingerprint
from vqa.checkpoints import whole_name
from vqa.files import replaced_files
from vqa.fusion import storage
from vqa.fusion.calibration import fit_temperature
from vqa.fusion.config import FusionConfig
from vqa.fusion.model import FusionModel
from vqa.fusion.storage import Parts
from vqa.metrics import Item
from vqa.model import ModuleReport


class AnswerSettings(Section):
    """Which answers of the training data become classes."""

    least: int = Field(2, ge=1)  # rows that give it
    most: int | None = Field(3000, ge=2)  # the most frequent ones


class NetworkSettings(Section):
    """The sizes of the network."""

    hidden_size: int = Field(128, ge=8)
    heads: int = Field(4, ge=1)
    text_layers: int = Field(1, ge=1)
    fusion_layers: int = Field(2, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    question_tokens: int = Field(64, ge=4)  # of the longest question


class FusionRates(Section):
    """A learning rate for what is new and one for the encoder."""

    fusion: float = Field(5e-4, gt=0)
    vision: float = Field(1e-5, gt=0)


class FusionTrained(Section):
    """Whether the encoder learns too; its BatchNorm statistics stay."""

    vision: bool = False


class FuseSettings(QuestionSettings):
    """The parts to stand on and what is learned, besides what every training says."""

    recipe: Literal["fusion"]
    vision: str = "embedded"
    language: str = "embedded"
    train: FusionTrained = FusionTrained()
    answers: AnswerSettings = AnswerSettings()
    network: NetworkSettings = NetworkSettings()
    row_questions: int = Field(64, ge=1)  # that run at once
    learning_rate: FusionRates = FusionRates()
    weight_decay: float = Field(0.05, ge=0)


def run(settings: FuseSettings) -> None:
    """Train, fit the temperature on the validation pictures, save into `output`."""
    join(settings)
    refuse_another(settings.output, {"settings": settings.model_dump(mode="json")})
    parts, planned, model = _open(settings)
    processor = SimpleNamespace(image_processor=parts.image_processor)
    pixels = settings.train.vision
    prepared = prepare(settings, planned, model, processor, settings.row_questions, pixels)
    described = describe(settings, fingerprint.of_json(parts.fingerprints), prepared)
    if not begin(settings.output, described):
        return
    print_report(report(model))
    _say(planned)
    model.to(device_of(settings))
    kind = partial(FusionTrainer, planned.answers.texts)
    trainer = fit(model, processor, prepared, settings, pixels, kind)
    if trainer.is_world_process_zero():
        if prepared.validation is not None:
            model.config.answer_temperature = _temperature(trainer, prepared.validation, pixels)
        with replaced_files(settings.output, last=("config.json",)) as directory:
            storage.save(model, planned.answers, parts.fingerprints, directory)
    how = f"co-attention with questions and a classifier over {len(planned.answers)} answers"
    how += ", the vision encoder too" if pixels else ""
    end(settings.output, described, trainer.state.log_history, settings.vision, how)


def _open(settings: FuseSettings) -> tuple[Parts, Planned, FusionModel]:
    """The parts, the rows, and a new model for them."""
    parts = storage.open_parts(settings.vision, settings.language)
    network, classes = settings.network, settings.answers
    planned = plan(settings, parts.words, classes.least, classes.most, network.question_tokens)
    torch.manual_seed(settings.seed)
    config = FusionConfig(
        vision=whole_name(settings.vision), language=whole_name(settings.language),
        own_vision=settings.train.vision, **network.model_dump(),
    )  # fmt: skip
    model = storage.build(parts, planned.answers, config)
    model.requires_grad_(True)
    model.model.vision_tower.requires_grad_(settings.train.vision)
    return parts, planned, model


class FusionTrainer(RowTrainer):
    """Learns to tell the accepted answers of a batch of questions."""

    def __init__(self, texts: Sequence[str], **kwargs: Any) -> None:
        self.texts = texts  # of the classes
        super().__init__(**kwargs)

    def row_losses(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Cross entropy with the shares of accepted answers, and weights of questions; both [B]."""
        inputs = dict(inputs)
        targets, weights = inputs.pop("targets"), inputs.pop("weights")  # [B, A], [B]
        return F.cross_entropy(model(**inputs), targets, reduction="none"), weights

    def answers(self) -> list[str]:
        """The likeliest answer to each question of the validation; every process asks all."""
        return self.texts_of(self.logits())

    def texts_of(self, logits: Tensor) -> list[str]:
        """The likeliest answers by logits [R, A]."""
        return [self.texts[number] for number in logits.argmax(-1).tolist()]

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Logits [R, A] of the validation's questions, on the CPU."""
        assert self.validation is not None
        rows = self.validation.rows
        self.llava.eval()
        found = []
        for number in range(len(rows)):
            inputs = {name: value.to(self.llava.device) for name, value in rows[number].items()}
            del inputs["targets"], inputs["weights"]
            found.append(self.llava(**inputs).cpu())
        return torch.cat(found)

    def module_of(self, parameter: str) -> str:
        """Which module, as in `learning_rate`, a parameter's name belongs to."""
        return "vision" if "vision_tower" in parameter else "fusion"


def _temperature(trainer: Any, validation: Validation, pixels: bool) -> float:
    """The temperature that makes probabilities the chance to be right, by validation pictures."""
    with nullcontext() if pixels else cached_tower(trainer.llava):
        logits = trainer.logits()  # [R, A]
    items = [
        Item(text, example.answers, example.question, example.extra)
        for text, example in zip(trainer.texts_of(logits), validation.examples, strict=True)
    ]
    return fit_temperature(logits, torch.from_numpy(validation.metric.rows(items)))


def report(model: FusionModel) -> tuple[ModuleReport, ...]:
    """The encoder, its projector, the layers and the classifier: what learns and what is frozen."""
    tower = model.model.vision_tower
    projector = model.model.multi_modal_projector
    taken = {id(p) for part in (tower, projector, model.classifier) for p in part.parameters()}
    layers = [p for p in model.parameters() if id(p) not in taken]
    parts = {
        ("vision_tower", tower.config.model_type): list(tower.parameters()),
        ("multi_modal_projector", "MLP"): list(projector.parameters()),
        ("fusion_layers", "co-attention"): layers,
        ("classifier", f"{model.config.answers} answers"): list(model.classifier.parameters()),
    }
    return tuple(
        ModuleReport(
            name, kind, sum(p.numel() for p in own if p.requires_grad), sum(p.numel() for p in own)
        )
        for (name, kind), own in parts.items()
    )


def _say(planned: Planned) -> None:
    """Tell what of the data is left out, once."""
    if not PartialState().is_main_process:
        return
    total = planned.rows + planned.unknown
    lines = [f"{len(planned.answers)} answers, those of {planned.rows} of {total} training rows"]
    if planned.unused:
        lines.append(f"{planned.unused} rows are left out: they are not about exactly one picture")
    for line in lines:
        Console().print(line, highlight=False)


def dry_run(settings: FuseSettings) -> None:
    """Print what `run` would do, take and last; nothing is written."""
    program = own_memory()
    parts, planned, model = _open(settings)
    device = device_of(settings)
    pixels = settings.train.vision
    processor = SimpleNamespace(image_processor=parts.image_processor)
    model.to(device).train()

    def batch(size: int) -> dict[str, Tensor]:
        config = model.config
        side = parts.tower.config.image_size
        words = min(24, config.question_tokens)
        shape = (3, side, side) if pixels else (config.grid[0] * config.grid[1], config.vision_size)
        return {
            "input_ids": torch.zeros(size, words, dtype=torch.long, device=device),
            "pixel_values": torch.zeros(size, *shape, device=device),
            "pictures": torch.arange(size, device=device),
        }

    def forward(size: int) -> Tensor:
        with nullcontext() if pixels else cached_tower(model):
            found: Tensor = model(**batch(size))
        return found

    def needed(size: int) -> Estimate:
        learns = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return Estimate(
            weights=sum(p.nbytes for p in model.parameters()) + parts.words.table.nbytes,
            trained=3 * 4 * learns,  # gradients and AdamW's two moments
            activations=kept_by_autograd(model, lambda: forward(size)),
            program=program,
            modules=report(model),
        )

    def hours() -> float:
        cache = FeatureCache(cache_directory(model, processor))
        missing = [str(path) for key, (path, _) in planned.seen().items() if key not in cache]
        seconds = timed(lambda: forward(settings.row_questions).sum().backward())
        seconds *= steps_of(settings, batches) * settings.rows_per_step
        if missing and not pixels:
            seconds += len(missing) * seconds_a_picture(model, processor, missing[:4])
        return seconds / 3600

    batches = math.ceil(len(planned.order) / settings.row_questions)
    estimate, free = needed(settings.row_questions), available(device)
    fits = estimate.fits(free)
    smaller = max(1, settings.row_questions // 8)
    show(
        Outlook(
            settings=settings.model_dump(mode="json"),
            rows=planned.rows,
            pictures=len(planned.trained.paths),
            validation_rows=len(planned.measured),
            packed_rows=batches,
            steps=steps_of(settings, batches),
            memory=estimate,
            available=free,
            advice=() if fits else (f"row_questions={smaller}",),
            hours=hours() if fits else None,
        )
    )
    _say(planned)
