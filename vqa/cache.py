"""The user's cache directory, for what can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_directory() -> Path:
    """Where models and pictures are kept for this user; VQA_CACHE names another place."""
    import platformdirs

    return Path(os.environ.get("VQA_CACHE") or platformdirs.user_cache_dir("vqa")).absolute()
