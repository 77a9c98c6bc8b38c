"""The names that `from vqa import ...` gives, and the Python of the README as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import vqa
from tests import tiny
from vqa.errors import InputError

ROOT = Path(__file__).parents[1]


def test_load_and_ask(tmp_path: Path) -> None:
    model = vqa.load(str(tiny.llava_1_5(tmp_path / "model")), device="cpu")
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    one = vqa.ask(model, "What is it?", tmp_path / "red.png", max_new_tokens=3)
    assert one.new_tokens <= 3 and one.image_tokens
    same = vqa.ask(model, "What is it?", Image.new("RGB", (30, 20), "red"), max_new_tokens=3)
    assert same.text == one.text
    assert vqa.ask(model, "Hello?", max_new_tokens=3).image_tokens == 0
    with pytest.raises(InputError, match="no such file"):
        vqa.ask(model, "What is it?", tmp_path / "none.png")
    assert set(vqa.__all__) == {"__version__", "ask", "load"}


@pytest.mark.weights
@pytest.mark.parametrize(
    "name", ["README.md", pytest.param("README.zh.md", marks=pytest.mark.slow)]
)
def test_the_readmes_python(name: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cat 0.9") and "Answer(" in done.stdout
