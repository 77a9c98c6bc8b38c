"""The process that computes what strangers' files ask for, where the program ends meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from vqa.errors import InputError
from vqa.utils import sandbox

_ENDS_AT_ONCE = """
import sys, time
from pathlib import Path
from vqa.utils.sandbox import TokenizerCheck
TokenizerCheck(Path(sys.argv[1]))
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.001, 0.002, 0.005, 0.02, 0.1, 0.2])
def test_a_program_that_ends_while_a_tokenizer_is_tried_says_nothing(
    tmp_path: Path, seconds: float
) -> None:
    model = tiny.llava_1_5(tmp_path / "model")
    command = [sys.executable, "-c", _ENDS_AT_ONCE, str(model / "tokenizer.json"), str(seconds)]
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == "" and done.stdout == ""


def test_a_trial_that_cannot_be_made_refuses_the_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sandbox._SANDBOX, "run", fail)
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="it cannot be checked: can't start new thread"):
        sandbox.TokenizerCheck(path).result()
