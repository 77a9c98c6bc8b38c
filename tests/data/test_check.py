"""What `vqa.data.check` finds, and that it takes little memory."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vqa.data.answer_counts import AnswerCounts
from vqa.data.check import Report, TokenCount, check
from vqa.data.example import Example
from vqa.data.key_numbers import KeyNumbers
from vqa.errors import InputError


def put(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(key: object, image: object = "red.png", question: str = "What?", answer: str = "cat",
        **more: Any) -> dict[str, Any]:  # fmt: skip
    return {"id": key, "image": image, "question": question, "answer": answer, **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for color in ("red", "green", "blue"):
        Image.new("RGB", (8, 8), color).save(tmp_path / f"{color}.png")
    return tmp_path


def problems_of(report: Report) -> list[tuple[int, object, bool]]:
    return [(problem.line, problem.id, problem.refused) for problem in report.problems]


def test_everything_wrong_at_once(folder: Path) -> None:
    (folder / "broken.png").write_text("no picture")
    path = put(
        folder / "data.jsonl",
        row(1),
        row(1),
        row(3, "none.png"),
        row(4, ["none.png", "none.png"]),
        row(5, "broken.png"),
        row(6, "../x.png"),
        row(7, [["red.png"]]),
        row(8, question="Long?"),
        row(9, answer="Dog"),
        row(10, "green.png", "Nothing?"),
        row(11, "blue.png", "Refused?"),
        row(12, "blue.png", answer="Cat."),
    )

    def count(example: Example) -> TokenCount:
        if example.question == "Refused?":
            raise InputError("the template refuses it")
        long, nothing = example.question == "Long?", example.question == "Nothing?"
        return TokenCount(99 if long else 10, 4, 0 if nothing else 2)

    report = check(path, count=count, context=50)
    reasons = {problem.line: problem.reason for problem in report.problems}
    assert problems_of(report) == [
        (6, 6, True), (7, 7, True), (8, 8, True), (10, 10, False), (11, 11, True),
        (3, 3, True), (5, 5, True), (1, 1, False),
    ]  # fmt: skip
    assert "none.png: no such file" in reasons[3] and "2 rows name it" in reasons[3]
    assert "99 tokens, but the model takes 50" in reasons[8]
    assert "2 different answers" in reasons[1]
    assert report.refused and report.rows == 10 and report.pictures == 5
    assert report.answers[0] == ("cat", 9) and report.different_answers == 2
    assert report.tokens is not None
    assert (report.tokens.min, report.tokens.median, report.tokens.max) == (10, 10, 99)
    assert report.tokens.images == 9 * 4 and report.tokens.in_loss == 8 * 2
    json.dumps(report.to_json())


def test_rows_of_a_picture_share_its_tokens_in_training(folder: Path) -> None:
    rows = [row(n, image, f"{n}?") for n, image in enumerate(["red.png"] * 3 + ["blue.png"])]
    report = check(put(folder / "data.jsonl", *rows), count=lambda _: TokenCount(10, 4, 2))
    assert report.packed_tokens == 4 * 6 + 2 * 4


def test_the_same_picture_in_training_and_validation(folder: Path) -> None:
    Image.open(folder / "red.png").save(folder / "copy.bmp")
    path = put(folder / "data.jsonl", row(1, "green.png"), row(2), row(3))
    other = put(folder / "val.jsonl", row(1, "blue.png"), row(2, "copy.bmp"))
    report = check(path, validation=other)
    assert [(p.file, p.line) for p in report.problems] == [(other, 2)]
    assert "line 2 of" in report.problems[0].reason and report.refused
    assert not check(path).problems


def test_warnings_alone_are_not_refused(folder: Path) -> None:
    report = check(put(folder / "data.jsonl", row(1), row(2, answer="dog"), row(3, "green.png")))
    assert problems_of(report) == [(1, 1, False)] and not report.refused
    assert check(put(folder / "none.jsonl", row(1, question=""))).refused


rows = st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from("abc")), min_size=1, max_size=12)


def test_a_typed_placeholder_is_told_of_once(folder: Path) -> None:
    both = ["red.png", "blue.png"]
    path = put(
        folder / "data.jsonl",
        row(1, both, "Is <image> as <image>?", image_places=[3, 14]),
        row(2, [], "Is <image> a tag?"),  # no picture: nobody could mean one
        row(3, both, "Is <image> as <image>?"),
        row(4, both, "Is <image> as <image>?", image_places=[14]),
        row(5, both, earlier=[{"question": "Is <image> it?", "answer": "no", "pictures": 1}]),
    )
    report = check(path)
    assert problems_of(report) == [(3, 3, False)] and not report.refused
    assert "in 3 rows <image> is text of a question" in report.problems[0].reason


@given(rows)
@settings(max_examples=60, deadline=None)
def test_guesses_without_seeing(pairs: list[tuple[str, str]]) -> None:
    counts_of_file = AnswerCounts()
    for line, (question, answer) in enumerate(pairs, start=1):
        counts_of_file.add(Example(line, (), question, (answer,), line=line))
    counts = Counter(answer for _, answer in pairs)
    guesses = counts_of_file.guesses(3)
    assert dict(guesses.commonest) == counts and guesses.different == len(counts)
    assert guesses.commonest == sorted(guesses.commonest, key=lambda pair: -pair[1])
    top = counts_of_file.guesses(1).commonest
    assert top[0] == counts.most_common(1)[0] and guesses.by_answer == top[0][1] / len(pairs)
    expected = 0.0
    for n, (question, answer) in enumerate(pairs):
        others = [a for m, (q, a) in enumerate(pairs) if q == question and m != n]
        if others:
            best = _best(others)
            expected += (answer in best) / len(best)
        elif top[0][1] > 1:
            expected += answer == top[0][0]
    assert guesses.by_question == pytest.approx(expected / len(pairs))


def _best(answers: Sequence[str]) -> set[str]:
    counts = Counter(answers)
    return {answer for answer, n in counts.items() if n == max(counts.values())}


@given(st.lists(st.tuples(st.integers(-5, 5) | st.sampled_from(["1", "-1", "x"]),
                          st.integers(0, 9))))  # fmt: skip
def test_key_numbers(pairs: list[tuple[int | str, int]]) -> None:
    numbers, expected = KeyNumbers(), dict[tuple[type, int | str], int]()
    for key, number in pairs:
        assert numbers.get(key) == expected.get((type(key), key))
        numbers.put(key, number)
        expected[type(key), key] = number
    for (_, key), number in expected.items():
        assert numbers.get(key) == number


def test_key_numbers_grow() -> None:
    keys = list(itertools.chain(range(20_000), map(str, range(20_000))))
    random.Random(0).shuffle(keys)
    numbers = KeyNumbers()
    for number, key in enumerate(keys):
        assert numbers.get(key) is None
        numbers.put(key, number)
    assert all(numbers.get(key) == number for number, key in enumerate(keys))


_GROWTH = """
import resource, sys
from pathlib import Path
from vqa.data.check import check
from vqa.data.reading import read

small, large = Path(sys.argv[1]), Path(sys.argv[2])

def run(path):
    if sys.argv[3] == "check":
        check(path, Path(sys.argv[4]))
    else:
        for _ in read(path, Path(sys.argv[4])):
            pass

run(small)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run(large)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux")
@pytest.mark.parametrize("what", ["read", "check"])
def test_memory_of_a_large_table(folder: Path, what: str) -> None:
    """60,000 rows more; three million, 300 MB, take 50 times as much."""
    for name, count in (("small", 2_000), ("large", 62_000)):
        with (folder / f"{name}.csv").open("w") as file:
            file.write("id,image,question,answer\n")
            for n in range(count):
                question = f"What, of number {n}, is the thing that one sees on the left of it?"
                file.write(f'row-{n:08},red.png,"{question}",thing {n % 5000}\n')
    command = [sys.executable, "-c", _GROWTH, folder / "small.csv", folder / "large.csv", what]
    done = subprocess.run([*command, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 * 50 < 200e6
