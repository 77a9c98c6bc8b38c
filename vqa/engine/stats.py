"""What an engine has computed so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EngineStats:
    """Work done since the engine was made; what caches spared is not counted."""

    encoded_pictures: int = 0
    encoder_seconds: float = 0.0  # preparing pixels included
    prefilled_tokens: int = 0  # without padding
    decoded_tokens: int = 0  # forward passes of one new token each, summed over the sequences
