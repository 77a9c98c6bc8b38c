"""The loss of packed rows, and answers that a LLaVA model writes during its training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional as F

from training.common.features import original_tower
from training.common.questions import QuestionTrainer
from training.sft.settings import SftSettings
from vqa.answering import Answerer, Request, SamplingParams
from vqa.data.encoding import to_messages
from vqa.data.example import Example
from vqa.engine import LocalEngine
from vqa.inputs.images import load_image
from vqa.models.checkpoints import LoadedModel, identity_of, record_base
from vqa.models.name_classifier import NameClassifier, write_hint_settings
from vqa.models.submodules import Submodules, submodules

AT_ONCE = 16  # questions
_CACHE_BYTES = 64 << 20  # of features, and of keys and values: the training needs the memory


@contextmanager
def logits_at(head: nn.Module, places: Tensor) -> Iterator[None]:
    """Make a model's head compute logits [1, K, vocabulary] at K of a batch's B * T tokens.

    `logits_to_keep` of transformers' models takes the same positions of every row.
    """

    def pick(_: nn.Module, hidden: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (hidden[0].flatten(0, 1)[places][None],)  # [1, K, D]

    hook = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        hook.remove()


def token_losses(
    model: nn.Module, inputs: dict[str, Tensor], head: nn.Module
) -> tuple[Tensor, Tensor]:
    """Compute the cross entropy of the K target tokens of rows; losses and weights, both [K].

    `head`: the layer of the model that makes logits.
    """
    inputs = dict(inputs)
    targets, weights = inputs.pop("targets"), inputs.pop("weights")  # [K]
    predict_from = inputs.pop("predict_from")  # [K]
    inputs.pop("answers", None)
    with logits_at(head, predict_from):
        outputs = model(**inputs, use_cache=False)
    logits = outputs.logits[0].float()  # [K, vocabulary]
    return F.cross_entropy(logits, targets, reduction="none"), weights


class SftTrainer(QuestionTrainer):
    """Trains a LLaVA model, or a peft model around it whose base is the model `base`."""

    settings: SftSettings

    def __init__(
        self, processor: Any, base: str | None, classifier: NameClassifier | None = None,
        **options: Any,
    ) -> None:  # fmt: skip
        self.processor = processor
        self.classifier = classifier  # whose names stand before the questions
        self.base = base
        super().__init__(**options)

    @property
    def finite_advice(self) -> str:
        """What to set where a loss is not finite."""
        return "a smaller learning_rate" + " or dtype=float32" * (self.settings.dtype != "float32")

    @cached_property
    def parts(self) -> Submodules:
        """The modules of the model: encoder, projector and language model."""
        return submodules(self.unwrapped)

    def module_of(self, parameter: str) -> str:
        """Name the module, as in `learning_rate`, that a parameter's name belongs to."""
        parameter = parameter.replace(".modules_to_save.default.", ".")  # as peft wraps what learns
        if any(f"{path}." in parameter for path in self.parts.projector):  # it may be in the tower
            return "projector"
        return "vision" if f"{self.parts.vision}." in parameter else "language"

    def row_losses(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Compute the cross entropy of rows' K target tokens; losses and weights, both [K]."""
        losses, weights = token_losses(model, inputs, self.unwrapped.lm_head)
        return self.with_unused(losses, model, inputs), weights

    def with_unused(self, losses: Tensor, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        """Make the losses of a row without pictures depend on the modules that pictures go through.

        Wrappers for several devices wait for every gradient.
        """
        if not model.training or "pixel_values" in inputs:
            return losses
        modules = self.unwrapped.model.multi_modal_projector, self.unwrapped.model.vision_tower
        unused = (p for module in modules for p in module.parameters() if p.requires_grad)
        return losses + 0 * sum(p.sum() for p in unused)

    def predictions(self) -> list[str]:
        """Write a greedy answer to each question of the validation."""
        assert self.validation is not None
        examples, accelerator = self.validation.examples, self.accelerator
        tokens = self.settings.validation.max_new_tokens
        # prompts and answers have all lengths: nothing is compiled for them
        eager = torch.compiler.set_stance("force_eager")
        with eager, self.answerer() as engine, accelerator.autocast():
            share = examples[accelerator.process_index :: accelerator.num_processes]
            answers: list[str] = []
            for start in range(0, len(share), AT_ONCE):
                requests = [_request(example, tokens) for example in share[start : start + AT_ONCE]]
                answers += [answer.text for answer in engine.answer(requests)]
        if accelerator.num_processes == 1:
            return answers
        parts: list[list[str]] = gather_object([answers])
        return [parts[n % len(parts)][n // len(parts)] for n in range(len(examples))]

    @contextmanager
    def answerer(self) -> Iterator[Answerer]:
        """Yield an answerer over the model as it is now."""
        llava = self.unwrapped
        with original_tower(llava):
            # made anew: an engine joins weights that training has changed since
            loaded = LoadedModel(llava, self.processor, "run", (), (), classifier=self.classifier)
            yield LocalEngine(
                loaded, max_batch=AT_ONCE, feature_bytes=_CACHE_BYTES, prefix_bytes=_CACHE_BYTES
            )

    @cached_property
    def _base_identity(self) -> str:
        assert self.base is not None
        return identity_of(self.base)

    def save_weights(self, directory: Path, state_dict: dict[str, Tensor] | None) -> None:
        """Write the adapter, or the trained parameters."""
        if isinstance(self.model, PeftModel):
            self.save_adapter(directory, state_dict)
        else:
            super().save_weights(directory, state_dict)

    def save_adapter(self, directory: Path, state_dict: dict[str, Tensor] | None) -> None:
        """Write the adapter, with what names its base and how pictures are named before questions.

        `state_dict` is all of it of a sharded model.
        """
        # no embedding is trained; peft would look on the hub for the base's own
        self.model.save_pretrained(directory, state_dict=state_dict, save_embedding_layers=False)
        (directory / "README.md").unlink(missing_ok=True)  # an empty form of peft's
        assert self.base is not None
        record_base(directory, self.base, self._base_identity)
        if self.classifier is not None:
            write_hint_settings(directory, self.classifier.settings)


def _request(example: Example, tokens: int) -> Request:
    pictures = tuple(load_image(path) for path in example.images)
    messages = to_messages(example, pictures, with_answer=False)
    return Request(messages, SamplingParams(max_new_tokens=tokens))
