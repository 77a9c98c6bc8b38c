import time

import pytest

from vqa.errors import InputError
from vqa.metrics import Item, get_metric
from vqa.metrics.multiple_choice import LETTERS, expected, lmms_eval, official, vlmevalkit

CHOICES = ["a cat", "a dog", "a red bird", "dog house"]


def letter(place: int | None) -> str | None:
    return None if place is None else LETTERS[place]


@pytest.mark.parametrize(
    ("prediction", "chosen"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("B)", "B"),
        ("B. a dog", "B"),
        ("(B) a dog", "B"),
        ("the answer is B", "B"),
        ("Answer: B", "B"),
        ("The correct answer is **B**.", "B"),
        ("The answer is (C), not (B)", "C"),
        ("Not (C) but (B)", "B"),
        ("I would pick B here", "B"),
        ("A dog.", "B"),  # the text of a choice comes before the letter
        ("It is a red bird", "C"),
        ("It is in the dog house", "D"),
        ("first a cat, then a dog", "B"),
        ("E", None),
        ("answer is E", None),
        ("something else", None),
        ("concatenate", None),
        # what today's models say
        (r"\boxed{B}", "B"),
        (r"$\boxed{\text{B}}$", "B"),
        (r"So it is \(\boxed{\mathbf{(B)}}\).", "B"),
        (r"\boxed{B. a dog}", "B"),
        (r"\boxed{\text{a dog}}", "B"),
        (r"\boxed{b}", "B"),
        (r"Not \boxed{A} but \boxed{B}", "B"),
        (r"It could be A or C. \boxed{B", "B"),
        ("\x08oxed{B}", "B"),  # JSON made a backspace of the backslash
        ("<answer>B</answer>", "B"),
        ("<think>A cat? No, (C).</think>\n<answer> (B) a dog </answer>", "B"),
        ("A cat? No, (C).</think>B", "B"),
        ("<ANSWER>b", "B"),
        (r"<answer>\boxed{B}</answer>", "B"),
        ("<CONCLUSION> B </CONCLUSION>", "B"),
        ("<|begin_of_box|>B<|end_of_box|>", "B"),
        ("<answer>E</answer> or B", None),
        ("B。", "B"),
        ("答案是B", "B"),
        ("答案是B。", "B"),
        ("答案：B", "B"),
        ("答案: **B**", "B"),
        ("正确答案是（Ｂ）。", "B"),
        ("答案是b", "B"),
        ("答案应该是选项B，因为图中有一只狗。", "B"),
        ("答案为 B、a dog", "B"),
        ("选B", "B"),
        ("A选项错误，故选：B。", "B"),
        ("不选A，应选 B", "B"),
        ("B选项正确，A选项错误", "B"),
        ("B、狗", "B"),
        ("B：狗", "B"),
        ("【B】", "B"),
        ("Ｂ．狗", "B"),
        ("答えはBです", "B"),
        ("정답은 B입니다", "B"),
        ("维生素B", None),
        ("**B**", "B"),
        ("**Answer:** B", "B"),
        ("### Answer\n\nB. a dog", "B"),
        ("Answer: **(B)** a dog", "B"),
        ("Answer: b", "B"),
        ("the answer is b.", "B"),
        ("The answer is: B.", "B"),
        ("The answer is 'B'", "B"),
        ("The correct answer is option B", "B"),
        ("The answer should be B because it barks", "B"),
        ("Final Answer: B", "B"),
        ('{"answer": "B"}', "B"),
        ("B)", "B"),
        ("b) a dog", "B"),
        ("(b) a dog", "B"),
        ("[B]", "B"),
        ('"B"', "B"),
        ("B: a dog", "B"),
        ("B - a dog", "B"),
        ("B, because it barks", "B"),
        ("b\nIt barks.", "B"),
        ("B\n\nA cat is smaller.", "B"),
        ("It barks.\nb", "B"),
        ("A. a cat\nB. a dog\nC. a red bird\nAnswer: B", "B"),
        ("I choose b", "B"),
        ("Option A is wrong, option B shows a dog", "B"),
        ("It is B, not A", "B"),
        ("It isn't A, it's B.", "B"),
        ("I'd go with **B**.", "B"),
        # A as a letter
        ("A", "A"),
        ("a", "A"),
        ("A.", "A"),
        ("A is right", "A"),
        ("A, as one sees", "A"),
        ("A a cat", "A"),
        ("The answer is A", "A"),
        ("the answer is a.", "A"),
        ("The answer is A because it purrs", "A"),
        ("Option A depicts it", "A"),
        ("(a)", "A"),
        ("答案是A", "A"),
        # and as a word
        ("A dog", "B"),
        ("A dog runs", "B"),
        ("a dog", "B"),
        ("A puppy", None),
        ("A puppy that barks", None),
        ("The answer is a dog", "B"),
        ("The answer is A dog", "B"),
        ("Answer: a puppy", None),
        ("I choose a dog", "B"),
        ("It is A puppy or B", "B"),
        ("D.C. is a town", None),
        ("ß", None),
        ("ı", None),
        ("not A", None),
    ],
)
def test_official_reading(prediction: str, chosen: str | None) -> None:
    assert letter(official(prediction, CHOICES)) == chosen


