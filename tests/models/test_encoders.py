"""Vision encoders: every kind gives patch features [B, N, Dv], frozen ones never change."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel

from tests import tiny
from vqa.errors import InputError
from vqa.models.encoders import TimmVisionConfig, TimmVisionModel, encoder_spec, patch_features
from vqa.models.llava import compose, freeze

NATIVE = ["clip", "siglip", "dinov2", "vit"]
# (backbone, pixels, stages): CNNs, ViTs with and without class token, channels last, and backbones
# that hold tables which are not in their weights (relative positions, rotary embeddings)
TIMM: list[tuple[str, int, tuple[int, ...]]] = [
    ("test_efficientnet", 160, ()),
    ("test_efficientnet", 96, (1, 2, 3)),
    ("test_resnet", 160, (0, -2)),
    ("test_convnext", 96, ()),
    ("test_vit", 160, ()),
    ("test_vit", 96, (0, 1)),
    ("test_vit3", 160, (0,)),
    ("test_vit_relpos", 160, ()),
    ("test_maxvit", 160, ()),
    ("swin_tiny_patch4_window7_224", 224, (1,)),
    ("eva02_tiny_patch14_224", 224, ()),
]


@cache
def wrapped(name: str, size: int, stages: tuple[int, ...]) -> TimmVisionModel:
    torch.manual_seed(0)
    return TimmVisionModel.from_timm(name, size, stages)


def pictures(size: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def features_of(model: nn.Module, pixel_values: Tensor) -> Tensor:
    with torch.no_grad():
        features = model(pixel_values, output_hidden_states=True).hidden_states[-1]
    assert isinstance(features, Tensor)
    return features


@pytest.mark.parametrize("kind", NATIVE)
def test_native_features_are_what_the_projector_reads(kind: str, tmp_path: Path) -> None:
    model = compose(tiny.vision(tmp_path / "v", kind), tiny.language(tmp_path / "l")).model
    read: list[Tensor] = []
    model.model.multi_modal_projector.register_forward_pre_hook(
        lambda _, given: read.append(given[0])
    )
    with torch.no_grad():
        model.get_image_features(pictures(28))
        features = patch_features(model, pictures(28))
    assert torch.equal(features, read[0])
    spec = encoder_spec(model.config.vision_config)
    assert features.shape == (2, spec.patches, spec.hidden_size) == (2, 4, 24)


@pytest.mark.parametrize("kind", NATIVE)
def test_the_weights_of_the_directory_are_the_towers(kind: str, tmp_path: Path) -> None:
    """A whole CLIP or SigLIP names its tower's tensors otherwise than a tower alone."""
    tower = compose(tiny.vision(tmp_path / "v", kind), tiny.language(tmp_path / "l")).model.model
    whole = AutoModel.from_pretrained(tmp_path / "v")
    expected = getattr(whole, "vision_model", whole).state_dict()
    state = tower.vision_tower.state_dict()
    assert len(state) == len(expected)
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize("name, size, stages", TIMM)
def test_any_timm_backbone_gives_patch_features(
    name: str, size: int, stages: tuple[int, ...]
) -> None:
    model = wrapped(name, size, stages)
    features = features_of(model, pictures(size))
    spec = encoder_spec(model.config)
    assert features.shape == (2, spec.patches, spec.hidden_size)
    assert (spec.select, spec.class_tokens, spec.feature_layer) == ("full", 0, -1)
    assert features.isfinite().all() and features.std() > 0


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_convnext"])
def test_without_stages_the_features_are_those_of_timm(name: str) -> None:
    model = wrapped(name, 160, ())
    with torch.no_grad():
        expected = model.backbone.forward_features(pictures(160))
    if expected.ndim == 4:
        expected = expected.flatten(2).transpose(1, 2)
    else:
        expected = expected[:, model.backbone.num_prefix_tokens :]
    torch.testing.assert_close(features_of(model, pictures(160)), expected)


def test_swin_with_its_channels_last_gives_rows_first() -> None:
    model = wrapped("swin_tiny_patch4_window7_224", 224, ())
    with torch.no_grad():
        expected = model.backbone.forward_features(pictures(224)).flatten(1, 2)
    torch.testing.assert_close(features_of(model, pictures(224)), expected)


