"""Rows as the training loop takes them, whatever the recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset


class TrainRows(Dataset[dict[str, Tensor]], ABC):
    """Rows in the order in which they are trained on; each is what runs at once."""

    dtype: torch.dtype  # that training computes in

    @abstractmethod
    def __len__(self) -> int:
        """Count the rows."""


@dataclass(frozen=True)
class ValidationSet:
    """Rows about pictures held out of training, and the `examples` they are made of."""

    rows: TrainRows
    examples: Sequence[object]
