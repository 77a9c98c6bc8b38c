"""Training of the shared space: heads of a vision and a text encoder learn from captions.

Gives a directory that `vqa classify`, `vqa search` and `vqa score-caption` take as `--model`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from accelerate import PartialState
from pydantic import Field, computed_field
from rich.console import Console
from torch import Tensor, nn

from training.align_rows import (
    Held,
    Pairs,
    Planned,
    plan,
    prepare,
    seconds_of_features,
    steps_of,
)
from training.dry_run import Outlook, show, timed
from training.loop import RowTrainer, fit
from training.memory import Estimate, available, kept_by_autograd, own_memory
from training.processes import device_of, join
from training.record import begin, describe, end
from training.report import print_report
from training.resume import refuse_another
from training.settings import RunSettings, Section, ValidationSettings
from vqa import fingerprint
from vqa.alignment import loading
from vqa.alignment.joint import Head, JointModel, Shape
from vqa.alignment.loading import DualEncoder
from vqa.alignment.losses import alike, contrastive, gathered, sigmoid
from vqa.checkpoints import whole_name
from vqa.files import replaced_files
from vqa.metrics.retrieval import ranks, recall_at
from vqa.model import ModuleReport


class AlignRates(Section):
    """A learning rate for the heads and one for the encoder."""

    heads: float = Field(1e-3, gt=0)
    vision: float = Field(1e-5, gt=0)


class AlignTrained(Section):
    """Whether the vision encoder learns too; its BatchNorm statistics stay."""

    vision: bool = False


class AlignValidation(ValidationSettings):
    """What is measured on pictures that are kept from training."""

    pictures: int = Field(1000, ge=1)  # most that are looked at
    best_by: Literal["loss", "metric"] = "metric"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def metric(self) -> str:
        """What the answers are measured by, as the run's card calls it."""
        return "R@1, mean of both directions"


class AlignSettings(RunSettings):
    """The encoders to join and what is learned; the data are pictures and captions."""

    recipe: Literal["align"]
    vision: str = "embedded"
    text: str = "embedded"
    validation: AlignValidation = AlignValidation()
    # what learns
    heads: Shape = Shape()
    train: AlignTrained = AlignTrained()
    # how long, and how much at once
    epochs: float = Field(20.0, gt=0, allow_inf_nan=False)  # each of them is all captions once
    batch: int = Field(1024, ge=2)  # pairs of a step; all others of it are negatives
    # how fast
    learning_rate: AlignRates = AlignRates()
    weight_decay: float = Field(0.1, ge=0)

    def rows_of_step(self) -> int:
        """A batch for each process."""
        return PartialState().num_processes


def run(settings: AlignSettings) -> None:
    """Join the encoders, train, save what was trained in `output`."""
    join(settings)
    refuse_another(settings.output, {"settings": settings.model_dump(mode="json")})
    planned = plan(settings)
    encoder = _compose(settings)
    base = loading.bases(encoder)
    prepared: Any = prepare(settings, encoder, planned)
    start = fingerprint.of_json([base, fingerprint.of_module(encoder.model)])
    described = describe(settings, start, prepared)
    if not begin(settings.output, described):
        return
    print_report(report(encoder.model))
    _say(planned)
    trainer = fit(encoder.model, encoder, prepared, settings, pixels=True, kind=AlignTrainer)
    if trainer.is_world_process_zero():
        with replaced_files(settings.output, last=("config.json",)) as directory:
            vision, text = whole_name(settings.vision), whole_name(settings.text)
            loading.save(encoder, directory, vision=vision, text=text, base=base)
    how = f"{settings.heads.projector} heads" + ", the vision encoder too" * settings.train.vision
    use = [f'vqa score-caption --model {settings.output} PHOTO "A TEXT"']
    names = f"{settings.vision} and {settings.text}"
    end(settings.output, described, trainer.state.log_history, names, how, use)


