"""One table gives the same rows from every file that pandas writes it to."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.written import bad_of, put
from vqa.data import read
from vqa.data.example import Example

pd = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def files(table: Any, folder: Path) -> Iterator[Path]:
    """The table in every format and writing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the default for dates will be
        table.to_csv(folder / "index.csv")
        table.to_csv(folder / "plain.csv", index=False)
        table.to_csv(folder / "tabs.tsv", sep="\t", na_rep="nan", encoding="utf-8-sig")
        table.to_json(folder / "lines.jsonl", orient="records", lines=True)
        table.to_json(folder / "dates.jsonl", orient="records", lines=True, date_format="iso")
        table.to_json(folder / "list.json", orient="records", indent=1)
        table.to_json(folder / "table.json", orient="table", index=False)
        table.to_json(folder / "keyed.json", orient="index")
        table.to_parquet(folder / "whole.parquet")
        table.set_index(table.index * 2 + 1).to_parquet(folder / "index.parquet")
    pd.read_parquet(folder / "whole.parquet").to_csv(folder / "again.csv")
    pd.read_csv(folder / "again.csv").to_csv(folder / "twice.csv")
    yield from sorted(path for path in folder.iterdir() if path.is_file())


def table(answers: object, **more: object) -> Any:
    count = len(answers)  # type: ignore[arg-type]
    columns = {
        "id": np.arange(1.0, count + 1),  # whole numbers, as pandas leaves them
        "image": [f"{n}.png" for n in range(count)],
        "question": ["What?", "  Padded\u00a0\u3000", "\ufeffHow many?"][:count],
        "answer": answers,
    }
    return pd.DataFrame(columns | more)


def rows(path: Path) -> list[Example]:
    return list(read(path, need_answers=False))


