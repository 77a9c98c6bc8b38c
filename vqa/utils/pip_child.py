"""Run pip for `vqa.utils.wheels` in a process of its own: nothing of this package is imported here.

It ends with the process that holds the other end of its input, even where that one is killed, and
writes no file beyond a limit: `python -P pip_child.py BYTES ARGUMENTS...`.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import threading


def main() -> None:
    """Limit this process, then be pip."""
    _, limit, *arguments = sys.argv
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    sys.argv = ["pip", *arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)


def _end_with_the_parent() -> None:
    while os.read(0, 1):  # nothing is ever written there: it ends when the writing end is closed
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
