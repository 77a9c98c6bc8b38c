"""`vqa classify`, `vqa search`, `vqa score-caption`: output, and one line for what is wrong."""

from __future__ import annotations

import csv
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.alignment import tiny
from tests.cli.run import refused, vqa_here
from vqa.alignment.classify import Classifier

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.clip(tmp_path_factory.mktemp("clip") / "clip")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (30, 30), colour).save(folder / f"{colour}.png")
    return folder


def test_classify_prints_the_best_first(photos: Path, clip: Path, capfd: Capture) -> None:
    done = vqa_here(
        capfd, "classify", photos / "red.png", "--labels", "red, blue,green", "--model", clip,
        "--json",
    )  # fmt: skip
    (row,) = json.loads(done.stdout)
    assert done.returncode == 0 and row["image"].endswith("red.png")
    values = [label["probability"] for label in row["labels"]]
    assert {label["label"] for label in row["labels"]} == {"red", "blue", "green"}
    assert values == sorted(values, reverse=True) and abs(sum(values) - 1) < 1e-5
    plain = vqa_here(capfd, "classify", photos / "red.png", "--labels", "red,blue",
                     "--model", clip, "--top-k", "1")  # fmt: skip
    assert plain.stdout.count("\n") == 1 and "%" in plain.stdout


def test_a_folder_goes_into_a_table_and_a_broken_picture_does_not_end_it(
    photos: Path, clip: Path, tmp_path: Path, capfd: Capture
) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 no")
    out = tmp_path / "labels.csv"
    done = vqa_here(capfd, "classify", photos, "--labels", "red,blue", "--model", clip,
                    "--out", out)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "bad.jpg" in done.stderr and "1 could not be opened" in done.stderr
    rows = list(csv.DictReader(out.open()))
    assert [Path(row["image"]).name for row in rows] == ["blue.png", "green.png", "red.png"]
    assert set(rows[0]) == {"image", "label_1", "probability_1", "label_2", "probability_2"}


