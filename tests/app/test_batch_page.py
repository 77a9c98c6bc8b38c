from __future__ import annotations

import csv
import io
import json
import string
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
import yaml
from PIL import Image
from streamlit.testing.v1 import AppTest

import vqa.loading
from app import batch_files, batch_page
from app.batch_files import AnsweredRow, Results
from app.state import batches
from tests.app.fake import Parrot
from vqa.data.example import Example
from vqa.evaluation.predictions import Prediction

ECHO = "With 1 pictures you asked: "


def on_batch_page() -> None:
    """The page alone: AppTest cannot go to a page that is a function."""
    from app import batch_page

    batch_page.show()


@pytest.fixture(params=[True])
def local(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, local: bool) -> Iterator[Parrot]:
    answerer = Parrot()
    monkeypatch.setattr(vqa.loading, "load_choice", lambda choice: answerer)
    history = str(tmp_path / "history")
    monkeypatch.setenv("VQA_APP", json.dumps({"history": history, "local": local}))
    st.cache_resource.clear()
    yield answerer
    st.cache_resource.clear()


def opened(key: str | None = None) -> AppTest:
    page = AppTest.from_function(on_batch_page, default_timeout=20)
    if key is not None:
        page.query_params["b"] = key
    page.run()
    assert not page.exception
    return page


def png(color: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), color).save(file, "PNG")
    return file.getvalue()


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, png("teal"))
    return file.getvalue()


ROWS = (
    "image,question,answer\n"
    f"a.png,One?,{ECHO}One?\n"
    f"b.png,*Two* <b>?</b>,no\n"
    f"gone.png,Three?,no\n"
    f",Four?,no\n"
)


def given(page: AppTest, data: str = ROWS, *names: str) -> AppTest:
    page.file_uploader[0].set_value(("rows.csv", data.encode(), "text/csv"))
    if names:
        page.file_uploader[1].set_value(("all.zip", zipped(*names), "application/zip"))
    page.button[[one.label for one in page.button].index("Start")].click()
    page.run()
    assert not page.exception
    return page


def ended(page: AppTest) -> AppTest:
    end = time.monotonic() + 20
    while any(one.key == "batch-stop" for one in page.button):
        assert time.monotonic() < end
        time.sleep(0.1)
        page.run()
    assert not page.exception
    return page


def click(page: AppTest, key: str) -> AppTest:
    next(one for one in page.button if one.key == key).click()
    page.run()
    assert not page.exception
    return page


def texts(page: AppTest) -> list[str]:
    return [text.value for text in page.text]


def test_a_file_is_answered_scored_and_shown(parrot: Parrot) -> None:
    page = ended(given(opened(), ROWS, "a.png", "b.png"))
    assert page.header[0].value == "rows\\.csv"
    shown = texts(page)
    assert "line 5: image is missing" in shown[0]
    assert f"{ECHO}One?" in shown and f"{ECHO}*Two* <b>?</b>" in shown
    assert "*Two* <b>?</b>" in shown
    assert any("gone.png" in warning.value.replace("\\", "") for warning in page.warning)
    values = {metric.label: metric.value for metric in page.metric}
    assert values["Score"] == "33.3 %" and values["Commonest answer"] == "66.7 %"
    answers = [expander.label for expander in page.expander]
    assert "Rows that cannot be asked: 1" in answers
    assert [len(request.messages[-1].images) for request in parrot.requests] == [1, 1]


def test_rows_with_one_id_are_told_apart(parrot: Parrot) -> None:
    rows = f"id,image,question,answer\n1,a.png,One?,{ECHO}One?\n1,a.png,Two?,{ECHO}Two?\n"
    page = ended(given(opened(), rows, "a.png"))
    assert any("earlier row has: 1" in caption.value for caption in page.caption)
    assert {metric.label: metric.value for metric in page.metric}["Score"] == "100.0 %"


def test_the_filter_shows_wrong_right_and_failed_rows(parrot: Parrot) -> None:
    page = ended(given(opened(), ROWS, "a.png", "b.png"))
    kinds = {}
    for kind in ("all", "wrong", "right", "failed"):
        choice = next(one for one in page.segmented_control if "batch-show" in one.key)
        choice.set_value(kind)
        page.run()
        kinds[kind] = [text for text in texts(page) if text in ("One?", "*Two* <b>?</b>", "Three?")]
    assert kinds == {
        "all": ["One?", "*Two* <b>?</b>", "Three?"],
        "wrong": ["*Two* <b>?</b>", "Three?"],
        "right": ["One?"],
        "failed": ["Three?"],
    }


def test_another_metric_may_be_chosen_and_one_that_does_not_suit_says_so(parrot: Parrot) -> None:
    page = ended(given(opened(), ROWS, "a.png", "b.png"))
    metric = next(one for one in page.selectbox if "batch-metric" in str(one.key))
    assert metric.value == "exact_match"
    metric.set_value("bleu")
    page.run()
    assert page.metric[0].label == "Score"
    metric = next(one for one in page.selectbox if "batch-metric" in str(one.key))
    metric.set_value("multiple_choice")
    page.run()
    assert not page.exception and not page.metric
    assert any("does not suit" in warning.value for warning in page.warning)


def test_without_answers_nothing_is_scored(parrot: Parrot) -> None:
    page = ended(given(opened(), "image,question\na.png,One?\n", "a.png"))
    assert f"{ECHO}One?" in texts(page) and not page.metric


