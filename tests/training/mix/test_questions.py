import random
import re
from pathlib import Path

import pytest

from training.mix.picture import Label, MarkedObject, Picture
from training.mix.questions.actions import action_questions, subject_and_action
from training.mix.questions.captions import DESCRIBE, caption_check, caption_questions
from training.mix.questions.colors import color_questions, colored
from training.mix.questions.counts import count_questions
from training.mix.questions.details import Detail, detail_questions, details
from training.mix.questions.names import main_object, name_questions
from training.mix.questions.people import people_questions
from training.mix.questions.places import indoor_questions, place
from training.mix.questions.refusals import REFUSAL, refusal_questions
from training.mix.questions.words import clean_caption, is_plural, normal_text, plural, with_article
from training.mix.tables import document, labels, rows


def picture(**known: object) -> Picture:
    return Picture(Path("a.jpg"), "test", **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("A dog runs on grass .", "A dog runs on grass."),
        ("two dogs , one red ball", "Two dogs, one red ball."),
        ("A girl 's hat is n't red !", "A girl's hat isn't red!"),
        (" . ", ""),
    ],
)
def test_captions_are_cleaned(raw: str, clean: str) -> None:
    assert clean_caption(raw) == clean


def test_words() -> None:
    nouns = ("bus", "baby", "man", "sheep", "baseball bat", "bookshelf")
    assert [plural(noun) for noun in nouns] == [
        "buses", "babies", "men", "sheep", "baseball bats", "bookshelves",
    ]  # fmt: skip
    assert [with_article(n) for n in ("dog", "umbrella", "snow", "uniform", "shorts")] == [
        "a dog", "an umbrella", "snow", "a uniform", "shorts",
    ]  # fmt: skip
    assert is_plural("shorts") and is_plural("men") and not is_plural("grass")
    assert normal_text("A pony-tailed man eats a Hot Dog .") == " a ponytailed man eats a hotdog "
    assert normal_text("a red ball , a train car") == " a red ball a traincar "


def test_captions_are_asked_for_in_several_wordings() -> None:
    shown = picture(captions=("A dog runs .", "A brown dog runs on grass .", "Dog ."))
    questions = list(caption_questions(shown, random.Random(0)))
    assert {q.answers[0] for q in questions} == {"A dog runs.", "A brown dog runs on grass."}
    assert len({q.text for q in questions}) == 2
    (check,) = caption_check(shown, random.Random(0))
    assert check.text == DESCRIBE and len(check.answers) == 3


def test_a_labelled_picture_is_named() -> None:
    shown = picture(label=labels("tinyimagenet")["n02123045"])
    questions = [q for seed in range(30) for q in name_questions(shown, random.Random(seed))]
    questions = [q for q in questions if "sentence" not in q.text]
    by_wording = {q.text.split("\n")[0].split("?")[0]: q.answers[0] for q in questions}
    assert by_wording["What animal is this"] == "cat"
    assert by_wording["What breed of cat is this"] == "tabby cat"
    assert {q.answers[0] for q in questions if "main object in" in q.text} == {"tabby cat"}


def test_the_largest_box_is_the_main_object() -> None:
    cat, car = MarkedObject("cat", 0.5), MarkedObject("car", 0.1)
    assert main_object(picture(boxes=(cat, car))) == Label("cat", "cat", "animal")
    assert main_object(picture(boxes=(cat, MarkedObject("car", 0.3)))) is None
    assert main_object(picture(boxes=(car,))) is None
    assert main_object(picture(captions=("A dog .",) * 3)) == Label("dog", "dog", "animal")
    assert main_object(picture(captions=("A dog and a cat .",) * 3)) is None


def test_every_shipped_label_has_a_name_and_a_category() -> None:
    for name in ("tinyimagenet", "caltech101", "clothing", "grocery"):
        assert all(
            label.name and label.everyday and label.category for label in labels(name).values()
        )
    assert len(labels("tinyimagenet")) == 200 and len(labels("caltech101")) == 101
    assert {where for _, _, where in rows("scenes")} == {"indoors", "outdoors", ""}


