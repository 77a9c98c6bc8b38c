"""Answers from a closed set, by co-attention between a picture's patches and a question's tokens.

After ViLBERT (Lu et al. 2019, arXiv:1908.02265) and LXMERT (Tan and Bansal 2019,
arXiv:1908.07490), on patch features of a frozen encoder instead of detected regions. It knows no
answer that training has not seen often enough, and is many times faster than a language model.
"""

from __future__ import annotations

import json
from pathlib import Path

MODEL_TYPE = "vqa_fusion"


def is_fusion(name: str | Path) -> bool:
    """Whether `name` is the directory of a fusion model; loads nothing."""
    try:
        config = json.loads((Path(name) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE
