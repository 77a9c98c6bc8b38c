"""Dual encoders of every kind: what they give, what they are refused for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, AutoTokenizer

from tests import tiny as tiny_llava
from tests.alignment import tiny
from vqa.alignment import loading
from vqa.alignment.dual_encoder import DualEncoder
from vqa.alignment.joint import HeadConfig
from vqa.errors import InputError

TEXTS = ["a red square", "a picture of a blue square in a box"]


def pictures() -> list[Image.Image]:
    return [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]


def test_clip_gives_what_transformers_gives(clip: Path, encoder: DualEncoder) -> None:
    model, tokenizer = AutoModel.from_pretrained(clip), AutoTokenizer.from_pretrained(clip)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    pixels = encoder.image_processor(pictures(), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        whole = model(**inputs, pixel_values=pixels)
    ours = encoder.encode_images(pictures()) @ encoder.encode_texts(TEXTS).T
    torch.testing.assert_close(encoder.scale * ours, whole.logits_per_image)
    assert encoder.dim == 16


def test_siglip_texts_are_filled_up_as_in_training(tmp_path: Path) -> None:
    directory = tiny.siglip(tmp_path / "siglip")
    encoder = loading.load(str(directory), "cpu")
    model, tokenizer = (
        AutoModel.from_pretrained(directory),
        AutoTokenizer.from_pretrained(directory),
    )
    ids = tokenizer(TEXTS, padding="max_length", max_length=48, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = model.get_text_features(input_ids=ids).pooler_output
    torch.testing.assert_close(
        encoder.encode_texts(TEXTS), torch.nn.functional.normalize(expected, dim=-1)
    )
    # alone or beside a longer one, a text is the same
    torch.testing.assert_close(encoder.encode_texts(TEXTS[:1]), encoder.encode_texts(TEXTS)[:1])
    assert AutoProcessor is not None and encoder.encode_images(pictures()).shape == (3, 24)


def test_a_text_is_the_same_beside_a_longer_one(towers: tuple[str, str]) -> None:
    encoder = loading.compose(*towers, HeadConfig(dim=8))
    torch.testing.assert_close(encoder.encode_texts(TEXTS[:1]), encoder.encode_texts(TEXTS)[:1])


def trained(towers: tuple[str, str], out: Path, seed: int = 0, **shape: object) -> DualEncoder:
    vision, text = towers
    encoder = loading.compose(vision, text, HeadConfig.model_validate({"dim": 8, **shape}), seed)
    out.mkdir()
    base = loading.base_fingerprints(encoder)
    loading.save(encoder, out, vision=vision, text=text, base=base)
    return encoder


@pytest.mark.parametrize("shape", [{}, {"projector": "linear"}, {"loss": "sigmoid"}])
def test_saved_and_loaded_it_is_the_same(
    towers: tuple[str, str], tmp_path: Path, shape: dict[str, str]
) -> None:
    made = trained(towers, tmp_path / "run", seed=5, **shape)
    made.model.eval()
    again = loading.load(str(tmp_path / "run"), "cpu")
    torch.testing.assert_close(again.encode_images(pictures()), made.encode_images(pictures()))
    torch.testing.assert_close(again.encode_texts(TEXTS), made.encode_texts(TEXTS))
    assert again.fingerprint == made.fingerprint
    assert again.max_length == 24


def test_only_what_was_trained_is_saved(towers: tuple[str, str], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    made = trained(towers, tmp_path / "run")
    names = set(load_file(tmp_path / "run" / "model.safetensors"))
    assert not any(name.startswith(("vision_tower", "text_tower")) for name in names)
    made.model.vision_tower.requires_grad_(True)
    assert any(name.startswith("vision_tower.backbone") for name in made.model.trained_state())


def test_another_base_is_refused(towers: tuple[str, str], tmp_path: Path) -> None:
    trained(towers, tmp_path / "run")
    other = tiny.text_encoder(tmp_path / "other", seed=9)
    path = tmp_path / "run" / "config.json"
    record = json.loads(path.read_text()) | {"text": str(other)}
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="trained on the text encoder"):
        loading.load(str(tmp_path / "run"))


def test_too_long_says_how_many_tokens(encoder: DualEncoder) -> None:
    text = "a" * 60
    with pytest.raises(InputError, match=r"has 62 tokens, but .* takes 48"):
        encoder.encode_texts([text])
    with pytest.raises(InputError, match="empty"):
        encoder.encode_texts([" "])


def test_what_is_no_dual_encoder_is_refused(
    towers: tuple[str, str], tmp_path: Path, clip: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"config\.json is missing"):
        loading.load(str(tmp_path / "empty"))
    with pytest.raises(InputError, match="no/such"):
        loading.load("no/such")
    with pytest.raises(InputError, match="a bert model has no space"):
        loading.load(towers[1])
    with pytest.raises(InputError, match="tpu9"):
        loading.load(str(clip), "tpu9")
    broken = shutil.copytree(clip, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(InputError, match="weights"):
        loading.load(str(broken))


def test_damaged_heads_are_refused(towers: tuple[str, str], tmp_path: Path) -> None:
    trained(towers, tmp_path / "run")
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be loaded"):
        loading.load(str(tmp_path / "run"))
    (tmp_path / "run" / "config.json").write_text('{"model_type": "vqa_dual_encoder"}')
    with pytest.raises(InputError, match="not as `vqa train align` writes it"):
        loading.load(str(tmp_path / "run"))


def test_a_tower_of_transformers_pools_itself(tmp_path: Path, towers: tuple[str, str]) -> None:
    vision = tiny_llava.vision(tmp_path / "vit", "vit")
    encoder = loading.compose(str(vision), towers[1], HeadConfig(dim=4))
    encoder.model.eval()
    assert encoder.encode_images(pictures()).shape == (3, 4)