@pytest.mark.parametrize(
    ("captions", "counts"),
    [
        (["Two dogs run .", "Two brown dogs .", "Dog ."], {"dogs": "2"}),
        (["Two dogs run .", "Three dogs .", "Two dogs ."], {}),
        (["A dog runs .", "A dog on grass .", "The dog runs ."], {"dogs": "1"}),
        (["A dog runs .", "A dog and another dog .", "The dog runs ."], {}),
        (["A dog runs .", "Some dogs .", "The dog runs .", "A dog ."], {}),
        (["Two men and a dog .", "Two men ."], {"men": "2"}),
    ],
)
def test_numbers_that_captions_agree_on(captions: list[str], counts: dict[str, str]) -> None:
    questions = list(
        count_questions(picture(captions=tuple(captions)), random.Random(0), check=True)
    )
    assert {
        m[1]: q.answers[0]
        for q in questions
        if (m := re.match(r"How many (\w+) are there in the image\?", q.text))
    } == counts


def test_boxes_are_counted() -> None:
    shown = picture(
        annotated=frozenset({"car", "person", "bird"}),
        boxes=(
            MarkedObject("car", 0.1), MarkedObject("car", 0.2),
            MarkedObject("person", 0.2), MarkedObject("person", 0.3, crowd=True),
            MarkedObject("bird", 0.0001),
        ),
    )  # fmt: skip
    (question,) = count_questions(shown, random.Random(0))
    assert question.answers == ("2", "two") and "cars" in question.text


def test_colors_that_no_caption_contradicts() -> None:
    shown = picture(
        captions=(
            "A black and white dog with a red ball .",
            "A white and black dog .",
            "A boy in a blue t-shirt .",
            "A boy in a red hat and a girl in a green hat .",
        )
    )
    color_of = {thing.noun: thing.color for thing in colored(shown)}
    assert color_of == {"dog": "black and white", "ball": "red", "shirt": "blue"}


def test_a_color_is_as_often_right_as_wrong() -> None:
    captions = ("A red ball .",) * 150 + ("A blue ball .",) * 60 + ("A red and white ball .",) * 40
    things = [thing for caption in captions for thing in colored(picture(captions=(caption,)))]
    questions = list(color_questions(things, random.Random(0)))
    assert len(questions) == len(things)
    either = [q for q in questions if q.answers[-1] in ("yes", "no")]
    assert len(either) > 20
    for color in ("red", "blue", "red and white"):
        answers = [q.answers[-1] for q in either if f"ball {color}?" in q.text]
        assert answers.count("yes") == answers.count("no")
    assert not [q for q in either if "blue" in q.text and "blue" in q.picture.captions[0]
                and q.answers[-1] == "no"]  # fmt: skip


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A man in a red shirt is riding a bike down a hill .", ("man", "riding a bike")),
        ("Two dogs are running through the snow .", ("dogs", "running through the snow")),
        ("A little girl jumps over a puddle while laughing .", ("girl", "jumping over a puddle")),
        ("A man wearing a hat .", None),
        ("A boy is holding .", None),
        ("Snow on the mountain .", None),
    ],
)
def test_actions(caption: str, expected: tuple[str, str] | None) -> None:
    assert subject_and_action(caption) == expected


def test_what_most_captions_say_is_the_action() -> None:
    shown = picture(
        captions=("A dog is swimming .", "A dog runs on sand .", "The dog is running on a beach .")
    )
    (question,) = action_questions(shown, random.Random(0))
    assert question.answers[0].startswith("running") and "swimming" in question.answers


def test_places() -> None:
    assert place(picture(scene="living_room")) == ("living room", "indoors")
    assert place(picture(scene="misc")) == ("", "")
    beach = picture(captions=("A dog on the beach .", "A dog runs on a beach .", "A dog ."))
    assert place(beach) == ("beach", "outdoors")
    both = picture(captions=("A tree in the kitchen .", "A kitchen ."))
    assert place(both) == ("kitchen", "")
    assert place(Picture(Path("a.jpg"), "daquar")) == ("", "indoors")


def test_indoors_is_asked_fairly() -> None:
    answers = [
        question.answers[-1]
        for seed in range(400)
        for question in indoor_questions(picture(scene="kitchen"), random.Random(seed))
    ]
    assert set(answers) == {"yes", "no", "indoors", "inside"}
    assert abs(answers.count("yes") - answers.count("no")) < 60


