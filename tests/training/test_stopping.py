"""Ended by a signal: where a run stops, what it says, and that it goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.cli.run import environment, vqa_here
from tests.tiny import llava_1_5
from tests.training.scripted import Killed, weights
from training.common.resume import keep_last
from vqa.errors import VQAError
from vqa.models.runs import checkpoints, last_checkpoint, step_of
from vqa.utils.stopping import SIGNALS, Stop, stopping

INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.fixture
def taken() -> Iterator[None]:
    with SIGNALS.installed():
        yield


def steps(output: Path) -> list[int]:
    return [step_of(path) for path in checkpoints(output)]


@pytest.mark.usefixtures("taken")
@pytest.mark.parametrize(
    "came", [[INT], [TERM], [HUP], [TERM, TERM], [TERM, HUP], [HUP, TERM, TERM]]
)
def test_a_signal_ends_the_run_behind_its_step(tmp_path, start, came, capfd):
    whole = start({}, settings={"save_every": None})
    shutil.rmtree(tmp_path)
    with pytest.raises(Stop) as stop:
        start({}, signals={6: came}, settings={"save_every": None})
    assert stop.value.number == came[0]
    assert steps(tmp_path) == [7]
    capfd.readouterr()
    SIGNALS.__init__()
    again = start({}, settings={"save_every": None})
    assert capfd.readouterr().err.startswith("goes on from step 7 of 12\n")
    assert weights(again) == weights(whole)


@pytest.mark.usefixtures("taken")
def test_a_second_ctrl_c_ends_it_in_the_step(tmp_path, start):
    with pytest.raises(Stop):
        start({}, signals={6: [INT, INT]})
    assert steps(tmp_path) == [4]


@pytest.mark.usefixtures("taken")
def test_a_signal_in_a_validation_does_not_wait_for_its_end(tmp_path, start):
    script = {0: 1.0, 3: 0.5, 6: 0.4, 9: 0.6, 12: 0.7}
    whole = start(script, every=3)
    shutil.rmtree(tmp_path)
    with pytest.raises(Stop):
        start(script, signals={-6: [TERM]}, every=3)
    assert steps(tmp_path) == [6]
    SIGNALS.__init__()
    with pytest.raises(Stop):  # in the step before a validation, which is for the next start
        start({6: 0.4}, signals={8: [TERM]}, every=3)
    assert steps(tmp_path) == [9]
    SIGNALS.__init__()
    again = start({9: 0.6, 12: 0.7}, every=3)
    assert weights(again) == weights(whole)


@pytest.mark.usefixtures("taken")
def test_a_signal_before_the_first_step_ends_it_at_once(tmp_path, start):
    with pytest.raises(Stop):
        start({0: 1.0}, signals={-0: [TERM]}, kill=0)
    assert steps(tmp_path) == []


def test_what_comes_while_the_run_ends_changes_nothing():
    with SIGNALS.installed():
        with pytest.raises(Stop):
            signal.raise_signal(TERM)
        signal.raise_signal(TERM)
        signal.raise_signal(HUP)
    assert signal.getsignal(INT) is signal.default_int_handler


def test_what_is_to_be_ignored_stays_ignored():
    before = signal.signal(HUP, signal.SIG_IGN)  # as nohup does
    try:
        with stopping():
            signal.raise_signal(HUP)
    finally:
        signal.signal(HUP, before)


@pytest.mark.parametrize("number", [INT, TERM, HUP])
def test_the_exit_code_is_that_of_a_shell(number):
    with pytest.raises(VQAError) as ended, stopping():
        signal.raise_signal(number)
    assert ended.value.exit_code == 128 + number


@pytest.mark.parametrize("number", [INT, TERM])
def test_a_signal_while_pictures_are_encoded_is_one_line(
    tmp_path, data, config, capsys, monkeypatch, number
):
    from training.common import features

    encode = features.patch_features
    encoded = []

    def interrupted(model, pixels):
        if len(encoded) == 2:
            encoded.append(0)
            signal.raise_signal(number)
        encoded.append(len(pixels))
        return encode(model, pixels)

    monkeypatch.setattr(features, "patch_features", interrupted)
    monkeypatch.setattr(features, "encoder_batch_size", lambda device: 3)
    path = config(recipe="finetune", model=llava_1_5(tmp_path / "base"), data=data,
                  validation={"share": 0}, output=tmp_path / "run")  # fmt: skip
    stopped = vqa_here(capsys, "train", path)
    assert stopped.returncode == 128 + number, encoded
    assert stopped.stderr.endswith(
        "before the first step was saved: the same command starts again, and what was read and "
        "encoded is kept\n"
    )
    assert stopped.stderr.count("\n") == 1
    assert vqa_here(capsys, "train", path).returncode == 0
    assert encoded == [3, 3, 0, 2]  # 8 pictures: none of them twice


def test_time_passes_and_a_checkpoint_is_written(tmp_path, start, monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            self.now += 20  # it is asked at the end of each step, and of each checkpoint
            return self.now

        def time(self) -> float:
            return -self.now  # what is set back counts for nothing

    monkeypatch.setattr("training.common.callbacks.time", Clock())
    with pytest.raises(Killed):
        start({}, kill=9, settings={"save_every": None, "save_minutes": 1, "keep_checkpoints": 9})
    assert steps(tmp_path)[0] == 1
    assert 1 < len(steps(tmp_path)) < 9


def test_the_last_checkpoints_by_their_steps_are_kept_whatever_the_clock_says(tmp_path):
    for step in (2, 9, 10):
        path = tmp_path / f"checkpoint-{step}"
        path.mkdir()
        (path / "trainer_state.json").write_text("{}")
        os.utime(path, (1e9 - step, 1e9 - step))
    keep_last(tmp_path, 2)
    assert steps(tmp_path) == [9, 10]


@pytest.fixture
def guide(tmp_path: Path) -> list[str]:
    """The command of the guide on a folder for each kind, with a tiny model and few steps."""
    for kind, colour in (("dress", "red"), ("hat", "blue")):
        for number in range(8):
            path = tmp_path / "garments" / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20 + number, 20), colour).save(path)
    llava_1_5(tmp_path / "base")
    shorter = ["row_tokens=64", "rows_per_step=1", "epochs=10", "device=cpu", "dtype=float32"]
    rates = ["learning_rate.projector=0.01", "learning_rate.language=0.01"]
    validation = ["validation.share=0.3", "validation.max_new_tokens=2"]
    model = f"model={tmp_path / 'base'}"
    data = f"data={tmp_path / 'garments'}"
    return ["train", "finetune", data, model, *shorter, *rates, *validation]


@pytest.mark.slow
def test_the_guides_run_goes_on_after_every_kind_of_kill(tmp_path, guide, capsys):
    assert vqa_here(capsys, *guide, f"output={tmp_path / 'whole'}").returncode == 0
    broken = tmp_path / "broken"
    command = [*guide, f"output={broken}"]
    reached = 0
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (TERM, 143), (INT, 130)):
        ended, error = killed(command, number, lambda: saved(broken) > reached)  # noqa: B023
        assert ended == code, error
        begins = f"goes on from step {reached} of" if reached else "from the start:"
        assert begins in error
        reached = saved(broken)
        if number != signal.SIGKILL:
            assert f"behind step {reached} of" in error.splitlines()[-1]
            assert "Traceback" not in error
    end = vqa_here(capsys, *command)
    assert end.returncode == 0
    assert f"goes on from step {reached} of" in end.stderr
    one, two = (load_file(tmp_path / out / "adapter_model.safetensors") for out in
                ("whole", "broken"))  # fmt: skip
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def saved(output: Path) -> int:
    checkpoint = last_checkpoint(output)
    return step_of(checkpoint) if checkpoint else 0


def killed(command: list[str], number: signal.Signals, when: Callable[[], bool]) -> tuple[int, str]:
    """The exit code and stderr of a command that gets a signal as soon as something is so."""
    process = subprocess.Popen(
        [sys.executable, "-m", "vqa", *command], env=environment(), text=True,
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not when() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    error = process.communicate()[1]
    return process.returncode, error
