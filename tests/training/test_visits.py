"""Visits of pictures: how many a run makes, and which of a picture's questions each of them has."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.tiny import llava_1_5
from training.run import run
from training.sft.data import SftPlan
from training.sft.finetune import FinetuneRecipe
from training.sft.settings import FinetuneSettings

Settings = dict[str, Any]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Photos with five questions each, drawings with two, one of them in a conversation."""
    rows = []
    for source, pictures, questions in (("photos", 6, 5), ("drawings", 4, 2)):
        for index in range(pictures):
            Image.new("RGB", (20, 20 + index), "red").save(tmp_path / f"{source}{index}.png")
            for number in range(questions):
                rows.append(
                    {"id": len(rows), "image": f"{source}{index}.png", "source": source,
                     "question": f"Question {number}?", "answer": str(number)}
                )  # fmt: skip
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "recipe": "finetune", "model": str(llava_1_5(tmp_path / "model")), "data": str(path),
        "output": str(tmp_path / "run"), "row_tokens": 256, "rows_per_step": 1, "dtype": "float32",
        "device": "cpu", "validation": {"share": 0},
    }  # fmt: skip


def planned(settings: Settings, **changes: Any) -> SftPlan:
    return FinetuneRecipe(FinetuneSettings.model_validate(settings | changes)).plan()


def visits(plan: SftPlan) -> list[tuple[str, list[str]]]:
    """The picture of each visit, and its questions, in the order in which a run makes them."""
    result = []
    for group in plan.layout.groups:
        rows = plan.groups[group]
        examples = list(plan.tokens.examples(rows))
        assert len({example.images for example in examples}) == 1
        result.append(
            (Path(examples[0].images[0]).name, [example.question for example in examples])
        )
    return result


def test_a_visit_has_so_many_questions_at_most_and_the_next_one_others(settings) -> None:
    plan = planned(settings, questions_per_visit=2, epochs=3)

    made = visits(plan)

    assert {len(questions) for _, questions in made} <= {1, 2}
    photos = {f"photos{n}.png" for n in range(6)}
    for picture in photos:
        asked = [questions for name, questions in made if name == picture]
        assert [len(questions) for questions in asked] == [2, 2, 1]
        assert len({question for questions in asked for question in questions}) == 5
    first = [{name for name, _ in made[start : start + 10]} for start in (0, 10, 20)]
    assert all(len(names) == 10 for names in first)  # each picture once an epoch


def test_which_questions_come_first_hangs_on_the_seed_alone(settings) -> None:
    plans = [planned(settings, questions_per_visit=2, epochs=2, seed=seed) for seed in (1, 1, 2)]
    one, again, other = ([tuple(map(str, visit)) for visit in visits(plan)] for plan in plans)
    assert one == again
    assert sorted(one) != sorted(other)


def test_without_a_bound_a_visit_has_all_questions_in_their_order(settings) -> None:
    made = dict(visits(planned(settings)))
    assert made["photos3.png"] == [f"Question {number}?" for number in range(5)]
    assert len(made) == 10


def test_repeat_counts_visits_which_go_on_with_the_next_questions(settings) -> None:
    plan = planned(settings, questions_per_visit=3, repeat={"photos": 2, "drawings": 0.5})
    made = visits(plan)
    assert Counter(name[:6] for name, _ in made) == {"photos": 12, "drawin": 2}
    for n in range(6):
        asked = [question for name, both in made if name == f"photos{n}.png" for question in both]
        assert sorted(asked) == [f"Question {number}?" for number in range(5)]


def test_a_later_start_with_more_epochs_makes_the_same_visits_first(settings) -> None:
    short, long = (
        visits(planned(settings, questions_per_visit=2, epochs=epochs)) for epochs in (1, 2)
    )
    assert long[: len(short)] == short


def test_questions_that_need_a_second_row_count_as_visits_of_their_own(settings) -> None:
    plan = planned(settings, questions_per_visit=5, row_tokens=64, epochs=4)
    made = visits(plan)
    asked = [len(questions) for name, questions in made if name == "photos0.png"]
    assert len(asked) == 4 and max(asked) < 5


@pytest.mark.parametrize("bound", [None, 2])
def test_the_plan_counts_pictures_and_visits_of_each_set(settings, bound) -> None:
    changes = {"questions_per_visit": bound, "repeat": {"photos": 2, "drawings": 0.5}}
    plan = planned(settings, **changes)

    photos, drawings = plan.sets()

    assert (photos.name, photos.pictures, photos.visited) == ("photos", 6, 6)
    assert (photos.visits, photos.most) == (12, 2)
    assert (drawings.name, drawings.pictures, drawings.visited) == ("drawings", 4, 2)
    assert drawings.questions == 4
    assert photos.questions == (24 if bound else 60)  # the third visit would have the fifth


def test_pictures_that_are_seen_together_count_each(settings) -> None:
    data = Path(settings["data"])
    rows = [
        {"id": n, "images": ["photos0.png", f"photos{n}.png"], "question": "Which?",
         "answer": "left"} for n in (1, 2)
    ]  # fmt: skip
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (only,) = planned(settings).sets()
    assert (only.name, only.pictures, only.visits, only.most) == ("", 3, 4, 2)


def test_a_run_tells_the_visits_before_it_starts_and_its_card_after(
    settings, tmp_path, capsys
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(settings | {"questions_per_visit": 2, "max_steps": 2}))

    run(str(path), dry_run=True)
    before = capsys.readouterr()
    run(str(path))

    for text in (before.out + before.err, capsys.readouterr().err):
        assert "photos" in text and "drawings" in text and "visits" in text
    card = (tmp_path / "run" / "README.md").read_text()
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())["sets"]
    photos = next(one for one in recorded if one["name"] == "photos")
    assert f"| photos | {photos['visited']} of 6 |" in card
