"""Which model to load, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Choice:
    """The arguments of `vqa.checkpoints.load`."""

    name: str = "embedded"
    adapter: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    quantize: Literal["4bit", "8bit"] | None = None
