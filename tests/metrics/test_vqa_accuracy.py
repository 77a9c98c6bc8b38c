import pytest

from vqa.metrics import Item, get_metric
from vqa.metrics.contractions import CONTRACTIONS
from vqa.metrics.vqa_accuracy import explain, normalize, steps, vqa_accuracy


# what processPunctuation and processDigitArticle of the official vqaEval.py give
@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("2,000", "2000"),
        ("The U.S.A.", "usa"),
        ("t-shirt", "t shirt"),
        ("none", "0"),
        ("Yes.", "yes"),
        ("a", ""),
        ("the  Dog", "dog"),
        ("2,000 t-shirts", "2000 tshirts"),
        ("red, white", "red white"),
        ("red,white", "red white"),
        ("black/white", "black white"),
        ("black / white", "black white"),
        ("10:30 a.m.", "10:30 am"),
        ("$5.50", "$5.50"),
        ("5.", "5"),
        (".5", ".5"),
        ("3.5 feet", "3.5 feet"),
        ("1,2 (x)", "12 x"),
        ("1,,2", "1 2"),
        ("Dont know", "don't know"),
        ("its", "its"),
        ("IM", "im"),
        ("somebody'd", "somebodyd"),
        ("ow's'at", "'ow's'at"),
        ("youd've", "you'd've"),
        ("Ten two-year-olds", "10 2 year olds"),
        ("an apple a day", "apple day"),
        ("what? no", "what no"),
        ("left (side)", "left side"),
        ("e-mail@x.org", "e mail xorg"),
        ("semi;colon", "semi colon"),
        ('say "stop"', "say stop"),
        ("new\nyork", "new york"),
        ("one-way", "1 way"),
        ("#1", "#1"),
        ("rock'n'roll", "rock'n'roll"),
        ("{a}", ""),
        ("A & B", "& b"),
        ("caf\u00e9", "caf\u00e9"),
        ("\u0663,\u0663 a-b", "\u0663\u0663 ab"),
        ("...", ""),
    ],
)
def test_normal_form(text: str, form: str) -> None:
    assert normalize(text) == form


def test_only_32_periods_are_removed() -> None:
    assert normalize("." * 40) == "." * 8


def test_contractions_of_the_official_table() -> None:
    assert len(CONTRACTIONS) == 114
    assert CONTRACTIONS["maam"] == "ma'am"
    assert CONTRACTIONS["someone'dve"] == "someone'd've"
    assert not {"Im", "let's", "she's"} & set(CONTRACTIONS)


@pytest.mark.parametrize(("matches", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1)])
def test_matches_of_ten(matches: int, score: float) -> None:
    answers = ["cat"] * matches + ["dog"] * (10 - matches)
    assert vqa_accuracy("cat", answers) == pytest.approx(score)
    assert vqa_accuracy("dog", ["dog"] * 10) == 1.0


# scores of the official vqaEval.py
@pytest.mark.parametrize(
    ("prediction", "answers", "score"),
    [
        ("Yes", ["yes"] * 10, 0.0),
        ("yes\n", ["yes\t"] * 10, 1.0),
        ("Yes.", ["yes"] * 9 + ["no"], 1.0),
        ("yes", ["Yes"] * 5 + ["yes"] * 5, 1.0),
        ("2", ["two"] * 3 + ["3"] * 7, 0.9),
        ("T-Shirt", ["t shirt"] * 2 + ["shirt"] * 8, 0.6),
        ("t-shirt", ["T-Shirt"] * 10, 0.0),
        ("none", ["0"] * 4 + ["1"] * 6, 1.0),
        ("no dog", ["no"] * 10, 0.0),
        ("cat", ["cat"], 0.0),
        ("cat", ["cat", "cat"], 1 / 3),
        ("cat", ["cat", "dog", "cat"], 4 / 9),
        ("The", ["a", "an", "a", "an", "cat"], 1.0),
        ("cat", ["Cat ", "cat"], 1 / 3),
        ("red and white", ["red, and white"] * 4 + ["red"] * 6, 1.0),
        ("dont know", ["don't know"] * 2 + ["x"] * 3, 8 / 15),
    ],
)
def test_golden_vectors(prediction: str, answers: list[str], score: float) -> None:
    assert vqa_accuracy(prediction, answers) == pytest.approx(score)


# scores of vqav2_process_results of lmms-eval 0.7.3 and of process_line of ms-vlmeval 0.0.20
@pytest.mark.parametrize(
    ("prediction", "answers", "official", "lmms", "vlmevalkit"),
    [
        ("Yes", ["yes"] * 10, 0, 1, 1),
        ("yes", ["Yes"] * 10, 0, 1, 1),
        ("T-shirt", ["T-shirt"] * 10, 1, 1, 1),
        ("t-shirt", ["T-Shirt"] * 10, 0, 1, 1),
        ("the dog's", ["dog's"] * 9 + ["dog"], 1, 1, 1),
        ("dogs?", ["dogs"] * 10, 0, 1, 1),
        ("what?no", ["what no"] * 10, 0, 1, 1),
        ("the dog's", ["the dog 's"] * 10, 0, 0, 0),
        ("route 5.", ["route 5"] * 9 + ["5"], 1, 1, 0),  # vlmevalkit keeps a period after a digit
        ("2,000", ["2000"] * 9 + ["20"], 1, 1, 1),
        ("1,,2", ["12"] * 9 + ["x"], 0, 1, 0),  # several commas between two digits
        ("yes", ["Yes", "yes", "no", "no"], 1 / 2, 1 / 2, 1 / 2),
    ],
)
def test_profiles_differ(
    prediction: str, answers: list[str], official: float, lmms: float, vlmevalkit: float
) -> None:
    item = [Item(prediction, tuple(answers))]
    for profile, score in (("official", official), ("lmms-eval", lmms), ("vlmevalkit", vlmevalkit)):
        assert get_metric("vqa_accuracy", profile).of(item)["score"] == pytest.approx(score), (
            profile
        )


def test_an_empty_prediction_is_wrong_even_where_answers_are_articles() -> None:
    for profile in ("official", "lmms-eval", "vlmevalkit"):
        assert vqa_accuracy(" ", ["a", "the", "a", "an", "a"], profile) == 0.0


def test_explanation() -> None:
    lines = explain(Item("The U.S.A.", ("usa",) * 9 + ("America",)))
    assert "answers: 9 x 'usa', 1 x 'America'" in lines
    assert "prediction 'The U.S.A.' is compared as 'usa'" in lines
    assert "  periods: 'The USA'" in lines
    assert "  articles: 'usa'" in lines
    assert "9 of 10 answers are 'usa'" in lines
    assert lines[-1] == "the mean of the 10: 1"


def test_explanation_of_unanimous_answers() -> None:
    lines = "\n".join(explain(Item("Yes", ("yes",) * 10)))
    assert "compared as they stand, case included" in lines
    assert "0 of 10 answers are 'Yes'" in lines


def test_steps_end_in_the_normal_form() -> None:
    assert [rule for rule, _ in steps("A t-shirt.")][:3] == ["as given", "punctuation", "periods"]
    assert steps("A t-shirt.")[-1][1] == normalize("A t-shirt.") == "t shirt"
