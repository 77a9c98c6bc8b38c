import random
from collections import Counter
from pathlib import Path

from training.mix.picture import Label, MarkedObject, Picture
from training.mix.questions.presence import (
    KnownObjects,
    known,
    known_labels,
    presence_questions,
    somebody_or_nobody,
)


def captioned(*captions: str) -> KnownObjects:
    return known(Picture(Path("a.jpg"), "test", captions=captions))


def test_boxes_tell_of_annotated_objects_alone() -> None:
    shown = Picture(
        Path("a.jpg"),
        "test",
        boxes=(MarkedObject("cat", 0.2), MarkedObject("car", 0.0001)),
        annotated=frozenset({"cat", "car", "bus"}),
    )
    objects = known(shown)
    assert objects.present == {"cat"}
    assert objects.absent == {"bus"}  # the car is there, but too small to ask for


def test_captions_name_what_is_there() -> None:
    objects = captioned("A greyhound chases a red ball on the grass .", "Two people watch .")
    assert {"dog", "ball", "grass", "person", "animal"} <= objects.present
    assert {"train", "guitar", "snowboard"} <= objects.absent
    # someone is there, who may be a man or a woman; a bench is often left out of a caption
    assert objects.absent.isdisjoint({"man", "woman", "dog", "person"})


def test_absence_is_doubted() -> None:
    assert "dog" not in captioned("An animal sleeps .").absent
    assert "bicycle" not in captioned("A biker in the forest .").absent
    assert "horse" not in captioned("A man at a rodeo .").absent
    assert "tree" not in captioned("A boy jumps .").absent  # nothing speaks against a tree
    assert "tree" in captioned("A boy on a couch .").absent


def test_words_that_mean_something_else() -> None:
    assert "dog" not in captioned("A man eats a hot dog .").present
    assert "cow" not in captioned("A pit bull runs .").present
    assert "horse" not in captioned("A pony-tailed girl .").present


def test_rooms() -> None:
    kitchen = known(Picture(Path("a.jpg"), "ade20k", scene="kitchen"))
    assert "stove" in kitchen.present and "bed" in kitchen.absent
    asked = Picture(
        Path("a.jpg"), "daquar", questions=(("what is on the bed in the image3 ?", "pillow"),)
    )
    assert known(asked).present == {"bed", "pillow"}
    assert "toilet" in known(asked).absent and "lamp" not in known(asked).absent


def test_labels() -> None:
    pictures = [
        Picture(Path(f"{i}.jpg"), "test", label=Label(name, name, "animal"))
        for i, name in enumerate(("cat", "dog", "fish"))
    ]
    pictures.append(Picture(Path("x.jpg"), "test", label=Label("lamp", "lamp", "furniture")))
    labels = known_labels(pictures, random.Random(0))
    assert [item.present for item in labels] == [{"cat"}, {"dog"}, {"fish"}]
    assert all(item.absent and item.absent.isdisjoint(item.present) for item in labels)


def mixed(count: int) -> list[KnownObjects]:
    rng = random.Random(1)
    objects = ("dog", "ball", "car", "tree")
    pairs = []
    for index in range(count):
        present = frozenset(rng.sample(objects, k=2))
        picture = Picture(Path(f"{index}.jpg"), "test")
        pairs.append(KnownObjects(picture, present, frozenset(objects) - present))
    return pairs


def test_as_often_yes_as_no_for_every_object() -> None:
    questions = list(presence_questions(mixed(200), random.Random(0), each=30, per_picture=2))
    counts = Counter((q.about, q.answers[-1]) for q in questions)
    for name in ("dog", "ball", "car", "tree"):
        assert counts[name, "yes"] == counts[name, "no"] == 30
    assert max(Counter(q.picture.path for q in questions).values()) <= 2


def test_answers_are_right_and_the_seed_decides() -> None:
    pictures = mixed(60)
    of_path = {item.picture.path: item for item in pictures}
    first = list(presence_questions(pictures, random.Random(3), each=10, per_picture=3))
    for question in first:
        item = of_path[question.picture.path]
        assert (question.about in item.present) == (question.answers[-1] == "yes")
    assert first == list(presence_questions(pictures, random.Random(3), each=10, per_picture=3))


def test_no_is_mostly_asked_where_the_object_would_be_likely() -> None:
    pictures = [
        KnownObjects(Picture(Path(f"{i}.jpg"), "t"), frozenset({"dog", "ball"}), frozenset({"car"}))
        for i in range(20)
    ]
    pictures += [
        KnownObjects(Picture(Path(f"l{i}.jpg"), "t"), frozenset({"dog"}), frozenset({"ball"}))
        for i in range(20)
    ]
    pictures += [
        KnownObjects(Picture(Path(f"u{i}.jpg"), "t"), frozenset({"car"}), frozenset({"ball"}))
        for i in range(200)
    ]
    questions = presence_questions(pictures, random.Random(0), each=20, per_picture=9)
    no = [q for q in questions if q.about == "ball" and q.answers[-1] == "no"]
    likely = [q for q in no if q.picture.path.name.startswith("l")]
    assert len(likely) >= 0.5 * len(no)  # by chance it would be a tenth


def test_measured_questions_have_one_wording() -> None:
    questions = presence_questions(mixed(40), random.Random(0), each=5, per_picture=2, check=True)
    assert {q.text for q in questions if q.about == "dog"} == {"Is there a dog in the image?"}


def test_people_are_asked_for_where_nobody_is_as_often_as_where_somebody_is() -> None:
    shirts = [
        Picture(Path(f"shirt{i}.jpg"), "things", label=Label("shirt", "shirt", "clothing"))
        for i in range(30)
    ]
    faces = [
        Picture(Path(f"face{i}.jpg"), "things", label=Label("face", "face", "person"))
        for i in range(30)
    ]
    men = [
        Picture(
            Path(f"man{i}.jpg"),
            "boxes",
            boxes=(MarkedObject("person", 0.2),),
            annotated=frozenset({"person"}),
        )
        for i in range(20)
    ]
    others = [
        Picture(Path(f"other{i}.jpg"), "photos", captions=("A man runs .",)) for i in range(9)
    ]
    asked = list(somebody_or_nobody([*shirts, *faces, *men, *others], random.Random(0), each=30))
    count = Counter(
        (question.picture.path.stem.rstrip("0123456789"), question.answers[-1])
        for question in asked
    )
    assert count["shirt", "no"] == 30
    assert count["man", "yes"] + count["face", "yes"] == 30
    assert set(count) == {("shirt", "no"), ("man", "yes"), ("face", "yes")}
    assert len({question.picture.path for question in asked}) == 60