TIMES = [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-05-02 03:04:05"), None]
ANSWERS: dict[str, tuple[Any, list[tuple[str, ...]]]] = {
    "integers": ([2, 0, -7], [("2",), ("0",), ("-7",)]),
    "floats": ([0.5, 1 / 3, 1e-7], [("0.5",), ("0.3333333333",), ("1e-07",)]),
    "whole floats": ([2.0, np.nan, 1e20], [("2",), (), ("100000000000000000000",)]),
    "nullable integers": (pd.array([2, None, 3], "Int64"), [("2",), (), ("3",)]),
    "booleans": ([True, False, True], [("True",), ("False",), ("True",)]),
    "nullable booleans": (pd.array([True, None, False], "boolean"), [("True",), (), ("False",)]),
    "texts": (["red", None, "none"], [("red",), (), ("none",)]),
    "padded texts": ([" red", "dark red \n", "\u00a0x\ufeff"], [("red",), ("dark red",), ("x",)]),
    "lists": ([["red", "dark red"], ['it\'s "x"', "a, b"], None],
              [("red", "dark red"), ('it\'s "x"', "a, b"), ()]),
    "arrays": ([np.array(["red", "dark red"]), np.array(["it's"]), np.array(["ü", "\n"[:0] + "y"])],
               [("red", "dark red"), ("it's",), ("ü", "y")]),
    "numbers in lists": ([[1, 2], [3], [4]], [("1", "2"), ("3",), ("4",)]),
    "floats in arrays": ([np.array([1.0, 2.5]), np.array([3.0]), None], [("1", "2.5"), ("3",), ()]),
    "lists with holes": ([["red", None], [" x "], None], [("red",), ("x",), ()]),
    "categories": (pd.Categorical(["a", "b", None]), [("a",), ("b",), ()]),
    "days": (pd.to_datetime(["2024-01-01", None, "2023-02-28"]),
             [("2024-01-01",), (), ("2023-02-28",)]),
    "dates": ([datetime.date(2024, 1, 1), None, datetime.date(2023, 2, 28)],
              [("2024-01-01",), (), ("2023-02-28",)]),
    "times": (pd.to_datetime(TIMES), [("2024-01-01",), ("2024-05-02 03:04:05",), ()]),
    "times of a zone": (pd.to_datetime(TIMES).tz_localize("UTC").tz_convert("Europe/Berlin"),
                        [("2024-01-01",), ("2024-05-02 03:04:05",), ()]),
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_of_every_type(tmp_path: Path, kind: str) -> None:
    answers, expected = ANSWERS[kind]
    for path in files(table(answers), tmp_path):
        got = rows(path)
        assert [row.answers for row in got] == expected, path.name
        assert [row.id for row in got] == [1, 2, 3], path.name
        assert [row.question for row in got] == ["What?", "Padded", "How many?"], path.name
        assert [row.extra for row in got] == [{}] * 3, path.name


def test_further_columns_of_every_type(tmp_path: Path) -> None:
    more = {
        "count": [2, 0, -7], "share": [0.5, 0.25, 1e-7], "whole": [2.0, np.nan, 3.0],
        "nullable": pd.array([2, None, 3], "Int64"), "yes": [True, False, True],
        "maybe": pd.array([True, None, False], "boolean"), "place": [" indoor", None, "out door"],
        "words": [["red", "dark red"], ["it's"], None], "numbers": [[1, 2], [3], [4]],
        "array": [np.array(["a", "b c"]), np.array(["d"]), np.array(["e"])],
        "taken": pd.to_datetime(TIMES), "empty": [None, None, None], "no text": ["", " ", ""],
        "Unnamed: 7": [1, 2, 3],
    }  # fmt: skip
    expected: list[dict[str, Any]] = [
        {"count": 2, "share": 0.5, "whole": 2, "nullable": 2, "yes": True, "maybe": True,
         "place": "indoor", "words": ["red", "dark red"], "numbers": [1, 2], "array": ["a", "b c"],
         "taken": "2024-01-01"},
        {"count": 0, "share": 0.25, "yes": False, "words": ["it's"], "numbers": [3], "array": ["d"],
         "taken": "2024-05-02 03:04:05"},
        {"count": -7, "share": 1e-7, "whole": 3, "nullable": 3, "yes": True, "maybe": False,
         "place": "out door", "numbers": [4], "array": ["e"]},
    ]  # fmt: skip
    for path in files(table(["a", "b", "c"], **more), tmp_path):
        assert [row.extra for row in rows(path)] == expected, path.name


words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=8
).filter(lambda text: text.strip("\ufeff\u200b\u2060 ").isalpha() and text.isalpha())
padded = st.tuples(st.sampled_from(["", " ", "\u00a0", "\n", "\ufeff"]), words).map("".join)
lists = st.lists(st.one_of(words, st.sampled_from(["it's", 'say "x"', "a, b", "[x]", "b\\c"])),
                 min_size=1, max_size=3)  # fmt: skip
columns = st.one_of(
    *(
        st.lists(one, min_size=3, max_size=3)
        for one in (
            st.integers(-(2**53), 2**53).filter(lambda n: not 10**11 <= n <= 5 * 10**12),
            st.integers(-1000, 1000).map(float) | st.just(float("nan")),
            st.integers(-4000, 4000).map(lambda n: n / 8),
            st.booleans(),
            padded | st.none(),
            lists | st.none(),
            lists.map(np.array),
            st.datetimes(datetime.datetime(1980, 1, 2), datetime.datetime(2099, 1, 1)).map(
                lambda time: time.replace(microsecond=0)
            ),
        )
    )
).filter(lambda column: any(value is not None and value == value for value in map(_first, column)))


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list | np.ndarray) else value


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(answers=columns, extra=columns)
def test_any_column(tmp_path_factory: pytest.TempPathFactory, answers: Any, extra: Any) -> None:
    folder = tmp_path_factory.mktemp("table")
    by_file = {path.name: rows(path) for path in files(table(answers, further=extra), folder)}
    first = by_file["lines.jsonl"]
    shown = [(row.id, row.question, row.answers, row.extra) for row in first]
    for name, got in by_file.items():
        assert [(row.id, row.question, row.answers, row.extra) for row in got] == shown, name


def test_cells_that_only_look_like_a_list_or_a_number(tmp_path: Path) -> None:
    cells = ["[unclear]", "['a", "[12:30]", "(5, 3)", "2.50", "007", "1e5", "-", "none", "NONE",
             "true", "[1, 2", "{x}", "N/A", "nano", "1_000", "['a' + 'b']", "[1-2]"]  # fmt: skip
    lines = "".join(f'a.png,What?,"{cell}"\n' for cell in cells)
    good, bad = bad_of(put(tmp_path, "image,question,answer\n" + lines))
    assert not bad and [row.answers for row in good] == [(cell,) for cell in cells]


def test_what_a_table_means_by_a_missing_answer(tmp_path: Path) -> None:
    cells = ["", " ", "nan", "NaN", "None", "<NA>", "NaT", "\ufeff"]
    lines = "".join(f"a.png,What?,{cell}\n" for cell in cells)
    good, bad = bad_of(put(tmp_path, "image,question,answer\n" + lines))
    assert not good and {row.reason for row in bad} == {"answer is missing or empty"}
    quoted = "".join(f'a.png,What bread?,"""{cell}"""\n' for cell in ("nan", "None", "2.0", "[1]"))
    good, bad = bad_of(put(tmp_path, "image,question,answer\n" + quoted + 'a,b,"""Stop"""\n'))
    assert [row.answers for row in good] == [("nan",), ("None",), ("2.0",), ("[1]",), ('"Stop"',)]
    texts = [{"image": "a.png", "question": "What?", "answer": text}
             for text in ("nan", "None", "2.0", "[5, 7]", "(a)")]  # fmt: skip
    good, _ = bad_of(put(tmp_path, texts))
    assert [row.answers for row in good] == [("nan",), ("None",), ("2.0",), ("[5, 7]",), ("(a)",)]


