"""Training on questions and answers: the loss over a step's answers, and what validation scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.common.rows import TrainRows, ValidationSet
from training.common.trainer import RowTrainer
from vqa.data.example import PLACES, Example
from vqa.evaluation.scoring import metric_items
from vqa.metrics import Item, Metric
from vqa.utils.files import atomic_write, json_text


@dataclass(frozen=True)
class QuestionSet(ValidationSet):
    """Questions about pictures held out of training, and how answers are scored."""

    examples: Sequence[Example]
    metric: Metric

    def items(self, predictions: Sequence[str]) -> list[Item]:
        """Pair the predictions with what the data accepts."""
        return metric_items(self.examples, predictions)

    def score(self, predictions: Sequence[str]) -> float:
        """Compute the main value of the metric, a fraction."""
        return self.metric.of(self.items(predictions))[self.metric.main]

    def write(self, path: Path, predictions: Sequence[str]) -> None:
        """Write all predictions of one validation, a JSON row each."""
        with atomic_write(path) as file:
            for example, prediction in zip(self.examples, predictions, strict=True):
                row = {
                    "id": example.id,
                    "image": [str(image) for image in example.images],
                    "question": example.question,
                    **({PLACES: example.places} if example.places else {}),
                    "answers": list(example.answers),
                    "prediction": prediction,
                }
                file.write(json_text(row) + "\n")


class QuestionTrainer(RowTrainer):
    """Trainer whose loss is the weighted mean over all answers of a step."""

    validation: QuestionSet | None

    def row_losses(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the K losses of a row, and their weights; both [K]."""
        raise NotImplementedError

    def predictions(self) -> list[str]:
        """Answer the questions of the validation by the model as it is now."""
        raise NotImplementedError

    def get_batch_samples(
        self, epoch_iterator: Any, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor]:
        """Take the rows of one optimizer step, and sum their weights over all processes."""
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
        """Compute the weighted mean over all answers of the step."""
        losses, weights = self.row_losses(model, inputs)
        total = weights.sum() if num_items_in_batch is None else num_items_in_batch
        # a step may have rows of weight 0 alone, and gradients of 0 / 0 are NaN
        total = total.clamp(min=1e-9)
        # gradients are averaged over processes, the total is already that of all
        loss = (losses * weights).sum() / total * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def measure(self) -> dict[str, float]:
        """Measure the loss and the score; the answers go to `validation/step-N.jsonl`."""
        assert self.validation is not None
        model = self.model_wrapped if self.sharded else self.model
        model.eval()
        loss = self._mean_loss(model, self.validation.rows)
        self.check_finite(loss, "validation loss")
        metrics = {"eval_loss": loss}
        if not self.sharded:  # answers are written by a whole model
            predictions = self.predictions()
            metrics["eval_metric"] = self.validation.score(predictions)
            if self.is_world_process_zero():
                if self.directory is not None:
                    self.directory.check()
                name = f"step-{self.state.global_step:06}.jsonl"
                path = Path(self.args.output_dir) / "validation" / name
                self.validation.write(path, predictions)
        return metrics

    @torch.no_grad()
    def _mean_loss(self, model: nn.Module, rows: TrainRows) -> float:
        """Compute the weighted mean loss over all rows, which the processes share."""
        accelerator: Accelerator = self.accelerator
        totals = torch.zeros(2, dtype=torch.float64)  # on the CPU: not all devices have that type
        processes = accelerator.num_processes
        for start in range(0, len(rows), processes):
            number = start + accelerator.process_index
            # all run equally often: sharded models must
            inputs = self._prepare_inputs(rows[min(number, len(rows) - 1)])
            with accelerator.autocast():
                losses, weights = self.row_losses(model, inputs)
            if number < len(rows):
                totals += torch.stack([(losses * weights).sum(), weights.sum()]).cpu().double()
        if processes > 1:
            totals = totals.to(accelerator.device)
        summed: Tensor = accelerator.reduce(totals, "sum")
        return float(summed[0] / summed[1].clamp(min=1e-9))  # rows may all be of no weight