def test_the_list_survives_a_new_page_and_a_run_can_be_deleted(parrot: Parrot) -> None:
    page = ended(given(opened(), ROWS, "a.png"))
    page = opened()
    (row,) = (one for one in page.button if str(one.key).startswith("batch-open-"))
    assert row.label == "rows\\.csv"
    assert any("Done" in caption.value for caption in page.caption)
    row.click()
    page.run()
    assert page.header[0].value == "rows\\.csv"
    click(page, "batch-delete")
    assert not any(str(one.key).startswith("batch-open-") for one in page.button)


def test_a_run_is_stopped_and_goes_on(parrot: Parrot) -> None:
    rows = "image,question\n" + "a.png,slow one?\n" * 30
    page = given(opened(), rows, "a.png")
    click(page, "batch-stop")
    ended(page)
    assert any("Stopped at 0 of 30" in info.value for info in page.info)
    click(page, "batch-go-on")
    assert any(one.key == "batch-stop" for one in page.button)
    click(page, "batch-stop")
    ended(page)


@pytest.mark.parametrize("key", ["batch-go-on", "batch-delete"])
def test_what_another_tab_has_deleted_is_told(parrot: Parrot, key: str) -> None:
    page = ended(given(opened(), "image,question\na.png,please fail now\n", "a.png"))
    click(opened(str(page.query_params["b"])), "batch-delete")
    click(page, key)
    assert "not here any more" in page.error[0].value
    assert [info.value for info in page.info] == ["This file is not here any more."]


def test_a_run_that_is_deleted_cannot_be_stopped(parrot: Parrot) -> None:
    page = given(opened(), "image,question\n" + "a.png,slow one?\n" * 30, "a.png")
    batches().delete("local", str(page.query_params["b"]))
    click(page, "batch-stop")
    assert "not here any more" in page.error[0].value


def test_what_cannot_be_read_is_told_and_leaves_nothing(parrot: Parrot) -> None:
    page = opened()
    click(page, next(str(one.key) for one in page.button if one.label == "Start"))
    assert [warning.value for warning in page.warning] == ["Choose a file of questions first."]
    page = given(opened(), "<b>*hello*</b>")
    assert "no known format" in page.error[0].value and "\\<b\\>" in page.error[0].value
    page = given(opened(), ROWS)
    assert "None of the pictures is there" in page.error[0].value
    assert not any(str(one.key).startswith("batch-open-") for one in opened().button)


def test_files_of_this_computer(parrot: Parrot, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("image,question\na.png,One?\n")
    (tmp_path / "a.png").write_bytes(png("red"))
    page = opened()
    page.segmented_control[0].set_value("here")
    page.run()
    paths = [one for one in page.text_input if str(one.key).startswith("batch-")]
    paths[0].set_value(str(tmp_path / "mine.csv"))
    click(page, next(str(one.key) for one in page.button if one.label == "Start"))
    ended(page)
    assert f"{ECHO}One?" in texts(page)


@pytest.mark.parametrize("local", [False], indirect=True)
def test_others_see_neither_paths_nor_runs(parrot: Parrot, monkeypatch: pytest.MonkeyPatch) -> None:
    page = given(opened(), ROWS, "a.png")
    assert not [one for one in page.segmented_control if one.key == "batch-source"]
    key = str(page.query_params["b"])
    ended(page)
    other = opened(key)  # another browser
    assert [info.value for info in other.info] == ["This file is not here any more."]
    assert not any(str(one.key).startswith("batch-open-") for one in other.button)
    assert not other.segmented_control
    many = "image,question\n" + "a.png,What?\n" * 2001
    assert "more than 2000 rows" in given(opened(), many, "a.png").error[0].value


def test_a_failed_run_says_why(parrot: Parrot) -> None:
    page = ended(given(opened(), "image,question\na.png,please fail now\n", "a.png"))
    assert "the parrot is asleep" in page.error[0].value
    assert any(one.key == "batch-go-on" for one in page.button)


def test_chinese_has_the_same_texts() -> None:
    folder = Path(batch_page.__file__).parent / "texts"
    english, chinese = (
        yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8"))["batch"]
        for name in ("en", "zh")
    )

    def fields(words: str) -> set[str]:
        return {name for _, name, _, _ in string.Formatter().parse(words) if name}

    assert english.keys() == chinese.keys()
    assert {key: fields(words) for key, words in english.items()} == {
        key: fields(words) for key, words in chinese.items()
    }


def test_a_table_runs_no_formula() -> None:
    rows = (
        Example(1, ("x/a.png",), "=1+1", ("-3", "@b")),
        Example("+x", ("x/a.png", "b.png"), "What?", ()),
    )
    predictions = {1: Prediction("-3", 0.5), "+x": Prediction(None, error="no\n=picture")}
    table = batch_files.as_csv(Results(rows, predictions), None).decode("utf-8-sig")
    cells = list(csv.DictReader(io.StringIO(table)))
    assert [row["question"] for row in cells] == ["'=1+1", "What?"]
    assert cells[0]["prediction"] == "-3" and cells[0]["probability"] == "0.5000"
    assert cells[1]["id"] == "'+x" and cells[1]["images"] == "a.png | b.png"
    assert Results(rows, predictions).answered()[0] == AnsweredRow(rows[0], predictions[1])
