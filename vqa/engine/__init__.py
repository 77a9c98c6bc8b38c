"""The answerer in this process: any LLaVA model, in batches or streamed."""

from __future__ import annotations

from vqa.engine.local import LocalEngine

__all__ = ["LocalEngine"]
