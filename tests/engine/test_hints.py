"""What an encoder's classifier names stands before the question, in every way of answering."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests import tiny
from vqa.answering import Request, SamplingParams
from vqa.engine import LocalEngine
from vqa.errors import InputError
from vqa.explain import explain
from vqa.inputs.hints import Name, names_block, with_hints
from vqa.inputs.prompts import Message
from vqa.models.checkpoints import load, save
from vqa.models.llava import compose, load_vision
from vqa.models.model_files import CLASSIFIER, HINT_SETTINGS
from vqa.models.name_classifier import (
    HintSettings,
    class_names,
    load_name_classifier,
    write_hint_settings,
)
from vqa.utils import fingerprint

NOISE = [
    Image.fromarray(np.random.default_rng(n).integers(0, 255, (70, 60, 3), dtype=np.uint8))
    for n in range(3)
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a timm tower, its classifier and hints."""
    folder = tmp_path_factory.mktemp("hints")
    vision = tiny.timm_vision(folder / "v", "test_efficientnet", 128, (1, 2))
    composed = compose(vision, tiny.language(folder / "l"))
    composed.model.save_pretrained(folder / "model")
    composed.processor.save_pretrained(folder / "model")
    width = composed.model.model.vision_tower.backbone.num_features
    generator = torch.Generator().manual_seed(1)
    head = {
        "weight": 1e4 * torch.randn(1000, width, generator=generator),
        "bias": torch.zeros(1000),
    }
    save_file(head, folder / "model" / CLASSIFIER)
    write_hint_settings(folder / "model", HintSettings())
    return folder / "model"


@pytest.fixture(scope="module")
def engine(directory: Path) -> LocalEngine:
    return LocalEngine(load(str(directory), device="cpu", dtype="float32"))


def about(*images: Image.Image, text: str = "What is it?") -> Request:
    return Request((Message("user", text, images),), SamplingParams(max_new_tokens=6))


def test_the_block_of_names() -> None:
    names = [Name("tabby", 0.9), Name("lynx", 0.5), Name("cougar", 0.4), Name("toy", 0.1)]
    assert names_block(names) == "[names: surely tabby; likely lynx, cougar; maybe toy]"
    assert names_block(names[3:]) == "[names: maybe toy]"
    assert names_block([]) == ""


def test_blocks_stand_before_the_text_and_move_its_places() -> None:
    a, c = "[names: a]", "[names: c]"
    messages = (
        Message("system", "Be brief."),
        Message("user", "Is <image> this?", (NOISE[0],), (3,)),
        Message("assistant", "No."),
        Message("user", "And?", (NOISE[1],)),
        Message("user", "Which?", tuple(NOISE)),
    )
    hinted = with_hints(messages, [a, "", a, "", c])
    assert [message.text for message in hinted] == [
        "Be brief.", "[names: a]\nIs <image> this?", "No.", "And?",
        "1: [names: a]\n3: [names: c]\nWhich?",
    ]  # fmt: skip
    (place,) = hinted[1].places
    assert hinted[1].text[place:].startswith("<image>")
    assert [message.images for message in hinted] == [message.images for message in messages]


def test_names_are_those_of_the_encoders_own_classifier(tmp_path: Path) -> None:
    """The head on normalised features gives what it gives on the backbone's own."""
    torch.manual_seed(0)
    weight, bias, raw = torch.randn(1000, 16), torch.randn(1000), torch.randn(2, 64, 24)
    tower = SimpleNamespace(feature_mean=torch.randn(24), feature_std=torch.rand(24) + 0.5)
    save_file({"weight": weight, "bias": bias}, tmp_path / "head.safetensors")
    settings = HintSettings(most=2, least=1e-6, parts=2)
    classifier = load_name_classifier(tmp_path / "head.safetensors", tower, settings)
    names = classifier((raw - tower.feature_mean) / tower.feature_std)
    best = (raw[..., :16].mean(1) @ weight.T + bias).softmax(-1).topk(2)
    for row in range(2):
        assert [name.text for name in names[row]] == [
            class_names(1000)[number] for number in best.indices[row].tolist()
        ]
        assert [name.probability for name in names[row]] == pytest.approx(
            best.values[row].tolist(), abs=1e-5
        )


