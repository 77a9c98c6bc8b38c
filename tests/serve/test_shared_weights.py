"""Adapters that are served together have the weights of their base in common."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests import tiny
from vqa.answering import Request, SamplingParams
from vqa.engine import LocalEngine
from vqa.errors import InputError
from vqa.inputs.prompts import Message
from vqa.loading import answerer_of, load_adapters
from vqa.models.checkpoints import load, record_base, share


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and two adapters on it that differ."""
    folder = tmp_path_factory.mktemp("adapters")
    tiny.llava_1_5(folder / "model")
    for name in ("one", "two"):  # random, and so two
        tiny.lora(folder / "model", folder / name)
    return folder


def answers(answerer: LocalEngine) -> list[tuple[str, float | None]]:
    image = Image.new("RGB", (28, 28), "red")
    settings = SamplingParams(max_new_tokens=12)
    texts = ("What is it?", "Which colour?")
    requests = [Request((Message("user", text, (image,)),), settings) for text in texts]
    return [(answer.text, answer.probability) for answer in answerer.answer(requests)]


def test_each_answers_as_if_it_were_alone_with_the_tensors_of_one(folder: Path) -> None:
    model = str(folder / "model")
    named = {"model": None, "one": str(folder / "one"), "two": str(folder / "two")}
    served = load_adapters(model, named, "cpu", "float32")
    assert list(served) == list(named)
    written = {}
    for name, adapter in named.items():
        engine = served[name]
        assert isinstance(engine, LocalEngine)
        alone = load(model, adapter=adapter, device="cpu", dtype="float32", merge=False)
        written[name] = answers(engine)
        assert written[name] == answers(answerer_of(alone))
    assert len({str(answer) for answer in written.values()}) == 3


def test_only_the_adapters_weights_are_new(folder: Path) -> None:
    base = load(str(folder / "model"), device="cpu", dtype="float32")
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    shared = share(base, str(folder / "one"))
    pointers = {value.data_ptr() for value in base.model.state_dict().values()}
    new = {
        name
        for name, value in shared.model.state_dict().items()
        if value.data_ptr() not in pointers
    }
    assert new and all(".lora_" in name for name in new)
    assert set(before) == set(base.model.state_dict())  # the base has no layers of the adapter's
    assert all(value.equal(before[name]) for name, value in base.model.state_dict().items())
    assert shared.name == str(folder / "one") and shared.identity != base.identity


def test_a_run_as_the_model_is_an_adapter_like_others(folder: Path) -> None:
    named = {"run": None, "two": str(folder / "two")}
    served = load_adapters(str(folder / "one"), named, "cpu", "float32")
    assert [answerer.name for answerer in served.values()] == [
        str(folder / "one"),
        str(folder / "two"),
    ]


def test_an_adapter_of_another_model_is_refused(folder: Path, tmp_path: Path) -> None:
    other, adapter = tiny.llava_interleave(tmp_path / "other"), tmp_path / "adapter"
    tiny.lora(other, adapter)
    record_base(adapter, str(other))
    with pytest.raises(InputError, match="load it on the base that it was trained on"):
        load_adapters(str(folder / "model"), {"model": None, "other": str(adapter)}, "cpu")
