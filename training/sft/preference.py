"""The recipe `preference`: an answer that was preferred to another becomes the likelier one.

Direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290) of what `finetune` trains:
the loss of a pair is -log sigmoid(beta * m), where m is by how much the preferred answer has gained
on the rejected one, in log-probability, since the training began. The two answers of a pair are
branches of one packed row, so its picture and question are computed once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from training.common.recipe import PreparedRun
from training.sft.data import SftPlan
from training.sft.finetune import FinetuneRecipe
from training.sft.packing import EncodedExample, PackedRows
from training.sft.settings import FinetuneSettings, LearningRates
from training.sft.trainer import SftTrainer, token_losses
from vqa.models.checkpoints import identity_of
from vqa.utils import cache, fingerprint
from vqa.utils.checksums import ensure_directory
from vqa.utils.progress import track


class PreferenceSettings(FinetuneSettings):
    """How strongly preferences count, besides what fine-tuning says."""

    recipe: Literal["preference"]  # type: ignore[assignment]
    beta: float = Field(0.1, gt=0)  # the larger, the less the answers move away from the start's
    # weight of the loss of the preferred answers themselves (Pang et al. 2024, arXiv:2404.19733)
    rpo_alpha: float = Field(0.0, ge=0)
    learning_rate: LearningRates = LearningRates(projector=5e-6, language=2e-5)


class PairRows(PackedRows):
    """Packed rows of pairs, with their log-probabilities before the training as `reference`."""

    reference: list[Tensor]  # [P, 2] of each packed row's P pairs

    def branches_of(self, member: int) -> list[EncodedExample]:
        """Return the branches of a pair: one with the preferred answer, one with the rejected."""
        return [self.examples[member], self.examples[member + 1]]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        batch = super().__getitem__(index)
        if hasattr(self, "reference"):
            batch["reference"] = self.reference[index]  # [P, 2]
            batch["weights"] = torch.ones(len(batch["reference"]))  # [P]: pairs count alike
        return batch


def pair_log_probs(model: nn.Module, inputs: dict[str, Tensor], head: nn.Module) -> Tensor:
    """Compute the log-probabilities of the preferred and the rejected answers [P, 2] of rows."""
    answers = inputs["answers"]  # [K], even numbers are preferred answers
    losses, _ = token_losses(model, inputs, head)  # [K]
    pairs = int(answers.max()) // 2 + 1
    return losses.new_zeros(2 * pairs).index_add(0, answers, -losses).view(pairs, 2)


class PreferenceTrainer(SftTrainer):
    """Trains a model to prefer the answers that were preferred."""

    settings: PreferenceSettings

    def row_losses(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the loss of each of a row's P pairs, and their weights; both [P]."""
        inputs = dict(inputs)
        reference, weights = inputs.pop("reference"), inputs["weights"]  # [P, 2], [P]
        log_probs = pair_log_probs(model, inputs, self.unwrapped.lm_head)  # [P, 2]
        log_probs = self.with_unused(log_probs, model, inputs)
        gains = log_probs - reference  # [P, 2]
        losses = -F.logsigmoid(self.settings.beta * (gains[:, 0] - gains[:, 1]))
        if self.settings.rpo_alpha:
            tokens = torch.bincount(inputs["answers"], minlength=2 * len(log_probs)).view(-1, 2)
            losses = losses - self.settings.rpo_alpha * log_probs[:, 0] / tokens[:, 0]
        return losses, weights


class PreferenceRecipe(FinetuneRecipe):
    """Train what `finetune` trains, on pairs of answers."""

    settings_class = PreferenceSettings
    settings: PreferenceSettings
    trainer_class = PreferenceTrainer
    rows_class = PairRows
    paired = True

    def prepare(self, plan: SftPlan, model: Any) -> PreparedRun:
        """Prepare the run; compute how likely the answers of all pairs are before the training."""
        prepared = super().prepare(plan, model)
        sets = {"training": prepared.train}
        if prepared.validation is not None:
            sets["validation"] = prepared.validation.rows
        for name, rows in sets.items():
            assert isinstance(rows, PairRows)
            text = f"{name} pairs before training"

            def make(directory: Path, rows: PairRows = rows, text: str = text) -> None:
                computed = self._reference(rows, prepared.model, model, text)
                save_file(computed, directory / "reference.safetensors")

            identity = self._identity(plan, rows, prepared.model_fingerprint)
            directory = ensure_directory(cache.cache_dir() / "reference" / identity, make)
            stored = load_file(directory / "reference.safetensors")
            rows.reference = [stored[str(index)] for index in range(len(rows))]
        return prepared

    def _identity(self, plan: SftPlan, rows: PairRows, model: str) -> str:
        """Fingerprint what the last digits of the log-probabilities depend on."""
        adapter = self.settings.adapter
        # the rows as they are packed: a picture's view counts, and what else is in its row
        packed = rows.groups.members, rows.groups.starts, rows.layout.groups, rows.layout.starts
        layout = [fingerprint.of_bytes(numbers.tobytes()) for numbers in (*packed, plan.view_ids)]
        start = [model, adapter and identity_of(adapter), str(rows.dtype), self.settings.seed]
        pictures = [sorted(plan.pictures()), self.processor.image_processor.to_dict()]
        return fingerprint.of_json(
            [start, plan.data_fingerprint, layout, rows.multiple, pictures, self.settings.quantize]
        )

    def _reference(
        self, rows: PairRows, trained: nn.Module, llava: Any, text: str
    ) -> dict[str, Tensor]:
        """Compute the log-probabilities [P, 2] of the pairs of each packed row, by its number."""
        device, dtype = llava.device, llava.dtype
        bfloat16 = torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16)
        trained.eval()
        reference = {}
        with torch.no_grad(), bfloat16, self.while_training(llava):
            for index in track(range(len(rows)), text, total=len(rows)):
                inputs = {name: value.to(device) for name, value in rows[index].items()}
                reference[str(index)] = pair_log_probs(trained, inputs, llava.lm_head).cpu()
        return reference

    def seconds(self, plan: SftPlan) -> float:
        """Estimate the time, with a forward pass more for the probabilities before the training."""
        return super().seconds(plan) * 4 / 3