def test_every_way_of_answering_says_the_same(engine: LocalEngine, directory: Path) -> None:
    requests = [about(NOISE[0]), about(NOISE[1]), about(NOISE[0], NOISE[2]), about(text="Hello?")]
    together = engine.answer(requests)
    assert together[0].hints and together[0].hints[0].startswith("[names: ")
    assert len(together[2].hints) == 2 and together[3].hints == ()
    for request, answer in zip(requests, together, strict=True):
        fresh = LocalEngine(engine.loaded)
        (single,) = fresh.answer([request])
        assert (single.text, single.hints) == (answer.text, answer.hints)
        *pieces, streamed = fresh.stream(request)  # from its caches
        assert "".join(map(str, pieces)) == single.text and streamed.hints == single.hints
    (hinted,), _ = engine.with_hints([requests[0]])
    asked = hinted.messages[0].text
    assert asked == f"{together[0].hints[0]}\nWhat is it?"
    scores = engine.score_choices([requests[0]], [[together[0].text or "x", "yes"]])
    loaded = load(str(directory), device="cpu", dtype="float32")
    plain = LocalEngine(replace(loaded, classifier=None))
    as_text = about(NOISE[0], text=asked)
    assert plain.answer([as_text])[0].text == together[0].text
    assert plain.score_choices([as_text], [[together[0].text or "x", "yes"]])[0] == pytest.approx(
        scores[0], abs=1e-4
    )


def test_a_second_question_encodes_nothing_and_shares_the_block(engine: LocalEngine) -> None:
    engine.clear_caches()
    engine.answer([about(NOISE[1])])
    pictures, tokens = engine.stats.encoded_pictures, engine.stats.prefilled_tokens
    engine.answer([about(NOISE[1], text="What is it not?")])
    assert engine.stats.encoded_pictures == pictures
    assert engine.stats.prefilled_tokens - tokens < 30


def test_pictures_of_several_requests_are_encoded_together(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqa.engine.image_tokens.encoder_batch_size", lambda device: 2)
    engine = LocalEngine(load(str(directory), device="cpu", dtype="float32"))
    batches: list[int] = []
    tower = engine.loaded.model.model.vision_tower
    tower.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    answers = engine.answer([about(image) for image in (*NOISE, NOISE[0].rotate(90))])
    assert batches == [2, 2] and all(answer.hints for answer in answers)


def test_attention_reads_the_prompt_with_its_hints(engine: LocalEngine) -> None:
    request = about(NOISE[0])
    (answer,) = engine.answer([request])
    assert explain(engine, request, answer.text or "x", by="attention")


def test_a_saved_model_has_its_hints_and_the_same_identity(
    engine: LocalEngine, directory: Path, tmp_path: Path
) -> None:
    save(engine.loaded, tmp_path / "copy")
    copy = LocalEngine(load(str(tmp_path / "copy"), device="cpu", dtype="float32"))
    request = about(NOISE[0])
    assert copy.answer([request])[0].hints == engine.answer([request])[0].hints
    before = fingerprint.of_directory(tmp_path / "copy")
    identity = copy.loaded.identity
    (tmp_path / "copy" / HINT_SETTINGS).unlink()
    without = load(str(tmp_path / "copy"), device="cpu", dtype="float32")
    assert without.classifier is None and without.identity != identity
    assert fingerprint.of_directory(tmp_path / "copy") == before  # of its weights
    assert LocalEngine(without).answer([request])[0].hints == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{}", None),
        ('{"most": 0}', "most"),
        ('{"least": 2}', "most"),
        ('{"other": 1}', "most"),
        ("[1]", "JSON object"),
    ],
)
def test_settings_that_are_none_are_refused(
    engine: LocalEngine, tmp_path: Path, content: str, reason: str | None
) -> None:
    save(engine.loaded, tmp_path / "m")
    (tmp_path / "m" / HINT_SETTINGS).write_text(content)
    if reason is None:
        assert load(str(tmp_path / "m"), device="cpu").classifier is not None
        return
    with pytest.raises(InputError, match=reason):
        load(str(tmp_path / "m"), device="cpu")


def test_a_classifier_that_is_missing_or_of_another_encoder_is_told(
    engine: LocalEngine, tmp_path: Path
) -> None:
    save(engine.loaded, tmp_path / "m")
    head = tmp_path / "m" / CLASSIFIER
    save_file({"weight": torch.zeros(1000, 9999), "bias": torch.zeros(1000)}, head)
    with pytest.raises(InputError, match="does not fit to the encoder"):
        load(str(tmp_path / "m"), device="cpu")
    save_file({"weight": torch.zeros(7, 8), "bias": torch.zeros(7)}, head)
    with pytest.raises(InputError, match="7 classes"):
        load(str(tmp_path / "m"), device="cpu")
    head.unlink()
    with pytest.raises(InputError, match="is missing"):
        load(str(tmp_path / "m"), device="cpu")


@pytest.mark.weights
def test_the_embedded_encoder_names_a_cat(examples: Path) -> None:
    from vqa.inputs.images import load_image
    from vqa.models.bundled.parts import HEAD, part_directory

    tower, processor = load_vision("embedded")
    classifier = load_name_classifier(part_directory("vision") / HEAD, tower, HintSettings())
    pixels = processor([load_image(examples / "cat.jpg")], return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        (names,) = classifier(tower(pixels).hidden_states[-1])
    assert any("cat" in name.text or name.text == "tabby" for name in names), json.dumps(
        [name.text for name in names]
    )
