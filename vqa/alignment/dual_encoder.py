"""Pictures and texts as unit vectors of one space."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vqa.alignment import check_length
from vqa.alignment.joint import JointModel
from vqa.errors import InputError, NotFiniteError
from vqa.models.encoders import encoder_batch_size
from vqa.models.finite import is_finite
from vqa.models.model_files import DUAL_ENCODER
from vqa.utils import fingerprint

_TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class DualEncoder:
    """Encodes pictures and texts as unit vectors of one space."""

    name: str
    model: Any  # with `get_image_features` and `get_text_features`
    image_processor: Any
    tokenizer: Any
    max_length: int  # tokens of a text, special ones included

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return torch.device(next(self.model.parameters()).device)

    @cached_property
    def scale(self) -> float:
        """The trained inverse temperature, which turns similarities into logits."""
        if isinstance(self.model, JointModel):
            return float(self._check_finite(self.model.scale.detach()))
        return float(self._check_finite(self.model.logit_scale.detach().exp()))

    @cached_property
    def fingerprint(self) -> str:
        """Identity of all weights and of the image processor."""
        weights = fingerprint.of_module(self.model)
        return fingerprint.of_json([weights, self.image_processor.to_dict()])

    @cached_property
    def dim(self) -> int:
        """The dimension d of the space."""
        return int(self.encode_texts(["a"]).shape[1])

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Encode RGB pictures as unit vectors [B, d], float32 on the CPU.

        Raises NotFiniteError where the model is damaged.
        """
        vectors = []
        size = encoder_batch_size(self.device)
        for start in range(0, len(images), size):
            part = list(images[start : start + size])
            batch = self.image_processor(part, return_tensors="pt")
            vectors.append(self._unit(self.model.get_image_features(**self._to_device(batch))))
        return torch.cat(vectors)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as unit vectors [B, d], float32 on the CPU.

        Raises InputError for a text that is too long, or has words that the encoder does not know,
        and NotFiniteError where the model is damaged.
        """
        self.check_texts(texts)
        self._check_words(texts)
        vectors = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            batch = tokenize(self.tokenizer, texts[start : start + _TEXTS_AT_ONCE], self.pad_length)
            vectors.append(self._unit(self.model.get_text_features(**self._to_device(batch))))
        return torch.cat(vectors)

    @property
    def pad_length(self) -> int | None:
        """The number of tokens to which texts are padded: SigLIP was trained so, without a mask."""
        return self.max_length if _type(self.model).startswith("siglip") else None

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raise InputError for a text that is empty or longer than the text encoder takes."""
        for text in texts:
            if not text.strip():
                raise InputError("a text is empty: say what the picture should show")
            check_length(text)
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(f"{_short(text)!a} is no text: {error.reason}") from error
            count = self.count_tokens(text)
            if count > self.max_length:
                raise InputError(
                    f"the text {_short(text)!r} has {count} tokens, but the text encoder of "
                    f"{self.name} takes {self.max_length}: make it shorter"
                )

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text, special ones included."""
        # not verbose: a tokenizer would warn of the length, which `check_texts` refuses
        return len(self.tokenizer(text, verbose=False).input_ids)

    def _check_words(self, texts: Sequence[str]) -> None:
        """Raise InputError for words that are unknown tokens to the text encoder."""
        unknown = self.tokenizer.unk_token_id
        if unknown is None or unknown == self.tokenizer.eos_token_id:  # as CLIP: it spells words
            return
        for text in texts:
            for word in re.findall(r"\w+", text):
                if unknown in self.tokenizer(word, verbose=False).input_ids:
                    raise InputError(
                        f"the text encoder of {self.name} does not know {_short(word)!r}: say it "
                        "in English, or give another `model`"
                    )

    def _to_device(self, batch: Any) -> dict[str, Tensor]:
        dtype = next(self.model.parameters()).dtype
        return {
            key: value.to(self.device, dtype if value.is_floating_point() else None)
            for key, value in batch.items()
        }

    def _unit(self, outputs: Any) -> Tensor:
        vectors = outputs if isinstance(outputs, Tensor) else outputs.pooler_output  # [B, d]
        return F.normalize(self._check_finite(vectors.float()), dim=-1).cpu()

    def _check_finite(self, values: Tensor) -> Tensor:
        if not is_finite(values):
            raise NotFiniteError(f"{self.name} is damaged: get or train it anew", wider=False)
        return values


def tokenize(tokenizer: Any, texts: Sequence[str], pad_length: int | None = None) -> Any:
    """Tokenize a batch of texts, as the text encoder takes them."""
    if pad_length is not None:
        fill = {"padding": "max_length", "max_length": pad_length, "return_attention_mask": False}
        return tokenizer(list(texts), return_tensors="pt", **fill)
    return tokenizer(list(texts), return_tensors="pt", padding=True, return_attention_mask=True)


def _type(model: Any) -> str:
    return str(getattr(getattr(model, "config", None), "model_type", DUAL_ENCODER))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:37]}..."
