"""The process of `vqa`, of `python -m vqa` and of `accelerate launch -m vqa`."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    """Take signals and streams before anything else is loaded, then run the command."""
    from vqa.utils import streams
    from vqa.utils.stopping import SIGNALS

    streams.occupy_closed()
    SIGNALS.install()  # for good: Python's own end takes a while, too
    SIGNALS.idle()
    from vqa.cli import main as run

    run()


if __name__ == "__main__":
    # `-m` puts the working directory first, where a user may have an `app.py` or `training/` of
    # their own. It stays where this package lies in it: in a checkout that is not installed.
    if sys.path[0] == os.getcwd() != str(Path(__file__).resolve().parents[1]):
        del sys.path[0]

    main()
