"""Run the real command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from transformers.utils import logging

from vqa.cli import main

ROOT = Path(__file__).parents[2]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment, in which any directory can import the package."""
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "VQA_DEBUG": ""}
    return {**os.environ, **ours, **(extra or {})}


def vqa(
    *arguments: str | Path,
    cwd: Path | None = None,
    extra: Mapping[str, str] | None = None,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run `python -m vqa` with `arguments`."""
    return subprocess.run(
        [sys.executable, "-m", "vqa", *map(str, arguments)],
        cwd=cwd,
        env=environment(extra),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
    )


def vqa_here(
    capture: pytest.CaptureFixture[str], *arguments: str | Path
) -> subprocess.CompletedProcess[str]:
    """The same in this process, where torch is imported only once for all tests."""
    capture.readouterr()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # as the command sets it, before the library is imported
    try:
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
    finally:
        logging.set_verbosity(verbosity)
    code = ended.value.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(["vqa"], code, *capture.readouterr())


def refused(result: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The one line that a failed command has printed."""
    assert result.returncode == code, result
    assert result.stdout == "", result
    assert result.stderr.startswith("vqa: ") and result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr
