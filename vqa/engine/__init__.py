"""The answerers in this process: LLaVA by the own engine, any other model by `generate`."""

from __future__ import annotations

from vqa.engine.generate import GenerateAnswerer
from vqa.engine.local import LocalEngine

__all__ = ["GenerateAnswerer", "LocalEngine"]
