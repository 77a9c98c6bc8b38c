"""Validation: which pictures are held out, what is measured on them, what follows from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from tests.tiny import llava_1_5
from training.common.best_weights import best_of
from training.run import run
from training.sft.data import mark_validation_rows
from training.sft.tokens import TokenTable
from vqa.errors import InputError


def tokens(rows: list[list[str]]) -> TokenTable:
    """Rows about the pictures of these paths."""
    paths = sorted({path for row in rows for path in row})
    indices = [paths.index(path) for row in rows for path in row]
    starts = np.cumsum([0, *map(len, rows)])
    arrays = {"pictures": np.array(indices, np.int32), "picture_starts": starts,
              "prefix_lengths": np.zeros(len(rows), np.int32)}  # fmt: skip
    return TokenTable(arrays, paths, [])


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(st.sampled_from("abcdefghij"), max_size=3), min_size=1, max_size=30),
    contents=st.lists(st.integers(0, 6), min_size=10, max_size=10),
    share=st.floats(0, 0.9),
    seed=st.integers(0, 5),
)
def test_no_picture_is_on_both_sides(rows, contents, share, seed):
    fingerprints = {path: f"content {n}" for path, n in zip("abcdefghij", contents, strict=True)}
    apart = mark_validation_rows(tokens(rows), fingerprints, share, seed)
    sides = [
        {
            fingerprints[path]
            for row, marked in zip(rows, apart, strict=True)
            if marked == side
            for path in row
        }
        for side in (True, False)
    ]
    assert not sides[0] & sides[1]
    assert not any(marked for row, marked in zip(rows, apart, strict=True) if not row)
    assert not rows or any(rows) <= bool(sides[1])  # something is left to learn from


def test_the_share_is_about_what_was_asked_for_and_stays_when_data_grows():
    rows = [[f"{n}"] for n in range(1000)]
    fingerprints = {path: path for [path] in rows}
    few = mark_validation_rows(tokens(rows[:500]), fingerprints, 0.1, 0)
    many = mark_validation_rows(tokens(rows), fingerprints, 0.1, 0)
    assert 70 <= many.sum() <= 130
    assert (few == many[:500]).all()
    assert mark_validation_rows(tokens(rows[:2]), fingerprints, 0.01, 0).sum() == 1
    assert mark_validation_rows(tokens(rows[:1]), fingerprints, 0.5, 0).sum() == 0


def test_a_run_tells_what_it_learned(tmp_path, data, config):
    out = tmp_path / "run"
    run(config(recipe="finetune", model=llava_1_5(tmp_path / "base"), data=data, output=out,
               epochs=3, validation={"share": 0.3, "every": 2, "max_new_tokens": 3}))  # fmt: skip
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    checked = [entry for entry in log if "eval_loss" in entry]
    assert checked[0]["step"] == 0
    assert {entry["step"] for entry in log if "loss" in entry} >= {2}
    assert all(0 <= entry["eval_metric"] <= 1 for entry in checked)
    described = json.loads((out / "run.json").read_text())
    assert described["finished"] and described["versions"]["torch"]
    assert described["rows"] + described["validation_rows"] == 16
    first = (out / "validation" / "step-000000.jsonl").read_text().splitlines()
    assert len(first) == described["validation_rows"] > 0
    card = (out / "README.md").read_text()
    assert "| loss |" in card and json.loads(first[0])["question"] in card
    assert Image.open(out / "curves.png").size[0] > 500


def test_any_character_of_a_question_comes_onto_the_card(tmp_path, data, config):
    question = "What\u2028colour\x85is it?"
    rows = [json.loads(line) | {"question": question} for line in data.read_text().splitlines()]
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    out = tmp_path / "run"
    run(config(recipe="finetune", model=llava_1_5(tmp_path / "base"), data=data, output=out,
               max_steps=1, validation={"share": 0.3, "max_new_tokens": 2}))  # fmt: skip
    assert json.loads((out / "run.json").read_text())["finished"]
    assert "What colour is it?" in (out / "README.md").read_text()


def test_a_run_that_patience_has_stopped_goes_on_with_more_of_it(tmp_path, data, config):
    out = tmp_path / "run"
    values = {"recipe": "finetune", "model": llava_1_5(tmp_path / "base"), "data": data,
              "learning_rate": {"projector": 1e-30, "language": 1e-30}, "max_steps": 4,
              "output": out, "save_every": 1}  # fmt: skip
    ended = []
    for patience in (1, 1, 9):
        given = {"share": 0.3, "every": 1, "patience": patience, "max_new_tokens": 2}
        run(config(**values, validation=given))
        log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        ended.append(max(entry["step"] for entry in log if "loss" in entry))
    assert ended == [1, 1, 4]


def test_the_best_weights_are_those_that_stay(tmp_path, data, config):
    """With steps that are too small to change an answer none is better than the start."""
    out = tmp_path / "run"
    run(config(recipe="finetune", model=llava_1_5(tmp_path / "base"), data=data, output=out,
               max_steps=6, learning_rate={"projector": 1e-30, "language": 1e-30},
               validation={"share": 0.3, "every": 1, "patience": 3, "best_by": "loss",
                           "max_new_tokens": 2}))  # fmt: skip
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if "eval_loss" in entry] == [0, 1, 2, 3]
    final = load_file(out / "adapter_model.safetensors")
    assert not any(value.any() for name, value in final.items() if "lora_B" in name)


def test_a_validation_file_with_a_training_picture_is_refused(tmp_path, data, config):
    (tmp_path / "copy.png").write_bytes((tmp_path / "3.png").read_bytes())
    own = tmp_path / "val.jsonl"
    own.write_text(json.dumps({"image": "copy.png", "question": "What?", "answer": "red"}))
    values = {"recipe": "finetune", "model": llava_1_5(tmp_path / "base"), "data": data}
    with pytest.raises(InputError, match=r"copy.png is also a training picture .*3.png"):
        run(config(**values, output=tmp_path / "run", validation={"data": str(own)}))
    Image.new("RGB", (9, 9), "green").save(tmp_path / "copy.png")
    run(config(**values, output=tmp_path / "run", max_steps=1, validation={"data": str(own)}))
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (described["rows"], described["validation_rows"]) == (16, 1)


@pytest.mark.parametrize(("by", "expected"), [("loss", 1), ("metric", 3)])
def test_the_best_is_the_first_of_equals(by: str, expected: int) -> None:
    entries = [
        {"step": 0, "eval_loss": 3.0, "eval_metric": 0.1},
        {"step": 1, "eval_loss": 1.0, "eval_metric": 0.2},
        {"step": 2, "eval_loss": 2.0, "eval_metric": 0.3},
        {"step": 3, "eval_loss": 1.0, "eval_metric": 0.3},
        {"step": 4, "eval_loss": 1.0, "eval_metric": 0.3},
    ]
    assert best_of(entries, by)["step"] == expected


def test_rows_that_do_not_fit_are_named(tmp_path: Path, data: Path, config) -> None:
    rows = data.read_text().splitlines()
    long = json.loads(rows[3]) | {"id": "the long one", "question": "word " * 5000}
    data.write_text("\n".join([*rows[:3], json.dumps(long), *rows[4:]]))
    with pytest.raises(InputError, match=r"train.jsonl:4: \d+ tokens, but the model takes"):
        run(config(recipe="finetune", model=llava_1_5(tmp_path / "base"), data=data,
                   output=tmp_path / "run"))  # fmt: skip
    assert not (tmp_path / "run").exists()
