"""Sets of people's questions, counts in sentences, weather, materials; forms of answers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from training.mix.build import build, has_held_out_name
from training.mix.picture import Label, Picture
from training.mix.questions.conditions import condition_questions
from training.mix.questions.counts import count_questions
from training.mix.questions.instructions import (
    instructed,
    list_of_three,
    one_of,
    true_or_false,
    yes_no_or_unsure,
)
from training.mix.questions.people import people_questions
from training.mix.questions.presence import known
from training.mix.questions.wording import Question
from training.mix.readers import counted_csv, picture_lists
from training.mix.sets import SETS
from training.mix.settings import MixSettings
from vqa.errors import InputError


@pytest.mark.parametrize(
    ("sentence", "counts"),
    [
        ("the image contains one chair and two dogs", {"chair": 1, "dog": 2}),
        ("three sheeps in the image", {"sheep": 3}),
        ("two people, one tvmonitor and 12 pottedplants are present in the scene",
         {"person": 2, "television": 1, "potted plant": 12}),
        ("one diningtable, one motorbike and two sofas",
         {"dining table": 1, "motorcycle": 1, "couch": 2}),
    ],
)  # fmt: skip
def test_counts_in_sentences(sentence: str, counts: dict[str, int]) -> None:
    assert counted_csv.counts(sentence) == counts


@pytest.mark.parametrize("sentence", ["three unicorns in the image", "an empty scene", ""])
def test_sentences_that_count_nothing_known_are_refused(sentence: str) -> None:
    with pytest.raises(ValueError):
        counted_csv.counts(sentence)


def test_what_is_all_counted_is_there_or_not() -> None:
    kinds = frozenset(counted_csv.KINDS.values())
    picture = Picture(Path("a.avif"), "x", counted=(("dog", 2), ("person", 1)), kinds=kinds)
    facts = known(picture)
    assert facts.present == {"dog", "person"}
    assert facts.absent == kinds - {"dog", "person"}
    answers = {q.about: q.answers for q in count_questions(picture, random.Random(0), check=True)}
    assert answers == {"2": ("2", "two"), "1": ("1", "one")}


def test_label_csv(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("image,weather\na.jpg,rainy\n\nb.jpg,shine,more\n")
    rows = list(
        picture_lists.read_labels(table, tmp_path, lambda path, label: Picture(path, label))
    )
    assert [(row.path.name, row.source) for row in rows] == [("a.jpg", "rainy"), ("b.jpg", "shine")]
    table.write_text("image,weather\na.jpg\n")
    with pytest.raises(InputError, match=r"labels.csv:2: not a picture"):
        list(picture_lists.read_labels(table, tmp_path, lambda path, label: Picture(path, label)))
    table.write_text("image,weather\n../a.jpg,rainy\n")
    with pytest.raises(InputError, match=r"labels.csv:2"):
        list(picture_lists.read_labels(table, tmp_path, lambda path, label: Picture(path, label)))


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A pair of files as VQA v2 publishes them."""
    root = tmp_path / "vqa_v2"
    asked = [
        (1, "What animal is this?", ["cat"] * 8 + ["dog"] * 2),
        (2, "Why?", list("abcdefghij")),
    ]
    head = {"data_type": "mscoco", "data_subtype": "train2014", "info": {}, "license": {},
            "task_type": "Open-Ended"}  # fmt: skip
    questions = [{"image_id": 9, "question": text, "question_id": n} for n, text, _ in asked]
    annotations = [
        {"question_id": n, "image_id": 9, "question_type": "what", "answer_type": "other",
         "multiple_choice_answer": answers[0],
         "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": i + 1}
                     for i, answer in enumerate(answers)]}
        for n, _, answers in asked
    ]  # fmt: skip
    (root / "train2014").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "train2014" / "COCO_train2014_000000000009.jpg")
    names = "v2_OpenEnded_mscoco_train2014_questions.json", "v2_mscoco_train2014_annotations.json"
    (root / names[0]).write_text(json.dumps(head | {"questions": questions}))
    (root / names[1]).write_text(json.dumps(head | {"annotations": annotations}))
    return root


def test_questions_of_people(official: Path) -> None:
    (picture,) = SETS["vqa_v2"].read(official)
    assert picture.path.name == "COCO_train2014_000000000009.jpg"
    check = list(people_questions(picture, random.Random(0), check=True))
    assert [len(question.answers) for question in check] == [10, 10]
    (learned,) = people_questions(picture, random.Random(0))  # on the other nobody agrees
    assert learned.answers == ("cat",) and learned.task == "people"