@pytest.mark.parametrize(
    ("prediction", "chosen"),
    [
        ("B", "B"),
        ("b", "B"),
        (" B", "B"),
        ("B\n", "B"),
        (" B. dog", "B"),
        ("B.", "B"),
        ("B.dog", "B"),
        ("b. dog", None),
        ("B a dog", None),
        ("(B)", None),
        ("B)", None),
        ("E", None),
        ("E. dog", None),
        ("", None),
    ],
)  # scores of sqa_process_results of lmms-eval 0.7.3
def test_lmms_eval_reading(prediction: str, chosen: str | None) -> None:
    assert letter(lmms_eval(prediction, CHOICES)) == chosen


# what can_infer of ms-vlmeval 0.0.20 gives
@pytest.mark.parametrize(
    ("prediction", "chosen"),
    [
        ("B", "B"),
        ("(B).", "B"),
        ("b", None),
        ("The answer is B", "B"),
        ("B is what I see on the left side", None),  # too far from the end
        ("the answer is B since it barks so loud", None),
        ("the answer is B since it barks", "B"),
        ("**B**", "B"),
        ("Failed to obtain answer via API. B", None),
        ("It is a red bird. Failed to obtain answer via API.", "C"),
        ("It is a red bird, as far as I can tell from this small picture of the scene", None),
        ("Z, a red bird", None),
        ("A or B", None),
        ("It is a red bird", "C"),
        ("Cannot determine the answer, B", None),
        ("Z", None),
    ],
)
def test_vlmevalkit_reading(prediction: str, chosen: str | None) -> None:
    assert letter(vlmevalkit(prediction, CHOICES)) == chosen


def test_the_pronoun_is_no_letter() -> None:
    choices = [f"thing {n}" for n in range(10)]
    for text, chosen in (("I think it is B", "B"), ("I", "I"), ("Answer: I", "I"), ("i.", "I"),
                         ("I would say thing 3", "D"), ("I believe so", None)):  # fmt: skip
        assert letter(official(text, choices)) == chosen, text


