"""`python -m vqa`, and `accelerate launch -m vqa`: the same as the `vqa` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # `-m` puts the working directory first, where a user may have an `app.py` or `training/` of
    # their own. It stays where this package lies in it: in a checkout that is not installed.
    if sys.path[0] == os.getcwd() != str(Path(__file__).resolve().parents[1]):
        del sys.path[0]

    from vqa.cli import main

    main()
