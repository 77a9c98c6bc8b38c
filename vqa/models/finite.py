"""Check that tensors are finite: weights before they are written, computed vectors and logits."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vqa.errors import VQAError


def is_finite(values: Tensor) -> bool:
    """Return whether no value is NaN or infinite; quantized or meta tensors are finite."""
    if values.is_meta or not values.is_floating_point():
        return True
    if values.element_size() == 1:  # torch has no reductions of 8-bit floats
        values = values.float()
    # one pass without a copy; where the sum of finite ones overflows, a second one tells
    total = values.detach().sum(dtype=torch.float32)
    return bool(torch.isfinite(total)) or bool(torch.isfinite(values).all())


def first_not_finite(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity."""
    return next((name for name, values in named if not is_finite(values)), None)


def check_weights(named: Iterable[tuple[str, Tensor]], advice: str) -> None:
    """Raise VQAError, which ends in `advice`, where weights to be written are not finite."""
    name = first_not_finite(named)
    if name is not None:
        raise VQAError(f"{name} is not finite (NaN or infinite numbers): {advice}")