def test_a_letter_with_the_text_of_its_choice() -> None:
    assert letter(official("A cat", ["cat", "dog"])) == "A"
    assert letter(official("A dog", ["cat", "dog"])) == "B"
    assert letter(official("B.dog", ["cat", "dog"])) == "B"
    assert letter(official(r"\boxed{5}", ["5", ".5"])) == "A"
    assert letter(official(r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}", "2"])) == "A"
    assert letter(official("狗。", ["猫", "狗"])) == "B"


def test_answers_are_letters_or_texts() -> None:
    extra = {"choices": CHOICES}
    for answer in ("B", "b", "(B)", "A dog."):
        assert expected(Item("", (answer,), extra=extra)) == {1}
    assert get_metric("multiple_choice").of([Item("B", ("a dog",), extra=extra)]) == {"score": 1.0}
    # where the choices are letters, their text counts
    assert expected(Item("", ("A",), extra={"choices": ["B", "A"]})) == {1}


def test_numbers_may_be_choices() -> None:
    item = Item("3", ("3",), extra={"choices": [2, 3]})
    assert get_metric("multiple_choice").of([item])["score"] == 1


@pytest.mark.parametrize(
    ("choices", "right"), [(["5", ".5"], ".5"), (["5'", '5"'], '5"'), (["5.", "5"], "5")]
)
def test_marks_count_where_they_alone_tell_choices_apart(choices: list[str], right: str) -> None:
    place = choices.index(right)
    for answer in (right, LETTERS[place]):
        item = Item(right, (answer,), extra={"choices": choices})
        assert expected(item) == {place}
        assert get_metric("multiple_choice").of([item])["score"] == 1
    assert official(f"I think it is {right}", choices) == place
    assert official(choices[1 - place], choices) == 1 - place


def test_choices_that_differ_in_case_alone_or_not_at_all() -> None:
    item = Item("b", ("b",), "What?", {"choices": ["c", "B", "b", "b"]})
    assert expected(item) == {2, 3} and official("b", ["c", "B", "b"]) == 2
    assert get_metric("multiple_choice").of([item]) == {"score": 1}
    by_letter = get_metric("multiple_choice", "lmms-eval")
    for letter in "CD":
        row = Item(letter, item.answers, item.question, item.extra)
        assert by_letter.of([row]) == {"score": 1}


def test_the_other_choices_are_as_they_were() -> None:
    choices = ["5", ".5", "a cat", "A dog."]
    for text, place in (("A cat.", 2), ("a dog", 3), ("It is a cat!", 2), ("It is a dog", 3)):
        assert official(text, choices) == place
    assert expected(Item("", ("A cat.",), extra={"choices": choices})) == {2}


def test_bad_rows_are_named() -> None:
    with pytest.raises(InputError, match="no column `choices`"):
        get_metric("multiple_choice").of([Item("B", ("B",), "What is it?")])
    with pytest.raises(InputError, match="neither a letter"):
        get_metric("multiple_choice").of([Item("B", ("Q",), extra={"choices": CHOICES})])


def test_explanation() -> None:
    lines = get_metric("multiple_choice").explain(Item("(C)", ("B",), extra={"choices": CHOICES}))
    assert "is read as C ('a red bird')" in lines[1]
    assert lines[2:] == ["right: B ('a dog')", "score: 0"]


@pytest.mark.parametrize(
    "piece", ["option ", "answer ", "answer is the ", "(A) ", "A puppy ", "boxed{", "not ", " "]
)
def test_a_long_answer_takes_no_time(piece: str) -> None:
    began = time.perf_counter()
    official(piece * (60_000 // len(piece)), CHOICES)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("choices", "prediction", "chosen"),
    [
        (["12", "0", "7"], "The answer is 12.0", None),
        (["500", "1500"], "1,500 m", None),
        (["2", "5", "7", "9"], "about 2.5 cm", None),
        (["5", "10", "0", "3"], "It is -5 degrees", None),
        (["5", "10", "0", "3"], "-5", None),
        (["-5", "5"], "It is -5 degrees", "A"),
        (["2.5", "5"], "It is 2.5.", "A"),
        (["5", "10"], "between 3 and 10, so 5.", "A"),
        (["10:30", "30"], "It is 10:30", "A"),
    ],
)
def test_a_part_of_a_number_is_no_choice(
    choices: list[str], prediction: str, chosen: str | None
) -> None:
    assert letter(official(prediction, choices)) == chosen
