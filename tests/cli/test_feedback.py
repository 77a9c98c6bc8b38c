"""`vqa data export-feedback` as a person and a program read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.run import refused, vqa_here
from tests.judging import judge, png, several
from vqa.chat.history import History
from vqa.cli.feedback import next_commands

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    history = several(tmp_path / "chats")
    judge(history, "What [b]is[/b] it?", "red", png("red"), rating=1)
    judge(history, "What [b]is[/b] it?", "blue", png("red"), rating=1)
    history.close()
    return tmp_path / "chats"


def test_what_a_person_reads(chats: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "my fb"
    against = tmp_path / "val.jsonl"
    (tmp_path / "val.png").write_bytes(png("blue"))
    against.write_text('{"image": "val.png", "question": "?"}\n{"image": "none.png"}\n')
    result = vqa_here(
        capfd, "data", "export-feedback", out, "--history", chats, "--against", against
    )
    assert result.returncode == 0, result
    counts = dict(line.rsplit(maxsplit=1) for line in result.stdout.splitlines()[3:11])
    assert {name.strip(): int(count) for name, count in counts.items()} == {
        "corrected": 2,
        "confirmed by a thumb up": 1,
        "preferred to another answer, for --pairs": 0,
        "left out: thumb down, not corrected": 1,
        "left out: asked and answered the same": 0,
        "left out: answered otherwise later": 1,
        "left out: picture of the data named": 1,
        "left out: not usable": 0,
    }
    assert "conflict: What [b]is[/b] it?: 'blue' is kept, not 'red'\n" in result.stdout
    assert f"left out: What is it?: its picture is in line 1 of {against}" in result.stdout
    assert f"{out}/train.jsonl: " in result.stdout and f"{out}/test.jsonl: " in result.stdout
    train, compare = result.stdout.splitlines()[-2:]
    assert train == f"  vqa train finetune 'data={out}/train.jsonl' output='runs/my fb' " \
                    "rows_per_step=1 epochs=10"  # fmt: skip
    assert compare == f"  vqa compare embedded 'runs/my fb' --data '{out}/test.jsonl'"
    assert f"vqa: warning: {against}: not compared: 1 bad rows" in result.stderr


def test_json_and_another_model(chats: Path, tmp_path: Path, capfd: Capture) -> None:
    history = History(chats)
    for colour in ("black", "white", "yellow"):
        judge(history, "Dark?", "no", png(colour), rating=1, model="acme/eyes")
        judge(history, "Light?", "no", png(colour), rating=1, model="acme/eyes")
    history.close()
    out = tmp_path / "fb"
    result = vqa_here(capfd, "data", "export-feedback", out, "--history", chats, "--json")
    assert result.returncode == 0 and result.stderr == ""
    output = json.loads(result.stdout)
    assert (output["judged"], output["rows"], output["corrected"]) == (12, 10, 2)
    assert output["train"]["rows"] + output["test"]["rows"] == 10
    assert output["models"] == ["acme/eyes", "embedded"]
    assert output["next"][0].startswith("vqa train finetune model=acme/eyes data=")
    assert output["next"][1].startswith("vqa compare acme/eyes runs/fb --data ")


def test_an_adapter_is_gone_on_from(tmp_path: Path) -> None:
    adapter = tmp_path / "run"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "embedded"}')
    train, compare = next_commands(Path("fb"), str(adapter), 1000, compare=True)
    assert train == (
        f"vqa train finetune model=embedded adapter={adapter} data=fb/train.jsonl output=runs/fb"
    )
    assert compare == f"vqa compare {adapter} runs/fb --data fb/test.jsonl"


def test_without_a_test_side(chats: Path, tmp_path: Path, capfd: Capture) -> None:
    result = vqa_here(
        capfd, "data", "export-feedback", tmp_path / "fb", "--history", chats, "--test-share", 0
    )
    assert result.returncode == 0
    assert "no test.jsonl: " in result.stdout and "vqa compare" not in result.stdout
    assert not (tmp_path / "fb" / "test.jsonl").exists()


def test_wrong_input_is_one_line(chats: Path, tmp_path: Path, capfd: Capture) -> None:
    def message(*arguments: str | Path) -> str:
        return refused(vqa_here(capfd, "data", "export-feedback", *arguments))

    none = tmp_path / "none"
    assert "no conversations are kept there" in message("fb", "--history", none)
    assert not none.exists()
    History(none).close()
    assert "no answer was judged yet" in message(tmp_path / "fb", "--history", none)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    assert "was not written by" in message(tmp_path / "full", "--history", chats)
    assert "was not written by" in message(tmp_path / "full" / "file", "--history", chats)
    against = ("--against", tmp_path / "nothing.jsonl")
    assert "nothing.jsonl" in message(tmp_path / "fb", "--history", chats, *against)
    assert not (tmp_path / "fb").exists()
