"""easy-VQA as its package brings it."""

from __future__ import annotations

from collections import Counter

import pytest

from vqa.data import easy_vqa, read
from vqa.inputs.images import load_image


@pytest.mark.weights
def test_the_official_halves_are_read_whole() -> None:
    directory = easy_vqa.directory()
    halves = {name: list(read(directory / f"{name}.jsonl")) for name in ("train", "test")}
    assert {name: len(rows) for name, rows in halves.items()} == {"train": 38575, "test": 9673}
    pictures = {name: {row.images for row in rows} for name, rows in halves.items()}
    assert {name: len(paths) for name, paths in pictures.items()} == {"train": 4000, "test": 1000}
    answers = Counter(row.answers[0] for row in halves["train"])
    assert len(answers) == 13
    assert load_image(halves["test"][0].images[0]).size == (64, 64)
    assert easy_vqa.directory() == directory