def test_a_list_that_a_program_has_read_as_text(tmp_path: Path) -> None:
    row = {"image": "a.png", "question": "What?", "answer": "['red', 'dark red']"}
    (example,) = read(put(tmp_path, [row]))
    assert example.answers == ("red", "dark red")


def test_numbers_that_are_no_times(tmp_path: Path) -> None:
    one = {"image": "a.png", "question": "How much?"}
    for amounts in ([1_500_000_000_000, 2_300_000_000_000], [5_901_234_123_457], [1700000000]):
        path = put(tmp_path, [one | {"answer": amount, "more": amount} for amount in amounts])
        got = rows(path)
        assert [row.answers for row in got] == [(str(amount),) for amount in amounts]
        assert [row.extra["more"] for row in got] == amounts


def test_it_is_told_which_answers_became_times(tmp_path: Path) -> None:
    one = {"image": "a.png", "question": "How much?"}
    path = put(tmp_path, [one | {"answer": "red", "at": 394_243_200_000}])
    noticed: list[Any] = []
    assert len(list(read(path, notice=noticed.append))) == 1 and not noticed
    path = put(
        tmp_path, [one | {"answer": amount} for amount in (394_243_200_000, 394_329_600_000)]
    )
    assert [row.answers for row in read(path, notice=noticed.append)] == [
        ("1982-06-30",), ("1982-07-01",)
    ]  # fmt: skip
    assert [notice.line_about(path) for notice in noticed] == [
        f"{path}: answers that are numbers of milliseconds become times, as pandas writes them to "
        "JSON, first 394243200000 as '1982-06-30'; where they are amounts, write them as texts"
    ]
    path = put(tmp_path, [one | {"answer": "394243200000"}])
    assert [row.answers for row in read(path, notice=noticed.append)] == [("394243200000",)]
    assert len(noticed) == 1


def test_ids_of_every_kind(tmp_path: Path) -> None:
    header, end = "id,image,question,answer\n", ",a.png,What?,cat\n"
    path = put(tmp_path, header + end.join(["1.0", " x ", "2.5", "", "nan", "007", "True", ""]))
    assert [row.id for row in rows(path)] == [1, "x", "2.5", 5, 6, "007", "True"]
    one = {"image": "a.png", "question": "What?", "answer": "cat"}
    path = put(
        tmp_path, [one | {"id": key} for key in (1.0, " x ", 2.5, None, None, "007", "True")]
    )
    assert [row.id for row in rows(path)] == [1, "x", "2.5", 4, 5, "007", "True"]


def test_names_of_columns_in_capitals_and_without_a_name(tmp_path: Path) -> None:
    path = put(tmp_path, "\ufeffIMAGE, Question ,Answer,,\na.png,What?,cat,1,2\n")
    (of_csv,) = rows(path)
    (of_json,) = rows(put(tmp_path, [{"IMAGE": "a.png", " Question ": "What?", "Answer": "cat"}]))
    assert of_csv.answers == of_json.answers == ("cat",) and of_csv.extra == of_json.extra == {}


def test_conversations_in_a_table(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "it's"}]
    frame = pd.DataFrame({"id": ["a"], "image": ["a.png"], "conversations": [turns]})
    frame.to_csv(tmp_path / "one.csv")
    frame.to_parquet(tmp_path / "one.parquet")
    pd.read_parquet(tmp_path / "one.parquet").to_csv(tmp_path / "again.csv")  # numpy's writing
    for name in ("one.csv", "one.parquet", "again.csv"):
        (row,) = rows(tmp_path / name)
        assert (row.question, row.answers) == ("What?", ("it's",)), name


def test_captions_in_a_table(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "image": ["a.jpg", "a.jpg", "b.jpg"],
            "caption": [["A dog.", "It's a dog."], [" Dog "], None],
        }
    )
    frame.to_csv(tmp_path / "captions.csv")
    good, bad = bad_of(tmp_path / "captions.csv")
    assert [row.answers for row in good] == [("A dog.", "It's a dog.", "Dog")]
    assert [row.line for row in bad] == [4]
