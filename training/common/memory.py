"""How much memory a step of a training takes, estimated before it starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor, nn

from vqa.models.llava import ModuleReport

_SHARE = 0.9  # of the free memory that may be planned with
_ADAM = 2  # moments, in float32


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the peak of a training step, in one process."""

    weights: int
    trained: int  # float32 copies, gradients and the optimizer's moments of what learns
    activations: int  # of one row, logits included
    process_bytes: int  # libraries, and what they need of their own
    modules: tuple[ModuleReport, ...]  # what learns and what is frozen

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return self.weights + self.trained + self.activations + self.process_bytes

    def fits(self, free: int) -> bool:
        """Return whether so many free bytes are sure to be enough."""
        return self.total < _SHARE * free


def optimizer_bytes(parameters: int) -> int:
    """Count the bytes of the gradients and of AdamW's moments of so many parameters."""
    return (1 + _ADAM) * 4 * parameters


def estimate_module(
    model: nn.Module,
    forward: Callable[[], object],
    process_bytes: int,
    modules: Sequence[ModuleReport],
    beside: int = 0,
) -> MemoryEstimate:
    """Estimate a step of a small `model` that is in memory already, by running it `forward`.

    `beside` are bytes of weights that stand beside the model.
    """
    return MemoryEstimate(
        weights=sum(parameter.nbytes for parameter in model.parameters()) + beside,
        trained=optimizer_bytes(sum(p.numel() for p in model.parameters() if p.requires_grad)),
        activations=activation_bytes(model, forward),
        process_bytes=process_bytes,
        modules=tuple(modules),
    )


def activation_bytes(model: nn.Module, forward: Callable[[], object]) -> int:
    """Measure what the backward pass of `forward` needs, the weights of `model` aside."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    sizes: dict[int, int] = {}  # by storage

    def measure(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            sizes[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(measure, lambda tensor: tensor):
        forward()
    return sum(sizes.values())


def available(device: torch.device) -> int:
    """Measure the bytes that a training may take on `device`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return int(psutil.virtual_memory().available)


def own_memory() -> int:
    """Measure the bytes of this process, without pages of files, which the system may drop."""
    return int(psutil.Process().memory_full_info().uss)


def gigabytes(count: int) -> str:
    """Write a number of bytes in gigabytes."""
    return f"{count / 1e9:.1f} GB"
