"""Planning a run on a large table: memory does not grow with the text of its rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny import llava_1_5

# Tokens are the questions' bytes: tokenizing takes no memory that stays, but time.
_GROWTH = """
import sys, threading
from pathlib import Path
import psutil
import training.sft.data
from training.sft.settings import FinetuneSettings
from training.sft.packing import EncodedExample
from vqa.models import checkpoints

def encode(example, processor, hints):
    ids = [*example.question.encode(), *example.answers[0].encode()]
    loss_mask = [False] * (len(ids) - 2) + [True] * 2
    return EncodedExample(tuple(map(str, example.images)), ids, loss_mask)

training.sft.data.encode_example = encode
config, processor = checkpoints.load_config_and_processor(sys.argv[3])
process, most, end = psutil.Process(), [0], threading.Event()

def own():
    info = process.memory_info()
    return info.rss - info.shared

def watch():
    while not end.wait(0.01):
        most[0] = max(most[0], own())

def plan(path):
    settings = FinetuneSettings(recipe="finetune", model=sys.argv[3], data=path, output="unused")
    return training.sft.data.plan_rows(
        settings, training.sft.data.llava_encoder(config, processor)
    )

plan(Path(sys.argv[1]))
before = own()
threading.Thread(target=watch, daemon=True).start()
planned = plan(Path(sys.argv[2]))
assert len(planned.pictures()) == 40
end.set()
assert len(planned.train_rows) > 80_000
print(most[0] - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="shared pages are counted apart on Linux")
def test_memory_of_a_large_table(tmp_path: Path) -> None:
    """100,000 rows; those of 300 MB are at most 30 times as many."""
    for n in range(40):
        Image.new("RGB", (8, 8), (6 * n, 0, 0)).save(tmp_path / f"{n}.png")
    for name, count in (("small", 1_000), ("large", 100_000)):
        with (tmp_path / f"{name}.csv").open("w") as file:
            file.write("id,image,question,answer\n")
            for n in range(count):
                question = f"What, of number {n}, is the thing that one sees on the left of it?"
                file.write(f'row-{n:08},{n % 40}.png,"{question}",thing {n % 5000}\n')
    model = llava_1_5(tmp_path / "model")
    command = [sys.executable, "-c", _GROWTH, tmp_path / "small.csv", tmp_path / "large.csv", model]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) * 30 < 200e6, done.stdout
