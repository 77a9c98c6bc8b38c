"""The model that ships answers a file of questions, as `vqa predict` does."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from vqa.batches import Batches
from vqa.chat import Worker
from vqa.evaluation.predictions import read_predictions


@pytest.mark.weights
def test_the_model_that_ships_answers_a_file_and_goes_on_after_a_stop(
    examples: Path, tmp_path: Path
) -> None:
    from vqa.engine import LocalEngine
    from vqa.models.checkpoints import load

    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name in ("cat", "coffee"):
            archive.write(examples / f"{name}.jpg", f"{name}.jpg")
    questions = ["What animal is in the picture?", "Is there a cat?", "What is on the table?"]
    rows = [
        {"id": f"{name}-{n}", "image": f"{name}.jpg", "question": question}
        for name in ("cat", "coffee")
        for n, question in enumerate(questions)
    ]
    data = io.BytesIO("\n".join(map(json.dumps, rows)).encode())
    with Worker(LocalEngine(load("embedded"))) as worker:
        batches = Batches(tmp_path, lambda: worker)
        key = batches.start("ann", "q.jsonl", data, zipped, max_new_tokens=16)
        batches.stop("ann", key)
        batches.wait(key)
        assert batches.run("ann", key).state == "stopped"
        batches.go_on("ann", key)
        batches.wait(key)
        run = batches.run("ann", key)
    assert (run.state, run.reason, run.done, run.errors) == ("done", "", 6, 0)
    predictions = read_predictions(batches.store.predictions(run))
    assert "cat" in (predictions["cat-0"].text or "").lower()
    assert all(0 < (one.probability or 0) <= 1 for one in predictions.values())
