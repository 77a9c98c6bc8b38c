"""Views of training pictures: parts and mirror images, the same ones each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import llava_1_5
from tests.training.conftest import Config
from training.finetune import FinetuneSettings
from training.rows import plan, prepare
from training.settings import Augment
from training.views import WHOLE, View, view_of
from vqa.checkpoints import load
from vqa.cli import main

AUGMENT = Augment(views=8, smallest=0.5, whole=("drawn",), mirror=("photos",))
SLOPE = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8), (50, 1)))  # grows to the right


def drawn(source: str) -> list[View]:
    return [view_of(number, print_, source, AUGMENT) for print_ in "abcdef" for number in range(8)]


def test_a_view_keeps_the_share_that_is_asked_for() -> None:
    for view in drawn("rooms"):
        assert 0 <= view.left < view.right <= 1 and 0 <= view.top < view.bottom <= 1
        assert view.right - view.left >= 0.5 and view.bottom - view.top >= 0.5
        width, height = view(SLOPE).size
        assert 50 <= width <= 100 and 25 <= height <= 50


def test_views_differ_and_are_the_same_again() -> None:
    assert drawn("rooms") == drawn("rooms")
    assert len(set(drawn("rooms"))) == 6 * 7 + 1  # number 0 is the whole picture for all of them


def test_only_named_sources_are_mirrored_or_left_whole() -> None:
    assert not any(view.mirrored for view in drawn("rooms"))
    assert 10 < sum(view.mirrored for view in drawn("photos")) < 32
    assert set(drawn("drawn")) == {WHOLE}


def test_a_mirrored_part_shows_what_it_says() -> None:
    seen = np.asarray(View(0.2, 0, 0.6, 1, mirrored=True)(SLOPE))

    assert seen.shape == (50, 40) and list(seen[0, [0, -1]]) == [59, 20]


def test_training_sees_the_views_and_validation_the_whole(tmp_path: Path, data: Path) -> None:
    loaded = load(str(llava_1_5(tmp_path / "model")), dtype="float32", device="cpu")
    for index in range(8):  # pictures of one colour look the same in every part
        values = np.random.default_rng(index).integers(256, size=(30, 30, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"{index}.png")
    settings = FinetuneSettings.model_validate(
        {"recipe": "finetune", "model": "-", "data": data, "output": tmp_path / "run", "epochs": 4,
         "row_tokens": 128, "augment": {"views": 3, "smallest": 0.5, "mirror": ["colours"]},
         "validation": {"share": 0.25}}
    )  # fmt: skip

    for pixels in (False, True):
        prepared = prepare(settings, loaded.model, loaded.processor, pixels)
        assert prepared.validation is not None
        train, measured = (
            {
                tuple(picture.flatten().tolist())
                for row in (rows[number] for number in range(len(rows)))
                for picture in row["pixel_values"]
            }
            for rows in (prepared.train, prepared.validation.rows)
        )
        assert 6 < len(train) <= 18 and len(measured) == 2
        again = prepare(settings, loaded.model, loaded.processor, pixels)
        for name, value in again.train[0].items():
            torch.testing.assert_close(value, prepared.train[0][name], rtol=0, atol=0)


def test_a_short_run_needs_only_the_views_it_sees(tmp_path: Path, data: Path) -> None:
    loaded = load(str(llava_1_5(tmp_path / "model")), dtype="float32", device="cpu")
    settings = FinetuneSettings.model_validate(
        {"recipe": "finetune", "model": "-", "data": data, "output": tmp_path / "run", "epochs": 4,
         "row_tokens": 128, "augment": {"views": 9}}
    )  # fmt: skip

    planned = plan(settings, loaded.model.config, loaded.processor)

    assert 0 < len(set(planned.views_of(1))) < len(set(planned.views_of(len(planned.rows))))
    assert set(planned.views_of(10**6)) == set(planned.views_of(len(planned.rows)))


def test_an_unknown_source_is_refused(
    tmp_path: Path, data: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    written = config(
        recipe="finetune", model=llava_1_5(tmp_path / "model"), data=data, output=tmp_path / "run",
        augment={"mirror": ["color"]},
    )  # fmt: skip

    with pytest.raises(SystemExit) as ended:
        main(["train", written])

    assert ended.value.code == 2
    assert "augment.mirror: no row of" in capsys.readouterr().err