def test_weather_and_materials_are_asked_for() -> None:
    sky = Picture(Path("a"), "weather", condition="weather:shine")
    rng = random.Random(0)
    rows = [q for _ in range(200) for q in condition_questions(sky, rng)]
    named = {row.answers[0].lower().strip(".") for row in rows if "yes" not in row.answers[0]}
    assert {"sunny", "no"} <= named
    yes = [row for row in rows if row.answers == ("yes",)]
    no = [row for row in rows if row.answers == ("no",)]
    assert all("sunny" in row.text for row in yes) and not any("sunny" in row.text for row in no)
    assert 20 < len(yes) < 60 and 20 < len(no) < 60
    glass = Picture(Path("a"), "materials", condition="material:glass")
    (row,) = condition_questions(glass, rng, check=True)
    assert row.answers == ("glass",) and row.text == "What is this made of?"
    assert not list(condition_questions(Picture(Path("a"), "x"), rng))


PICTURE = Picture(Path("a"), "x")


def test_forms_of_answers() -> None:
    rng = random.Random(1)
    yes = Question(PICTURE, "Is there a dog?", ("yes",), "presence", "dog")
    made = true_or_false(yes, rng)
    assert made is not None and made.answers == ("true",) and "There is a dog" in made.text
    no = Question(PICTURE, "Is there an owl?", ("no",), "presence", "owl")
    made = true_or_false(no, rng)
    assert made is not None and made.answers == ("false",) and "an owl" in made.text
    name = Question(PICTURE, "What is this?", ("cat", "feline"), "names", "cat")
    assert true_or_false(name, rng) is None and yes_no_or_unsure(name, rng) is None
    for _ in range(50):
        chosen = one_of(name, ["dog", "feline", "cat", "owl"], rng)
        assert chosen is not None and chosen.answers == ("cat",)
        assert "cat" in chosen.text and "feline" not in chosen.text
    assert one_of(name, ["cat"], rng) is None
    answers = {str(yes_no_or_unsure(yes, rng).answers[0]) for _ in range(50)}  # type: ignore[union-attr]
    assert answers == {"yes", "unsure"}
    (listed,) = list_of_three(["dog", "owl", "cat", "dog"], name, rng)
    assert set(listed.answers[0].split(", ")) == {"dog", "owl", "cat"}
    assert not list(list_of_three(["dog", "owl"], name, rng))


def test_as_many_of_each_form_as_are_wanted() -> None:
    rng = random.Random(0)
    questions = [
        Question(PICTURE, f"Is there a {name}?", (answer,), "presence", name)
        for name in ("dog", "owl", "cat", "cow") for answer in ("yes", "no") for _ in range(20)
    ]  # fmt: skip
    questions += [Question(PICTURE, "Describe it.", ("A dog.",), "captions")] * 30
    forms = instructed(questions, rng, 10)
    assert len(forms) == 30 and {question.task for question in forms} == {"instructions"}
    assert instructed(questions, rng, 0) == []


def test_names_that_are_held_out_are_trained_on_nowhere(tmp_path: Path) -> None:
    for folder in ("anchor", "camera", "cup", "laptop", "menorah", "umbrella", "chair", "lamp"):
        for number in range(8):
            path = tmp_path / "caltech101" / folder / f"image_{number:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
    settings = MixSettings.model_validate(
        {"data_root": tmp_path, "sets": {"caltech101": {
            "held_out_names": 0.5, "rows": {"names": 3, "presence": 1}, "check": {"names": 5}}}}
    )  # fmt: skip
    mix = build(settings)
    unseen = {row["answers"][0] for row in mix.validation["unseen_names"]}
    assert unseen and all(len(row["answers"]) for row in mix.validation["unseen_names"])
    assert unseen.isdisjoint({answer for row in mix.train for answer in row["answers"]})
    assert unseen.isdisjoint({row["answers"][0] for row in mix.validation.get("names", [])})
    label = Label(next(iter(unseen)), "thing")
    other = Picture(Path("b"), "another set", label=label)
    assert has_held_out_name(other, 0.5)  # of every set that has it
    assert not has_held_out_name(Picture(Path("b"), "x"), 0.99)
