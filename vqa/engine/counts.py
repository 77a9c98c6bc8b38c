"""What an engine has computed so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counts:
    """Work done since the engine was made; what caches spared is not in it."""

    encoded_pictures: int = 0
    encoder_seconds: float = 0.0  # preparing pixels included
    prefilled_tokens: int = 0  # padding not counted
    decoded_tokens: int = 0  # forward passes of one new token each, summed over the rows