def dry_run(settings: AlignSettings) -> None:
    """Print what `run` would do, take and last; nothing is written."""
    program = own_memory()
    planned = plan(settings)
    encoder = _compose(settings)
    model = encoder.model.train()
    device = device_of(settings)
    pairs = len(planned.data.of(planned.trained))
    size = min(settings.batch, pairs)

    def loss(count: int) -> Tensor:
        side = encoder.model.vision_tower.config.image_size
        shape = (3, side, side) if settings.train.vision else (_width(model.picture_head),)
        seen = torch.zeros(count, *shape, device=device)
        said = torch.zeros(count, _width(model.text_head), device=device)
        numbers = torch.arange(count, device=device)
        pictures, texts = model(seen, said)  # [count, d] each
        return loss_of(model, pictures, texts, alike(numbers, numbers))

    def hours() -> float:
        seconds = timed(lambda: loss(size).backward()) * steps_of(settings, pairs)
        return (seconds + seconds_of_features(settings, encoder, planned)) / 3600

    needed = Estimate(
        weights=sum(p.nbytes for p in model.parameters()),
        trained=3 * 4 * sum(p.numel() for p in model.parameters() if p.requires_grad),
        activations=kept_by_autograd(model, lambda: loss(size)),
        program=program,
        modules=tuple(report(model)),
    )
    free = available(device)
    fits = needed.fits(free)
    show(
        Outlook(
            settings=settings.model_dump(mode="json"),
            rows=pairs,
            pictures=len(planned.trained),
            validation_rows=len(planned.measured),
            packed_rows=max(1, pairs // size),
            steps=steps_of(settings, pairs),
            memory=needed,
            available=free,
            advice=() if fits else (f"batch={max(2, size // 8)}", "train.vision=false"),
            hours=hours() if fits else None,
        )
    )
    _say(planned)


def _width(head: Head) -> int:
    return head.linear.in_features


def _compose(settings: AlignSettings) -> DualEncoder:
    encoder = loading.compose(settings.vision, settings.text, settings.heads, settings.seed)
    loading.name_classes(encoder)
    encoder.model.vision_tower.requires_grad_(settings.train.vision)
    encoder.model.to(device_of(settings))
    torch.manual_seed(settings.seed)  # dropout
    return encoder


class AlignTrainer(RowTrainer):
    """Each row is a batch of pairs, whose loss cannot be taken apart."""

    validation: Any  # Held

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], None]:  # type: ignore[override]
        """The one row of a step."""
        return [next(epoch_iterator) for _ in range(num_batches)], None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """The loss of the pairs of all processes against each other."""
        pictures, texts = model(inputs["pictures"], inputs["texts"])  # [B, d] each
        left_out = alike(gathered(inputs["picture_ids"]), gathered(inputs["text_ids"]))
        loss = loss_of(self.llava, gathered(pictures), gathered(texts), left_out)
        return (loss, None) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Loss, and recall among the pictures that are kept apart; every process measures all."""
        held: Held = self.validation
        metrics = measure(self.llava, held.rows, self.args.device)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        """AdamW; the temperature, biases and the encoder are not drawn towards zero."""
        if getattr(self, "optimizer", None) is None:
            groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    where = "vision" if "vision_tower" in name else "heads"
                    decays = where == "heads" and parameter.ndim > 1
                    groups.setdefault((where, decays), []).append(parameter)
            rates = self.settings.learning_rate.model_dump()
            decay = self.args.weight_decay
            self.optimizer = torch.optim.AdamW(
                [
                    {"params": found, "lr": rates[where], "weight_decay": decay * decays}
                    for (where, decays), found in groups.items()
                ]
            )
        return self.optimizer


def loss_of(model: JointModel, pictures: Tensor, texts: Tensor, left_out: Tensor) -> Tensor:
    """The loss that the model's shape names, for unit vectors [B, d] of pairs."""
    if model.logit_bias is not None:
        return sigmoid(pictures, texts, model.scale, model.logit_bias, left_out)
    return contrastive(pictures, texts, model.scale, left_out)


@torch.no_grad()
def measure(model: JointModel, rows: Pairs, device: torch.device) -> dict[str, float]:
    """The mean loss over `rows`, and R@1 among all their pictures and texts."""
    model.eval()
    pictures: dict[int, Tensor] = {}
    texts: dict[int, Tensor] = {}
    pairs: list[tuple[int, int]] = []
    losses = []
    for number in range(len(rows)):
        inputs = {key: value.to(device) for key, value in rows[number].items()}
        seen, said = model(inputs["pictures"], inputs["texts"])  # [B, d] each
        left_out = alike(inputs["picture_ids"], inputs["text_ids"])
        losses.append(float(loss_of(model, seen, said, left_out)))
        ids = inputs["picture_ids"].tolist(), inputs["text_ids"].tolist()
        pictures.update(zip(ids[0], seen, strict=True))
        texts.update(zip(ids[1], said, strict=True))
        pairs += zip(*ids, strict=True)
    places = {number: place for place, number in enumerate(pictures)}
    columns = {number: place for place, number in enumerate(texts)}
    scores = torch.stack(list(pictures.values())) @ torch.stack(list(texts.values())).T  # [P, T]
    own = np.zeros(tuple(scores.shape), dtype=np.bool_)
    for picture, text in pairs:
        own[places[picture], columns[text]] = True
    found = ranks(scores.cpu().numpy(), own), ranks(scores.T.cpu().numpy(), own.T)
    to_text, to_picture = (recall_at(rank, [1])["recall_at_1"] for rank in found)
    return {
        "eval_loss": float(np.mean(losses)),
        "eval_metric": (to_text + to_picture) / 2,
        "eval_picture_to_text": to_text,
        "eval_text_to_picture": to_picture,
    }


def report(model: JointModel) -> Sequence[ModuleReport]:
    """The encoders and the heads: what learns and what is frozen."""
    parts = {
        "vision_tower": model.vision_tower.config.model_type,
        "text_tower": model.text_tower.config.model_type,
        "picture_head": model.shape.projector,
        "text_head": model.shape.projector,
    }
    rows = []
    for name, kind in parts.items():
        own = list(getattr(model, name).parameters())
        learned = sum(p.numel() for p in own if p.requires_grad)
        rows.append(ModuleReport(name, kind, learned, sum(p.numel() for p in own)))
    return rows


def _say(planned: Planned) -> None:
    if not PartialState().is_main_process:
        return
    pairs = len(planned.data.of(planned.trained))
    line = (
        f"{pairs} captions of {len(planned.trained)} pictures, {len(planned.measured)} kept apart"
    )
    if planned.data.left_out:
        line += f"; {planned.data.left_out} rows are left out: they do not show exactly one picture"
    Console().print(line, highlight=False)


if __name__ == "__main__":  # python -m training.align CONFIG [key=value ...]
    import sys

    from vqa.cli import main

    main(["train", *sys.argv[1:]])
