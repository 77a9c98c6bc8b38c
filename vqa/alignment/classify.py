"""Zero-shot classification: the label whose description is nearest to the picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vqa.alignment import check_length
from vqa.alignment.dual_encoder import DualEncoder
from vqa.errors import InputError

# The mean over several wordings depends less on how a label is worded (CLIP, section 3.1.4).
TEMPLATES = (
    "a photo of a {}.",
    "a picture of a {}.",
    "a close-up photo of a {}.",
    "there is a {} in the picture.",
    "{}",
)


@dataclass(frozen=True)
class LabelProbability:
    """A label and its probability among all labels."""

    label: str
    probability: float


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Strip the labels. Raises InputError for fewer than two, equal or endless ones."""
    stripped = tuple(label.strip() for label in labels)
    if "" in stripped:
        raise InputError("a label is empty: name at least two, as in cat,dog,horse")
    if len(stripped) < 2:
        raise InputError("one label has nothing to be compared with: name at least two")
    for label, times in Counter(stripped).items():
        check_length(label)
        if times > 1:
            raise InputError(f"the label {label!r} comes twice: name each once")
    return stripped


class Classifier:
    """Labels, encoded once, for any number of pictures."""

    def __init__(self, encoder: DualEncoder, labels: Sequence[str]) -> None:
        self.encoder = encoder
        self.labels = check_labels(labels)
        self.vectors = label_vectors(encoder, self.labels)  # [L, d]

    def probabilities(self, pictures: Tensor) -> Tensor:
        """Compute the probabilities [B, L] of the labels for encoded pictures [B, d]."""
        return torch.softmax(self.encoder.scale * pictures @ self.vectors.T, dim=-1)

    def classify(self, image: Image.Image, top_k: int | None = None) -> list[LabelProbability]:
        """Rank the labels of one picture, the most probable first."""
        (row,) = self.probabilities(self.encoder.encode_images([image])).tolist()
        order = sorted(range(len(row)), key=lambda place: -row[place])
        return [LabelProbability(self.labels[place], row[place]) for place in order[:top_k]]


def label_vectors(encoder: DualEncoder, labels: Sequence[str]) -> Tensor:
    """Encode labels as unit vectors [L, d], each the mean over `TEMPLATES`."""
    texts = [template.format(label) for label in labels for template in TEMPLATES]
    vectors = encoder.encode_texts(texts).unflatten(
        0, (len(labels), len(TEMPLATES))
    )  # [L, templates, d]
    return F.normalize(vectors.mean(1), dim=-1)


def similarities(encoder: DualEncoder, image: Image.Image, texts: Sequence[str]) -> Tensor:
    """Compute the cosine similarity [T] of a picture with each text."""
    return (encoder.encode_images([image]) @ encoder.encode_texts(texts).T)[0]