def test_peoples_questions_are_natural_and_sometimes_raw() -> None:
    pair = ("what is on the table in the image3 ?", "tape_dispenser")
    shown = picture(questions=(pair,) * 200)
    questions = list(people_questions(shown, random.Random(0)))
    raw = [q for q in questions if q.text == pair[0]]
    assert 10 < len(raw) < 60
    assert {q.answers for q in questions} == {("tape dispenser",)}
    checks = {q.text for q in people_questions(shown, random.Random(0), check=True)}
    assert checks == {"What is on the table?"}


def test_tables_use_only_groups_that_exist() -> None:
    table = document("objects")
    used = {
        word[1:]
        for clues in [*table["objects"].values(), table["groups"]]
        for words in clues.values()
        for word in words
        if word.startswith("@")
    }
    assert used <= set(table["groups"])
    assert all(
        set(clues) <= {"words", "doubtful", "contrary"} for clues in table["objects"].values()
    )


SURFER = (
    "A man in a black wetsuit is surfing .",
    "A surfer jumps on a wave in the ocean .",
    "The man is jumping with his surfboard .",
    "A man holding a paddle jumps in the ocean .",
)


def test_details_that_captions_agree_on() -> None:
    values = {(d.kind, d.who): d.value for d in details(picture(captions=SURFER))}
    assert values == {
        ("worn", "man"): "wetsuit", ("pose", "man"): "jumping", ("sport", ""): "surfing",
        ("held", "man"): "paddle",
    }  # fmt: skip
    two = picture(captions=("A man in a red hat and another man sit .", "A man sits ."))
    assert not [d for d in details(two) if d.kind in ("worn", "pose")]
    unlike = picture(captions=("A dog runs in the snow .", "A dog sits in the grass ."))
    assert not details(unlike)


def test_details_are_asked_for_without_giving_the_answer_away() -> None:
    rng = random.Random(1)
    poses = ("running",) * 300 + ("sitting",) * 100 + ("swimming",) * 50
    many = [Detail(picture(captions=("",)), "pose", "dog", pose) for pose in poses]
    asked = list(detail_questions(many, rng))
    for pose in set(poses):
        with_pose = [q.answers[-1] == "yes" for q in asked if f" {pose}?" in q.text]
        assert 2 * sum(with_pose) == len(with_pose) > 10
    sleeping = Detail(picture(captions=("The dog sleeps .",) * 2), "pose", "dog", "lying down")
    both = [sleeping, Detail(picture(captions=("",)), "pose", "dog", "sleeping")]
    asked = list(detail_questions(both, rng))
    assert not [q for q in asked if "sleeping" in q.text and q.picture is sleeping.picture]
    men = Detail(picture(captions=("",)), "ground", "men", "beach")
    questions = [q for _ in range(20) for q in detail_questions([men], rng)]
    assert {q.answers[-1] for q in questions} == {"beach"}
    assert any(q.text.startswith("Where are the men") for q in questions)


def test_a_sentence_is_answered_where_it_is_asked_for() -> None:
    shown = picture(captions=("A dog is swimming .",) * 3)
    questions = [q for seed in range(200) for q in action_questions(shown, random.Random(seed))]
    sentences = [q for q in questions if "sentence" in q.text]
    assert 5 < len(sentences) < 50
    assert {q.answers for q in sentences} == {("The dog is swimming.", "swimming")}
    assert {q.answers[0] for q in questions if "sentence" not in q.text} == {"swimming"}
    two = picture(captions=("Two dogs run .", "There are two dogs ."))
    counted = [q for seed in range(99) for q in count_questions(two, random.Random(seed))]
    assert {q.answers[0] for q in counted} == {"2", "There are two dogs."}


def test_what_no_picture_tells_is_refused() -> None:
    shown = picture(captions=("A man and two dogs run .",))
    questions = [q for seed in range(300) for q in refusal_questions(shown, random.Random(seed))]
    assert 20 < len(questions) < 90 and {q.answers for q in questions} == {(REFUSAL,)}
    assert any("the man" in q.text for q in questions)
    assert not any("dogs" in q.text for q in questions)
    assert not any("{" in q.text for q in questions)