def test_a_table_runs_no_formula(
    photos: Path, clip: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("=1+1.png", "+x.png", "-rf.png", "@SUM(A1).png", "\tx.png", "\rx.png", "\uff1d1.png")
    for name in names:
        (tmp_path / name).write_bytes((photos / "red.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    done = vqa_here(capfd, "classify", "--labels", "=red+1,-5", "--model", clip, "--out", "a.csv",
                    "--", *names)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with open("a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"'{name}" for name in names]
    assert {row["label_1"] for row in rows} | {row["label_2"] for row in rows} == {"'=red+1", "-5"}
    assert all(float(row["probability_1"]) > 0 for row in rows)


def test_a_picture_that_is_not_there_is_no_broken_one(
    photos: Path, clip: Path, capfd: Capture
) -> None:
    pair = (photos / "red.png", photos / "nothere.png")
    done = vqa_here(capfd, "classify", *pair, "--labels", "red,blue", "--model", clip)
    assert "nothere.png: no such file" in refused(done)


def test_an_interrupted_table_keeps_what_was_found(
    photos: Path, clip: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Classifier.classify
    calls = []

    def interrupted(self: Classifier, *args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return of(self, *args)

    monkeypatch.setattr(Classifier, "classify", interrupted)
    out = tmp_path / "labels.csv"
    done = vqa_here(capfd, "classify", photos, "--labels", "red,blue", "--model", clip,
                    "--out", out)  # fmt: skip
    assert done.returncode == 130 and "2 of 3 pictures" in done.stderr
    rows = list(csv.DictReader(out.open()))
    assert [Path(row["image"]).name for row in rows] == ["blue.png", "green.png"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [("cat", "one label"), ("cat,dog,cat", "'cat' comes twice"), ("cat,,dog", "a label is empty"),
     ("", "one label")],
)  # fmt: skip
def test_bad_labels(photos: Path, capfd: Capture, labels: str, message: str) -> None:
    assert message in refused(vqa_here(capfd, "classify", photos / "red.png", "--labels", labels))


def test_a_folder_needs_a_table(photos: Path, capfd: Capture) -> None:
    assert "--out" in refused(vqa_here(capfd, "classify", photos, "--labels", "a,b"))


def test_search_from_folder_to_hits(
    photos: Path, clip: Path, tmp_path: Path, capfd: Capture
) -> None:
    (photos / "bad.jpg").write_bytes(b"nothing")
    index = tmp_path / "index"
    done = vqa_here(capfd, "search", "index", photos, "--out", index, "--model", clip)
    assert done.returncode == 0 and "3 encoded" in done.stderr and "bad.jpg" in done.stderr
    again = vqa_here(capfd, "search", "index", photos, "--out", index, "--model", clip)
    assert "0 encoded, 3 unchanged" in again.stderr
    done = vqa_here(capfd, "search", "find", "a red square", "--index", index, "--model", clip,
                     "--top-k", "2", "--json")  # fmt: skip
    rows = json.loads(done.stdout)
    assert len(rows) == 2 and rows[0]["similarity"] >= rows[1]["similarity"]
    assert Path(rows[0]["image"]).is_file()
    like = vqa_here(capfd, "search", "find", "--like", photos / "blue.png", "--index", index,
                    "--model", clip)  # fmt: skip
    assert "blue.png" in like.stdout.splitlines()[0]


def test_wrong_search_is_one_line(photos: Path, clip: Path, tmp_path: Path, capfd: Capture) -> None:
    index = tmp_path / "index"
    (tmp_path / "empty").mkdir()
    assert "no pictures" in refused(
        vqa_here(capfd, "search", "index", tmp_path / "empty", "--out", index)
    )
    assert "is no index" in refused(
        vqa_here(capfd, "search", "find", "x", "--index", tmp_path / "empty")
    )
    assert "either a TEXT" in refused(vqa_here(capfd, "search", "find", "--index", index))
    vqa_here(capfd, "search", "index", photos, "--out", index, "--model", clip)
    other = tiny.siglip(tmp_path / "siglip")
    assert "was made by the model" in refused(
        vqa_here(capfd, "search", "find", "x", "--index", index, "--model", other)
    )
    assert "tokens" in refused(
        vqa_here(capfd, "search", "find", "x" * 99, "--index", index, "--model", clip)
    )


def test_models_of_the_other_command_say_whose_they_are(
    photos: Path, tmp_path: Path, capfd: Capture
) -> None:
    for kind in ("vqa_dual_encoder", "vqa_fusion"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "config.json").write_text(json.dumps({"model_type": kind}))
    photo = photos / "red.png"
    assert "`vqa classify`, search and score-caption take it" in refused(
        vqa_here(capfd, "ask", photo, "x", "--model", tmp_path / "vqa_dual_encoder")
    )
    model = ("--model", tmp_path / "vqa_fusion")
    assert "this is a fusion model" in refused(
        vqa_here(capfd, "classify", photo, "--labels", "a,b", *model)
    )


def test_score_caption(photos: Path, clip: Path, capfd: Capture) -> None:
    photo = photos / "red.png"
    done = vqa_here(capfd, "score-caption", photo, "red", "blue", "--model", clip, "--json")
    output = json.loads(done.stdout)
    assert [row["text"] for row in output["texts"]] == ["red", "blue"]
    assert abs(sum(row["probability"] for row in output["texts"]) - 1) < 1e-5
    one = vqa_here(capfd, "score-caption", photo, "red", "--model", clip, "--json")
    (row,) = json.loads(one.stdout)["texts"]
    assert set(row) == {"text", "similarity"} and -1 <= row["similarity"] <= 1
    assert "no such file" in refused(vqa_here(capfd, "score-caption", "none.png", "red"))


def test_one_wrong_picture_is_one_line(photos: Path, clip: Path, capfd: Capture) -> None:
    labels = ("--labels", "red,blue", "--model")
    typo = vqa_here(capfd, "classify", photos / "typo.png", *labels, "/nowhere")
    assert "no such file" in refused(typo)
    (photos / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    assert "bad.png" in refused(vqa_here(capfd, "classify", photos / "bad.png", *labels, clip))


def test_labels_may_stand_one_a_line(photos: Path, clip: Path, capfd: Capture) -> None:
    done = vqa_here(capfd, "classify", photos / "red.png", "--labels", 'red\nblue\n\n"a, b"\n',
                    "--model", clip, "--json")  # fmt: skip
    (row,) = json.loads(done.stdout)
    assert {label["label"] for label in row["labels"]} == {"red", "blue", "a, b"}


def test_a_name_that_is_no_text_costs_no_table(
    photos: Path, clip: Path, tmp_path: Path, capfd: Capture
) -> None:
    os.rename(photos / "red.png", os.fsencode(photos) + b"/\xe9.png")
    out = tmp_path / "labels.csv"
    done = vqa_here(capfd, "classify", photos, "--labels", "red,blue", "--model", clip,
                    "--out", out, "--json")  # fmt: skip
    assert done.returncode == 0 and len(json.loads(done.stdout)) == 3
    assert len(list(csv.DictReader(out.open()))) == 3


@pytest.mark.parametrize("text", ["x" * 100_000, "red " * 25_000])
def test_a_text_of_absurd_length_is_refused_before_a_model_is_loaded(
    photos: Path, clip: Path, tmp_path: Path, capfd: Capture, text: str
) -> None:
    index, nowhere = tmp_path / "index", tmp_path / "no-model"  # loading it would be another line
    vqa_here(capfd, "search", "index", photos, "--out", index, "--model", clip)
    photo = photos / "red.png"
    for arguments in (
        ("search", "find", text, "--index", index),
        ("score-caption", photo, "red", text),
        ("classify", photo, "--labels", f"red,{text}"),
        ("classify", photos, "--labels", f"{text},blue", "--out", tmp_path / "out.csv"),
    ):
        line = refused(vqa_here(capfd, *arguments, "--model", nowhere))
        assert "characters: at most 8,000 are read" in line and len(line) < 200


def test_very_many_labels_are_compared_quickly(photos: Path, capfd: Capture) -> None:
    labels = ",".join(f"{number:x}" for number in range(23_000))
    started = time.monotonic()
    line = refused(vqa_here(capfd, "classify", photos / "none.png", "--labels", labels))
    assert "no such file" in line
    assert time.monotonic() - started < 5
