"""The loop under scripted validations: what a kill leaves, and where the next start ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.scripted import Killed, weights
from training.common.best_weights import best_stored
from training.common.trainer import RowTrainer


def best(output: Path) -> list[str]:
    return sorted(path.name for path in output.glob("best-*"))


def test_the_best_weights_outlive_a_kill(tmp_path, start):
    (tmp_path / "best-3-copy").mkdir()  # a user's
    with pytest.raises(Killed):
        start({0: 1.0, 3: 0.5, 6: 0.4}, kill=7, every=3)
    assert best(tmp_path) == ["best-3-copy", "best-6"]
    trainer = start({10: 0.55, 12: 0.52}, every=5)
    assert trainer.state.global_step == 12
    assert best(tmp_path) == ["best-3-copy", "best-6"]
    stored = load_file(tmp_path / "best-6" / "trained.safetensors")
    assert weights(trainer) == stored["linear.weight"].flatten().tolist()


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("losses", [(0.5, 0.4), (0.4, 0.5)])
def test_a_validation_that_was_cut_short_is_made_by_the_next_start(
    tmp_path, start, losses, measured
):
    script = {0: 1.0, 3: losses[0], 6: losses[1], 9: 0.6, 12: 0.7}
    whole = start(script, every=3)
    shutil.rmtree(tmp_path)
    with pytest.raises(Killed):
        start(script, cut=6, measured=measured, every=3)
    broken = start({step: script[step] for step in (6, 9, 12)}, every=3)
    assert weights(broken) == weights(whole)
    assert measurements(broken) == measurements(whole)


def measurements(trainer: RowTrainer) -> list[tuple[int, float]]:
    """Step and loss of all lines of the log."""
    log = trainer.state.log_history
    return [
        (entry["step"], entry[key])
        for entry in log
        for key in ("loss", "eval_loss")
        if key in entry
    ]


@pytest.mark.slow
def test_a_kill_in_the_last_validation_of_all_does_not_lengthen_the_run(tmp_path, start):
    script = {0: 1.0, 3: 0.5, 6: 0.6, 9: 0.3, 12: 0.2}
    whole = start(script, every=3, patience=1)
    shutil.rmtree(tmp_path)
    with pytest.raises(Killed):
        start(script, cut=6, every=3, patience=1)
    again = start(script, every=3, patience=1)
    assert whole.state.global_step == again.state.global_step == 6
    assert weights(whole) == weights(again)
    shutil.rmtree(tmp_path)
    with pytest.raises(Killed):
        start(script, cut=12, every=3)
    assert measurements(start({12: 0.2}, every=3))[-1] == (12, 0.2)


def test_the_log_of_a_broken_run_is_that_of_an_unbroken_one(tmp_path, start):
    """Though a checkpoint lies between two lines of the log."""
    often = {"log_every": 5, "save_every": None, "save_minutes": 1e-9}
    whole = start({}, settings=often)
    shutil.rmtree(tmp_path)
    for kill in (3, 8):
        with pytest.raises(Killed):
            start({}, kill=kill, settings=often)
    assert measurements(start({}, settings=often)) == measurements(whole)


def test_without_the_best_weights_the_next_best_are_taken(tmp_path):
    log = [{"step": step, "eval_loss": loss} for step, loss in ((0, 0.9), (3, 0.5), (6, 0.7))]
    assert best_stored(log, "loss", tmp_path) is None
    (tmp_path / "best-0").mkdir()
    assert best_stored(log, "loss", tmp_path) == log[0]
    assert best_stored(log, "loss", tmp_path, last=6) == log[2]
    (tmp_path / "best-3").mkdir()
    assert best_stored(log, "loss", tmp_path, last=6) == log[1]


def test_a_run_that_patience_has_stopped_does_not_go_on(tmp_path, start):
    """Killed between its last checkpoint and its end, it is at its end."""
    script = {0: 1.0, 3: 0.5, 6: 0.6, 9: 0.3, 12: 0.2}
    first = start(script, every=3, patience=1)
    again = start(script, kill=6, every=3, patience=1)
    assert first.state.global_step == again.state.global_step == 6
    assert weights(first) == weights(again)
    more = start(script, every=3, patience=2)
    assert more.state.global_step == 12


def test_a_run_that_has_made_its_steps_makes_no_other(start):
    first = start({}, max_steps=5)
    again = start({}, kill=5, max_steps=5)
    assert first.state.global_step == again.state.global_step == 5
    assert weights(first) == weights(again)
    assert start({}, max_steps=6).state.global_step == 6
