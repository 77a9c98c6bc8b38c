import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from training.mix.composed import Scene, draw, scenes
from training.mix.picture import Label, Picture
from training.mix.questions.counts import count_questions

COLORS = {"anchor": "red", "cup": "lime", "watch": "blue", "fan": "yellow", "sign": "purple"}
COLORS |= {"camera": "black", "car": "cyan", "scissors": "pink"}


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    root = tmp_path_factory.mktemp("things")
    pictures = []
    for name, color in COLORS.items():
        for i in range(8):
            path = root / f"{name}{i}.png"
            Image.new("RGB", (90, 60 + 10 * i), color).save(path)
            category = "vehicle" if name == "car" else "thing"
            pictures.append(Picture(path, "things", label=Label(name, name, category)))
    return pictures


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Picture]:
    path = tmp_path_factory.mktemp("places") / "street.png"
    Image.new("RGB", (50, 400), "orange").save(path)
    return [Picture(path, "places", scene="street")]


@pytest.fixture(scope="module")
def planned(things: list[Picture], places: list[Picture]) -> list[Scene]:
    return scenes(things, places, 60, random.Random(0))


def _seen(image: Image.Image, color: str) -> int:
    """How many separate areas of about this colour there are."""
    same = (np.asarray(image) == ImageColor.getrgb(color)).all(-1)
    left = {(int(y), int(x)) for y, x in np.argwhere(same)}
    areas = 0
    while left:
        areas += 1
        edge = [left.pop()]
        while edge:
            y, x = edge.pop()
            for near in ((y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)):
                if near in left:
                    left.remove(near)
                    edge.append(near)
    return areas


def test_the_picture_shows_as_many_as_its_boxes_say(planned: list[Scene]) -> None:
    for scene in planned[:12]:
        image = draw(scene)
        for name, many in Counter(box.name for box in scene.picture.boxes).items():
            assert _seen(image, COLORS[name]) == many


def test_every_number_is_asked_for_and_answered(planned: list[Scene]) -> None:
    rng = random.Random(0)
    answers = Counter(
        question.about for scene in planned for question in count_questions(scene.picture, rng)
    )
    assert set(answers) == set("123456")
    assert min(answers.values()) >= 9


def test_what_a_place_may_show_too_is_not_counted_before_one(
    planned: list[Scene], places: list[Picture]
) -> None:
    with_cars = [s for s in planned if "car" in {box.name for box in s.picture.boxes}]
    assert with_cars
    assert all(isinstance(scene.background, str) for scene in with_cars)
    assert any(scene.background == places[0].path for scene in planned)


def test_only_what_has_a_number_is_counted(planned: list[Scene]) -> None:
    assert "scissors" not in {name for s in planned for name in s.picture.annotated}


def test_the_same_seed_gives_the_same_pictures(
    things: list[Picture], places: list[Picture], planned: list[Scene]
) -> None:
    again = scenes(things, places, 60, random.Random(0))
    assert again == planned
    assert draw(again[0]).tobytes() == draw(planned[0]).tobytes()


def test_too_few_kinds_of_things_give_no_pictures(things: list[Picture]) -> None:
    anchors = [thing for thing in things if thing.label and thing.label.name == "anchor"]
    assert scenes(anchors, [], 5, random.Random(0)) == []


def test_tiles_lie_on_the_canvas_and_apart(planned: list[Scene]) -> None:
    for scene in planned:
        spans = [(t.left, t.top, t.left + t.side, t.top + t.side) for t in scene.tiles]
        for index, (left, top, right, bottom) in enumerate(spans):
            assert min(left, top) >= 0 and max(right, bottom) <= 320
            for other in spans[:index]:
                apart = right <= other[0] or other[2] <= left
                assert apart or bottom <= other[1] or other[3] <= top


def test_paths_are_those_of_the_rows(planned: list[Scene]) -> None:
    assert planned[3].picture.path == Path("composed/00003.jpg")
