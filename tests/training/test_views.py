"""Views of training pictures: parts and mirror images, the same ones each time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tiny import llava_1_5
from tests.training.conftest import Config
from training.common.recipe import PreparedRun
from training.common.rows import TrainRows
from training.common.settings import AugmentSettings
from training.common.views import WHOLE, View, draw_view
from training.run import run
from training.sft.data import SftPlan, llava_encoder, plan_rows
from training.sft.finetune import FinetuneRecipe
from training.sft.settings import FinetuneSettings
from vqa.errors import InputError
from vqa.models.checkpoints import load

AUGMENT = AugmentSettings(views=8, smallest=0.5, whole=("drawn",), mirror=("photos",))
SLOPE = Image.fromarray(np.tile(np.arange(100, dtype=np.uint8), (50, 1)))  # grows to the right


def views(*sources: str) -> list[View]:
    return [
        draw_view(number, content, sources, AUGMENT) for content in "abcdef" for number in range(8)
    ]


def test_a_view_keeps_the_share_that_is_asked_for() -> None:
    for view in views("rooms"):
        assert 0 <= view.left < view.right <= 1 and 0 <= view.top < view.bottom <= 1
        assert view.right - view.left >= 0.5 and view.bottom - view.top >= 0.5
        width, height = view(SLOPE).size
        assert 50 <= width <= 100 and 25 <= height <= 50


def test_views_differ_and_are_the_same_again() -> None:
    assert views("rooms") == views("rooms")
    assert len(set(views("rooms"))) == 6 * 7 + 1  # number 0 is the whole picture for all of them


def test_only_named_sources_are_mirrored_or_left_whole() -> None:
    assert not any(view.mirrored for view in views("rooms"))
    assert 10 < sum(view.mirrored for view in views("photos")) < 32
    assert set(views("drawn")) == {WHOLE}


def test_rows_of_several_sources_lose_nothing_that_one_of_them_needs() -> None:
    assert not any(view.mirrored for view in views("photos", "rooms"))
    assert {replace(view, mirrored=False) for view in views("photos", "drawn")} == {WHOLE}


def test_all_sources_may_be_mirrored() -> None:
    all_ = AugmentSettings(views=8, mirror=True)
    assert {draw_view(number, "a", [""], all_).mirrored for number in range(8)} == {False, True}


def test_a_mirrored_part_shows_what_it_says() -> None:
    pixels = np.asarray(View(0.2, 0, 0.6, 1, mirrored=True)(SLOPE))

    assert pixels.shape == (50, 40) and list(pixels[0, [0, -1]]) == [59, 20]


@pytest.fixture
def noise(data: Path) -> Path:
    """The data, with pictures that look different in every part."""
    for index in range(8):
        values = np.random.default_rng(index).integers(256, size=(30, 30, 3), dtype=np.uint8)
        Image.fromarray(values).save(data.parent / f"{index}.png")
    return data


def settings_of(data: Path, **more: object) -> FinetuneSettings:
    return FinetuneSettings.model_validate(
        {"recipe": "finetune", "model": "-", "data": data, "output": data.parent / "run",
         "row_tokens": 128, "rows_per_step": 1, "validation": {"share": 0.25}} | more
    )  # fmt: skip


def pictures_of(rows: TrainRows) -> set[tuple[float, ...]]:
    return {
        tuple(picture.flatten().tolist())
        for number in range(len(rows))
        for picture in rows[number]["pixel_values"]
    }


@pytest.mark.parametrize("pixels", [False, True])
def test_training_sees_the_views_and_validation_the_whole(
    tmp_path: Path, noise: Path, pixels: bool
) -> None:
    model = {"model": str(llava_1_5(tmp_path / "model")), "dtype": "float32", "device": "cpu"}
    augment = {"views": 3, "smallest": 0.5, "mirror": ["colours"]}

    def prepared(**more: object) -> PreparedRun:
        train = {"vision": pixels}
        recipe = FinetuneRecipe(settings_of(noise, epochs=4, train=train, **model, **more))
        plan = recipe.plan()
        return recipe.prepare(plan, recipe.build(plan))

    plain, augmented, again = (
        prepared(**more) for more in ({}, {"augment": augment}, {"augment": augment})
    )

    assert plain.validation is not None and augmented.validation is not None
    measured = pictures_of(augmented.validation.rows)
    assert len(measured) == 2 and measured == pictures_of(plain.validation.rows)
    assert len(pictures_of(plain.train)) == 6
    assert 6 < len(pictures_of(augmented.train)) <= 18
    assert pictures_of(augmented.train) == pictures_of(again.train)


def test_pictures_of_one_question_lose_the_same_sides(tmp_path: Path, noise: Path) -> None:
    row = {
        "image": ["0.png", "1.png"],
        "question": "Which is redder?",
        "answer": "0",
        "source": "s",
    }
    noise.write_text("".join(json.dumps(row | {"id": number}) + "\n" for number in range(4)))
    loaded = load(str(llava_1_5(tmp_path / "model")), dtype="float32", device="cpu")
    more = {"augment": {"views": 9, "mirror": True}, "validation": {"share": 0}, "epochs": 9}

    planned = plan_rows(
        settings_of(noise, **more), llava_encoder(loaded.model.config, loaded.processor)
    )

    each: dict[Path, set[View]] = {}
    for path, view in planned.pictures().values():
        each.setdefault(path, set()).add(view)
    assert len(each) == 2 and len(set(map(frozenset, each.values()))) == 1


def test_a_short_run_looks_at_what_it_needs_and_a_long_one_draws_anew(
    tmp_path: Path, noise: Path
) -> None:
    loaded = load(str(llava_1_5(tmp_path / "model")), dtype="float32", device="cpu")

    def planned(steps: int) -> SftPlan:
        more = {"augment": {"views": 9}, "max_steps": steps, "validation": {"share": 0}}
        return plan_rows(
            settings_of(noise, **more), llava_encoder(loaded.model.config, loaded.processor)
        )

    short, long = planned(1), planned(60)
    assert (len(short.layout), len(long.layout)) == (1, 60)
    assert len(short.pictures()) == len(short.layout[0])
    assert len(long.pictures()) > 30  # of 72: one pass has no more than 8
    assert set(short.pictures()) < set(long.pictures())


@pytest.mark.parametrize("steps", [1, 20])  # within one pass through the data, and several
def test_a_run_with_views_trains_to_its_end(
    tmp_path: Path, noise: Path, config: Config, steps: int
) -> None:
    with noise.open("a") as file:  # only text
        file.write(
            json.dumps({"id": "chat", "image": [], "question": "Who?", "answer": "Me."}) + "\n"
        )
    written = config(
        recipe="finetune", model=llava_1_5(tmp_path / "model"), data=noise,
        output=tmp_path / "run", augment={"views": 9}, max_steps=steps, validation={"share": 0},
    )  # fmt: skip

    run(written)

    assert (tmp_path / "run" / "adapter_config.json").is_file()


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path, data: Path, config: Config) -> None:
    written = config(
        recipe="finetune", model=llava_1_5(tmp_path / "model"), data=data,
        output=tmp_path / "run", max_steps=2, validation={"share": 0},
    )  # fmt: skip
    run(written)
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    del record["settings"]["augment"]
    path.write_text(json.dumps(record))

    run(written, ["max_steps=4"])
    assert json.loads(path.read_text())["settings"]["max_steps"] == 4

    with pytest.raises(InputError, match="holds a run with augment="):
        run(written, ["max_steps=6", "augment.views=2"])


def test_an_unknown_source_is_refused(tmp_path: Path, data: Path, config: Config) -> None:
    written = config(
        recipe="finetune", model=llava_1_5(tmp_path / "model"), data=data, output=tmp_path / "run",
        augment={"mirror": ["color"]},
    )  # fmt: skip

    with pytest.raises(InputError, match=r"augment\.mirror: no row of .* has the source color"):
        run(written)
