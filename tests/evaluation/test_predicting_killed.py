"""Killed with SIGKILL at random moments and started again: the file of an unbroken run."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from tests.cli.run import environment

_ROWS = 60
# Every answer tells what else was asked in its batch: another plan would give other answers.
_CHILD = """
import hashlib, sys, time
from pathlib import Path
from vqa.answering import Answer, SamplingParams
from vqa.data import read
from vqa.evaluation.predicting import predict

class Slow:
    name = "slow"
    def answer(self, requests, cancel=None):
        together = "|".join(
            f"{r.messages[0].text}{r.messages[0].images[0].getpixel((0, 0))}" for r in requests
        )
        time.sleep(0.02)
        digest = hashlib.sha256(together.encode()).hexdigest()
        return [Answer(digest + " " + r.messages[0].text + " é" * 200, "stop", 0.5)
                for r in requests]

data, out = map(Path, sys.argv[1:])
print("began", flush=True)
rows = list(read(data, need_answers=False))
predict(Slow(), rows, out, SamplingParams(), identity="m", batch_size=4)
"""


def start(data: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _CHILD, str(data), str(out)]
    return subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(data: Path, out: Path) -> list[bytes]:
    """The sorted lines after a run to the end."""
    child = start(data, out)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    return sorted(
        out.read_bytes().splitlines(keepends=True), key=lambda line: json.loads(line)["id"]
    )


def test_killed_at_random_moments_gives_the_same_file(tmp_path: Path) -> None:
    for index in range(_ROWS // 3):
        image = Image.new("RGB", (8, 8), (index, 0, 0))
        image.save(tmp_path / f"{index}.png")
    (tmp_path / "5.png").write_bytes(b"broken")
    rows = [{"id": i, "image": f"{i % 20}.png", "question": f"q{i}"} for i in range(_ROWS)]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = finish(data, tmp_path / "whole.jsonl")
    assert len(whole) == _ROWS and sum(b'"error"' in line for line in whole) == 3
    chance = random.Random(int.from_bytes(os.urandom(4)))
    out = tmp_path / "parts.jsonl"
    for _ in range(6):
        before = size_of(out)
        child = start(data, out)
        assert child.stdout is not None and child.stdout.readline() == "began\n"
        # at the start, or when some more batches (3,000 bytes each) are there
        more = chance.choice([-1, 0, 6000, 9000])
        while size_of(out) - before <= more and child.poll() is None:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.03))
        child.kill()
        child.communicate()
        # what a power cut could leave besides: a line that is not whole
        if size_of(out) > 40 and chance.random() < 0.5:
            os.truncate(out, size_of(out) - chance.randrange(1, 40))
    assert size_of(out) > 0
    assert finish(data, out) == whole


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
