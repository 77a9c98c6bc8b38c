"""Covered pictures, and the scores that come from them, against answerers of a few lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from vqa.answering import Request
from vqa.explain import Explanation, explain
from vqa.explain.covering import answer_log_probs, cover_cells, mean_colour, with_pictures
from vqa.explain.faithfulness import faithfulness
from vqa.explain.overlay import overlay
from vqa.explain.regions import Region, RelevanceMap
from vqa.inputs.prompts import Message


class Corner:
    """Believes "yes" as far as the upper left quarter of the last picture is red."""

    name = "corner"

    def score_choices(
        self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        return [[self._log(r) for _ in texts] for r, texts in zip(requests, choices, strict=True)]

    def _log(self, request: Request) -> float:
        pixels = np.asarray(request.messages[-1].images[-1], float)
        rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
        red = pixels[:rows, :columns, 0] - pixels[:rows, :columns, 2]
        return math.log(0.02 + 0.96 * float(np.clip(red / 255, 0, 1).mean()))


class Nervous(Corner):
    """Less sure, too, the less there is to see in the lower right quarter."""

    name = "nervous"

    def _log(self, request: Request) -> float:
        pixels = np.asarray(request.messages[-1].images[-1], float)
        rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
        covered = (pixels[rows:, columns:, 0] > 0).mean()  # it is blue, and the cover is not
        return super()._log(request) - float(covered)


def _request(pictures: int = 1) -> Request:
    picture = Image.new("RGB", (80, 48), "blue")
    picture.paste("red", (0, 0, 40, 24))
    other = Image.new("RGB", (30, 60), "green")
    images = (*[other] * (pictures - 1), picture)
    return Request((Message("user", "Is it red?", images),))


def _ignore(*_: object) -> None:
    pass


def test_cells_are_covered_and_nothing_else() -> None:
    picture, cover = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (40, 20), "blue")
    mask = np.zeros((2, 4), bool)
    mask[1, 2] = True
    pixels = np.asarray(cover_cells(picture, cover, Region(), mask))
    blue = pixels[..., 2] > 0
    assert blue[10:, 20:30].all() and blue.sum() == 100
    middle = np.asarray(
        cover_cells(picture, cover, Region(0.25, 0, 0.75, 1), np.ones((1, 1), bool))
    )
    assert (middle[:, 10:30, 2] > 0).all() and (middle[..., 2] > 0).sum() == 400
    beyond = cover_cells(picture, cover, Region(0, -0.5, 1, 1.5), np.array([[True], [False]]))
    assert (np.asarray(beyond)[:10, :, 2] > 0).all() and (np.asarray(beyond)[10:, :, 0] > 0).all()
    assert picture.getpixel((25, 15)) == (255, 0, 0)  # the picture itself stays


def test_the_cover_is_the_mean_colour() -> None:
    pixels = np.unique(
        np.asarray(mean_colour(_request().messages[0].images[0])).reshape(-1, 3), axis=0
    )
    assert pixels.tolist() == [[63, 0, 191]]  # a quarter red, the rest blue


def test_pictures_are_exchanged_where_they_were() -> None:
    a, b, c = (Image.new("RGB", (4, 4), name) for name in ("red", "lime", "blue"))
    request = Request((Message("user", "?", (a,)), Message("assistant", "!"), Message("user", "?")))
    replaced = with_pictures(request, [b])
    assert replaced.messages[0].images == (b,) and replaced.messages[2].images == ()
    two = with_pictures(_request(2), [b, c])
    assert two.messages[0].images == (b, c)


def test_long_answers_are_not_less_likely() -> None:
    request = _request()
    pictures = list(request.messages[0].images)
    (one,) = answer_log_probs(Corner(), request, "yes", [pictures], _ignore)
    (many,) = answer_log_probs(Corner(), request, "yes it is", [pictures], _ignore)
    assert one == pytest.approx(2 * many)


def test_occlusion_finds_the_corner() -> None:
    explanation = explain(Corner(), _request(), "yes", by="occlusion")
    (one,) = explanation.maps
    assert one.values.shape == (8, 8) and one.region == Region()
    assert one.values[:4, :4].sum() > 0.7 * one.values.sum()
    assert one.values[6:].max() == one.values[:, 6:].max() == 0
    assert explanation.scores is not None and explanation.warning is None
    assert explanation.scores.deletion < explanation.scores.random_deletion
    assert explanation.scores.insertion > explanation.scores.random_insertion


def test_occlusion_leaves_out_what_alone_does_not_give_the_answer() -> None:
    """Covering the lower right costs something, but seeing it alone would not make a red corner."""
    (one,) = explain(Nervous(), _request(), "yes", by="occlusion").maps
    assert one.values[:4, :4].sum() > 0.7 * one.values.sum()


def test_each_picture_has_its_map() -> None:
    explanation = explain(Corner(), _request(2), "yes", by="occlusion", grid=4)
    assert [one.values.shape for one in explanation.maps] == [(4, 4), (4, 4)]
    assert explanation.maps[0].values.max() == 0 < explanation.maps[1].values.max()
    assert [one.size for one in explanation.maps] == [(30, 60), (80, 48)]
    over = explanation.maps[1].over_picture()
    assert over.shape == (48, 80) and over[:24, :40].sum() > over.sum() / 2


def test_a_map_that_misses_is_worse_than_random_and_said_to_be() -> None:
    values = np.zeros((8, 8))
    values[4:, 4:] = 1
    wrong, right = (
        faithfulness(Corner(), _request(), "yes", [RelevanceMap(v, Region(), (80, 48))], _ignore)
        for v in (values, np.rot90(values, 2))
    )
    assert not wrong.better_than_random and right.better_than_random
    assert wrong.random_deletion == right.random_deletion
    assert right.deletion < wrong.deletion and right.insertion > wrong.insertion


def test_a_map_has_to_beat_the_best_random_one() -> None:
    """Their mean is beaten by half of all random maps."""
    values = np.zeros((8, 8))
    values[:2, :2] = 1  # a quarter of the corner that counts
    one = faithfulness(
        Corner(), _request(), "yes", [RelevanceMap(values, Region(), (80, 48))], _ignore
    )
    assert one.best_random > one.random_insertion - one.random_deletion
    gap = one.insertion - one.deletion
    assert not replace(one, best_random=gap).better_than_random
    assert replace(one, best_random=gap - 0.01).better_than_random


def test_an_empty_map_says_that_it_explains_nothing() -> None:
    empty = RelevanceMap(np.zeros((8, 8)), Region(), (80, 48))
    scores = faithfulness(Corner(), _request(), "yes", [empty], _ignore)
    for one in (scores, None):  # ties are broken by chance, which may look like knowledge
        assert "explains nothing" in (Explanation("occlusion", "yes", (empty,), one).warning or "")


def test_a_map_is_bright_where_it_lies_over_the_picture() -> None:
    values = np.zeros((4, 4))
    values[0, 0] = 1
    picture = Image.new("RGB", (60, 40), "white")
    for region in (Region(), Region(0.5, 0.0, 1.0, 1.0)):
        drawn = np.asarray(overlay(picture, RelevanceMap(values, region, (600, 400))), int)
        at = int(60 * region.left) + 2
        assert drawn.shape == (40, 60, 3)
        assert np.ptp(drawn[2, at]) > 60  # a colour
        assert np.ptp(drawn[38, 2]) < 10  # grey


def test_the_highest_place_of_all_maps_is_one() -> None:
    maps = tuple(RelevanceMap(np.full((2, 2), value), Region(), (4, 4)) for value in (2.0, 4.0))
    relative = Explanation("attention", "yes", maps, None).relative_maps
    assert [one.values.max() for one in relative] == [0.5, 1.0]


def test_an_answerer_reads_as_many_versions_at_once_as_wanted() -> None:
    class Counting(Corner):
        most = 0

        def score_choices(
            self, requests: Sequence[Request], choices: Sequence[Sequence[str]]
        ) -> list[list[float]]:
            self.most = max(self.most, len(requests))
            return super().score_choices(requests, choices)

    for at_once in (1, 5):
        answerer = Counting()
        explain(answerer, _request(), "yes", by="occlusion", grid=4, at_once=at_once)
        assert answerer.most == at_once


def test_progress_counts_every_look() -> None:
    progress: list[tuple[int, int | None]] = []
    explain(
        Corner(), _request(), "yes", by="occlusion", grid=4, progress=lambda *p: progress.append(p)
    )
    assert progress[-1][0] == progress[-1][1] == 1 + 1 + 2 * 16 + 2 + 5 * 2 * 7
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