def test_stages_are_pooled_and_joined_behind_the_last_map() -> None:
    name, size, stages = "test_efficientnet", 160, (1, 3)
    model = wrapped(name, size, stages)
    features = features_of(model, pictures(size))
    with torch.no_grad():
        last, maps = model.backbone.forward_intermediates(pictures(size), indices=list(stages))
        grid = last.shape[-2:]
        joined = torch.cat([last, *(F.adaptive_avg_pool2d(m, grid) for m in maps)], dim=1)
    torch.testing.assert_close(features, joined.flatten(2).transpose(1, 2))
    alone = features_of(_without_stages(model), pictures(size))
    torch.testing.assert_close(features[..., : alone.shape[-1]], alone)
    assert features.shape[-1] > alone.shape[-1]


def _without_stages(model: TimmVisionModel) -> TimmVisionModel:
    plain = TimmVisionModel.from_timm(model.config.backbone, model.config.image_size)
    plain.backbone.load_state_dict(model.backbone.state_dict())
    return plain


def test_calibrated_channels_are_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = TimmVisionModel.from_timm("test_resnet", 96, (0, 1))
    given = 10 * pictures(96, 8)
    raw = features_of(model, given).flatten(0, 1)  # [8 * N, Dv]
    moving = raw.std(0) > 0.02  # a channel that hardly moves is not blown up
    assert moving.any() and raw[:, moving].std(0).max() > 2 * raw[:, moving].std(0).min()
    model.calibrate(given.split(3))
    features = features_of(model, given).flatten(0, 1)
    torch.testing.assert_close(features.mean(0), torch.zeros_like(features[0]), atol=1e-3, rtol=0)
    std = features.std(0, correction=0)
    torch.testing.assert_close(std[moving], torch.ones_like(std[moving]), atol=1e-3, rtol=0)
    assert (std <= 1.001).all()

    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(features_of(loaded, given).flatten(0, 1), features)
    with pytest.raises(InputError, match="at least one picture"):
        model.calibrate([])


@pytest.mark.parametrize("name, size, stages", TIMM)
def test_saved_and_loaded_features_are_the_same(
    name: str, size: int, stages: tuple[int, ...], tmp_path: Path
) -> None:
    model = wrapped(name, size, stages)
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert isinstance(loaded, TimmVisionModel)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), TimmVisionConfig)
    torch.testing.assert_close(
        features_of(loaded, pictures(size)),
        features_of(model, pictures(size)),
        rtol=1e-4,
        atol=1e-4,
    )


def _statistics(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.clone()
        for name, value in model.state_dict().items()
        if "running_" in name or "num_batches" in name
    }


def _trained_on(model: Any) -> None:
    model.train()
    with torch.no_grad():
        model.get_image_features(pictures(160))


def test_batch_norm_statistics_never_move(tmp_path: Path) -> None:
    vision = tiny.timm_vision(tmp_path / "v", "test_efficientnet", 160)
    model = compose(vision, tiny.language(tmp_path / "l")).model
    before = _statistics(model)
    assert before  # else this tests nothing
    _trained_on(model)
    assert model.training and not model.model.vision_tower.backbone.training
    after = _statistics(model)
    assert all(torch.equal(after[name], value) for name, value in before.items())

    freeze(model, trainable=("vision_tower",))  # nor do those of one that is trained
    _trained_on(model)
    assert model.model.vision_tower.backbone.training
    after = _statistics(model)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize("kind", NATIVE)
def test_a_frozen_native_tower_gives_the_same_in_training(kind: str, tmp_path: Path) -> None:
    vision = tiny.vision(tmp_path / "v", kind)
    model = compose(vision, tiny.language(tmp_path / "l")).model
    with torch.no_grad():
        before = patch_features(model.eval(), pictures(28))
        assert torch.equal(patch_features(model.train(), pictures(28)), before)


def test_refusals() -> None:
    with pytest.raises(
        InputError, match=r"no backbone named efficientnet_nope; near: .*efficientnet"
    ):
        TimmVisionModel.from_timm("efficientnet_nope", 224)
    with pytest.raises(InputError, match=r"1085 pixels give a 34x34 map.*multiple of 32"):
        TimmVisionModel.from_timm("test_efficientnet", 1085)  # 34 cells of 31 would be 35
    with pytest.raises(InputError, match=r"dinov2_with_registers cannot feed LLaVA.*timm:NAME"):
        encoder_spec(AutoConfig.for_model("dinov2_with_registers"))


def test_timm_has_what_these_tests_use() -> None:
    assert not {name for name, _, _ in TIMM} - set(timm.list_models())
