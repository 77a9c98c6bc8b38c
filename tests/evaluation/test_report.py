"""What a report shows, worked out by hand for a small set, and that no text can break the page."""

from __future__ import annotations

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.evaluation.report_data import NASTY, make
from vqa.data import read
from vqa.data.example import Example
from vqa.errors import InputError
from vqa.evaluation.calibration import Calibration, CalibrationBin
from vqa.evaluation.predictions import Prediction, read_predictions
from vqa.evaluation.report import charts
from vqa.evaluation.report.causes import CAUSES, cause, too_many_yes, words
from vqa.evaluation.report.confusion import confusions
from vqa.evaluation.report.gallery import MOST_CARDS, Card
from vqa.evaluation.report.html_page import render_report, write_report
from vqa.evaluation.report.report_data import ModelPredictions, ReportData, build_report
from vqa.metrics import get_metric
from vqa.metrics.anls import edits

TEXT = st.text(max_size=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("report")
    make(directory)
    return directory


@pytest.fixture(scope="module")
def report(folder: Path) -> ReportData:
    return built(folder)


def built(folder: Path) -> ReportData:
    models = [
        ModelPredictions(
            "first", *(read_predictions(folder / f"{n}.jsonl") for n in ("a", "blind", "swap"))
        ),
        ModelPredictions(
            "second", read_predictions(folder / "b.jsonl"), run={"model": "x", "s": {"t": 1}}
        ),
    ]
    rows = list(read(folder / "data.jsonl", need_images=False))
    return build_report(
        rows, models, get_metric("exact_match"), data="data", images=folder, by="kind", draws=100
    )


def cards(report: ReportData) -> dict[str | int, Card]:
    return {card.id: card for group in report.gallery.groups for card in group.cards}


@pytest.mark.parametrize(
    ("prediction", "answers", "expected"),
    [
        ("It is a red car.", ("red car",), "format"),
        ("red", ("a red car",), "format"),
        ("two", ("2 dogs",), "format"),
        ("tshirt", ("t-shirt",), "format"),
        ("12", ("2",), "other"),  # a word of it, not a part of a word
        ("catalog", ("cat",), "other"),
        ("3", ("four",), "near miss"),
        ("there are 3", ("4 dogs",), "near miss"),
        ("3", ("5",), "other"),
        ("2018", ("2028",), "other"),
        ("dogs", ("dog",), "other"),  # three letters: too short for one to be a slip
        ("horses", ("horse",), "near miss"),
        ("skatebord", ("skateboard",), "near miss"),
        ("car", ("cat",), "other"),
        ("blue car", ("red car",), "near miss"),
        ("a man on the street", ("a dog on the sofa",), "other"),  # only small words are shared
        ("yes", ("no",), "always yes"),
        ("Yes, it is.", ("no", "no", "yellow"), "always yes"),
        ("yes", ("red",), "other"),
        ("grey", ("red",), "picture ignored"),
        ("Brown!", ("red",), "picture ignored"),
        ("", ("red",), "other"),
        ("?", ("!",), "other"),
    ],
)
def test_causes(prediction: str, answers: tuple[str, ...], expected: str) -> None:
    assert cause(prediction, answers, "a grey", "brown", True) == expected


def test_without_knowing_more_a_wrong_yes_is_other() -> None:
    assert cause("yes", ("no",)) == "other"
    assert cause("grey", ("red",)) == "other"
    assert cause("yes", ("no",), blind="yes") == "picture ignored"


@given(TEXT, st.lists(TEXT, max_size=3), st.none() | TEXT, st.booleans())
def test_every_text_has_a_cause(
    prediction: str, answers: list[str], blind: str | None, many: bool
) -> None:
    assert cause(prediction, answers, blind, None, many) in CAUSES
    if words(prediction):
        assert cause(prediction, (prediction,)) == "format"


@given(TEXT, TEXT)
def test_distance_is_one(a: str, b: str) -> None:
    assert edits(a, b) == edits(b, a) >= abs(len(a) - len(b))
    assert (edits(a, b) == 0) == (a == b)
    assert edits("kitten", "sitting") == 3


def test_too_many_yes() -> None:
    right = [("yes",)] * 5 + [("no",)] * 5
    assert too_many_yes(["yes"] * 7 + ["no"] * 3, right)
    assert not too_many_yes(["yes"] * 6 + ["no"] * 4, right)
    assert not too_many_yes(["yes"] * 9, right[1:])  # too few questions
    assert not too_many_yes(["yes"] * 20, [("red",)] * 20)


def test_confusion() -> None:
    answers = [("cat", "cat", "dog"), ("cat",), ("dog",), ("dog",), ("dog",), ("once",)]
    predictions = ["A cat.", "a dog", "It is a dog", "cat or dog", "", "dog"]
    (confusion,) = confusions(answers, [predictions])
    assert confusion.answers == ("dog", "cat")
    assert confusion.columns == ("dog", "cat", "it is dog", "cat or dog")
    # dog: once as "it is a dog", once both, once nothing; cat: once right, once dog
    assert confusion.counts == ((0, 0, 1, 1, 0, 1), (1, 1, 0, 0, 0, 0))
    assert confusion.totals == (3, 2)
    assert confusions([("a",), ("b",)], [["a", "b"]]) == ()


def test_scores_and_baselines(report: ReportData) -> None:
    # 37 rows; first: 3 red, 3 wet (of which the last row is missing, a no); second: all but two
    assert (report.count, report.pictures) == (37, 13)
    assert [bar.label for bar in report.bars] == [
        "first", "second", "Commonest answer", "Question alone", "Blank picture", "Another picture",
    ]  # fmt: skip
    first, second = report.bars[:2]
    assert first.value == pytest.approx(6 / 37) and second.value == pytest.approx(35 / 37)
    assert first.interval is not None and first.interval[0] < first.value < first.interval[1]
    assert report.bars[2].detail == "“no”"
    assert report.bars[4].value == pytest.approx(3 / 37)
    assert {row.name: row.count for row in report.slices} == {
        "color": 12, "count": 12, "yes-no": 12, "null": 1,
    }  # fmt: skip
    assert report.comparisons[0].verdict == "better"


def test_causes_of_each_model(report: ReportData) -> None:
    # first: 11 counts in a sentence, 8 of 9 wrong yes (one is missing), 9 times red as when blind,
    # and the failed, the missing and the nasty row
    assert report.causes == {
        "format": (11, 0),
        "near miss": (0, 2),  # bluee, and `b teal` has half the words of `b tea b`
        "always yes": (8, 0),
        "picture ignored": (9, 0),
        "other": (3, 0),
    }
    assert report.gallery.count == 31


def test_failed_and_missing_rows(report: ReportData) -> None:
    assert [(f.model, f.id, f.why) for f in report.failed] == [
        ("first", "1-count", "1.png is damaged"),
        ("first", "11-yes-no", "no prediction"),
    ]


def test_cards(report: ReportData) -> None:
    by_id = cards(report)
    assert len(by_id) == 31
    red = by_id["2-color"]
    assert red.cause == "picture ignored" and red.answers == (("green", 1),)
    assert [s.text for s in red.predictions] == ["red", "green"]
    assert red.predictions[1].cause is None and red.changes == (("fixed", 1),)
    near = by_id["1-color"]
    assert near.predictions[1].cause == "near miss" and near.changes == ()
    assert by_id["1-count"].predictions[0].error == "1.png is damaged"
    assert by_id[7].pictures == () and "gone.png: no such file" in by_id[7].no_picture
    first = next(group for group in report.gallery.groups if group.cause == "format").cards[0]
    assert first.predictions[0].probability == pytest.approx(0.85)  # the surest mistake


def test_pictures_are_small_jpegs(report: ReportData) -> None:
    (uri,) = cards(report)["2-color"].pictures
    head, _, text = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        assert picture.format == "JPEG" and max(picture.size) == 320


def test_a_picture_outside_of_the_folder_is_not_shown(folder: Path, tmp_path: Path) -> None:
    rows = [Example(i, (name,), "?", ("x",)) for i, name in enumerate(("../0.png", "0.png"))]
    (folder / "inner").mkdir(exist_ok=True)
    model = ModelPredictions("m", {0: Prediction("y"), 1: Prediction("y")})
    report = build_report(
        rows, [model], get_metric("exact_match"), data="d", images=folder / "inner", draws=100
    )
    shown = cards(report)
    assert "outside" in shown[0].no_picture and shown[0].pictures == ()
    assert "no such file" in shown[1].no_picture


def test_many_errors_are_a_bounded_choice_of_all_causes(tmp_path: Path) -> None:
    rows = [Example(i, (f"{i}",), "Which?", ("red",)) for i in range(2000)]
    predictions = {i: Prediction("blue" if i else "a red one", 0.5) for i in range(2000)}
    model = ModelPredictions("m", predictions)
    report = build_report(
        rows, [model], get_metric("exact_match"), data="d", images=tmp_path, draws=100
    )
    assert report.gallery.count == 2000 and report.gallery.card_count == MOST_CARDS
    assert [(g.cause, g.count) for g in report.gallery.groups] == [("format", 1), ("other", 1999)]
    assert len(render_report(report)) < 2_000_000


def test_names_must_differ(folder: Path) -> None:
    rows = list(read(folder / "data.jsonl", need_images=False))
    model = ModelPredictions("m", read_predictions(folder / "a.jsonl"))
    with pytest.raises(InputError, match="`name`"):
        build_report(rows, [model, model], get_metric("exact_match"), data="d", images=folder)


class _Page(HTMLParser):
    """Elements, addresses and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_has_all_parts_and_loads_nothing(report: ReportData, tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", report)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    parsed = _Page(page)
    for title in ("Scores", "By kind", "What changed", "Calibration", "Confusion", "Errors",
                  "Rows without an answer", "How the predictions were made"):  # fmt: skip
        assert title in parsed.text
    assert report.scores[0].gain.sentence.replace(" %", "\u00a0%") in parsed.text
    assert all(one.startswith(("#", "data:")) for one in parsed.addresses)
    assert parsed.tags.count("svg") == 2 and "default-src 'none'" in page
    assert render_report(report) == page  # the same numbers give the same file


def test_texts_of_strangers_stay_text(report: ReportData) -> None:
    parsed = _Page(render_report(report))
    assert parsed.tags.count("script") == 1 and parsed.handlers == []
    assert NASTY in parsed.text and "<b>tea</b>" in parsed.text
    assert "</script><script>alert(2)</script>" in parsed.text


def test_what_turns_letters_around_is_seen() -> None:
    turned = "no\u202egnp.exe\x1b[31m"
    rows = [Example(n, ("p",), turned, ("a",)) for n in range(2)]
    model = ModelPredictions(turned, {n: Prediction(turned, 0.5) for n in range(2)})
    nowhere = Path("/nowhere")
    report = build_report(
        rows, [model], get_metric("exact_match"), data=turned, images=nowhere, draws=100
    )
    page = render_report(report)
    assert "no\ufffdgnp.exe\ufffd[31m" in page
    assert not any(char in page for char in "\u202e\x1b")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=7, max_size=7))
def test_no_text_adds_an_element(texts: list[str]) -> None:
    def tags(texts: list[str]) -> list[str]:
        question, answer, prediction, error, name, column, note = texts
        rows = [
            Example(0, ("p",), question, (answer,), {"c": column}),
            Example(1, ("p",), question, (answer,), {"c": column}),
        ]
        model = ModelPredictions(
            name, {0: Prediction(prediction, 0.5), 1: Prediction(None, error=error)}
        )
        report = build_report(
            rows, [model], get_metric("exact_match"), data=name, images=Path("/nowhere"), by="c",
            draws=100, notes=[note],
        )  # fmt: skip
        return _Page(render_report(report)).tags

    plain = ["q", "a", "b", "e", "n", "c", "n"]
    added = set(tags(texts)) - set(tags(plain)) - {"em"}  # an empty answer
    assert added == set() and tags(texts).count("script") == 1


@pytest.mark.parametrize(
    ("name", "kind", "shown"),
    [("pope", "yes-no", "yes rate"), ("counting", "count", "mean absolute error")],
)
def test_metrics_of_several_values(folder: Path, name: str, kind: str, shown: str) -> None:
    rows = list(read(folder / "data.jsonl", need_images=False))
    rows = [row for row in rows if row.extra.get("kind") == kind]
    model = ModelPredictions("m", read_predictions(folder / "b.jsonl"))
    report = build_report(rows, [model], get_metric(name), data="d", images=folder, draws=100)
    page = _Page(render_report(report)).text
    assert "All values" in page and shown in page
    assert [row.name for row in report.values] == list(report.scores[0].values)


def test_charts_draw_what_is_there() -> None:
    calibration = Calibration(
        4, 0.5, 0.5, 0.1, (CalibrationBin(2, 0.25, 0.0), CalibrationBin(2, 0.75, 1.0)), 0.1,
        ((0.5, 0.0), (1.0, 0.5)), 0.5, 0.5, 1.0, 0.0,
    )  # fmt: skip
    drawn = charts.reliability([("a <b>", calibration), ("none", None)])
    assert drawn.count("<circle") == 2 and "a &lt;b&gt;: 2 answers" in drawn
    # the square from (62, 246) to (320, 12): a quarter and three quarters of its width
    assert 'points="126.5,246 255.5,12"' in drawn
    curve = charts.risk_coverage([("a", calibration)])
    assert 'points="191,246 320,12"' in curve  # the axis ends at 50 %
    assert "not sure below 0.5;" in curve


def test_a_page_without_probabilities_errors_or_slices(tmp_path: Path) -> None:
    rows = [Example(1, ("a",), "?", ("x",))]
    model = ModelPredictions("m", {1: Prediction("x")})
    report = build_report(
        rows, [model], get_metric("exact_match"), data="d", images=tmp_path, draws=100
    )
    page = _Page(render_report(report)).text
    assert "There are none: every answer" in page and "carry no probabilities" in page
    assert "too few pictures for an interval" in page


def test_guesses_by_place_stand_beside_multiple_choice(tmp_path: Path) -> None:
    rows = [
        Example(i, (f"{i}.png",), "Which?", (f"b{i}",), extra={"choices": [f"a{i}", f"b{i}"]})
        for i in range(30)
    ]
    model = ModelPredictions("m", {i: Prediction(f"b{i}") for i in range(30)})
    shown = build_report(
        rows, [model], get_metric("multiple_choice"), data="d", images=tmp_path, draws=100
    )
    bars = {bar.label: bar.value for bar in shown.bars}
    assert bars["Commonest choice's place"] == bars["m"] == 1
