"""Weights that are no numbers, or too large for 16 bits, planted into tiny models."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file


def plant(directory: Path, part: str, value: float = float("nan")) -> str:
    """Set one weight of the first tensor whose name has `part` to `value`; returns its name."""
    for file in sorted(directory.glob("*.safetensors")):
        weights = load_file(file)
        for name in sorted(weights):
            if part in name:
                weights[name] = weights[name].clone()
                weights[name].view(-1)[0] = value
                save_file(weights, file, {"format": "pt"})
                return name
    raise AssertionError(f"{directory} has no {part}")
