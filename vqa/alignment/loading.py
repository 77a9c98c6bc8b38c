"""Load dual encoders: the embedded one, a trained directory, any CLIP or SigLIP; save them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from vqa.alignment.dual_encoder import DualEncoder, tokenize
from vqa.alignment.joint import HeadConfig, JointModel, sentence_vectors
from vqa.errors import InputError, error_line
from vqa.models import runs
from vqa.models.bundled import parts
from vqa.models.devices import device_named
from vqa.models.llava import load_config, load_vision
from vqa.models.model_files import DUAL_ENCODER, HUB_DUAL_ENCODERS, is_fusion, load_pretrained
from vqa.utils import fingerprint
from vqa.utils.files import replaced_files
from vqa.utils.json_files import read_object

EMBEDDED = "embedded"
WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_CLASSIFIER = "classifier.safetensors"  # beside an encoder: what it was trained with
_TEXTS_AT_ONCE = 64


def load(name: str = EMBEDDED, device: str = "auto") -> DualEncoder:
    """Load `embedded`, a directory of `vqa train align`, or a CLIP or SigLIP directory or hub id.

    `device` is `auto` (a GPU where there is one), `cpu`, `cuda:0`, ... Raises InputError with what
    to do where the name leads to nothing that can be used.
    """
    source = name = runs.resolve_and_warn(name)
    if name == EMBEDDED:
        source = str(embedded_directory())
        if not (Path(source) / _CONFIG).is_file():
            raise InputError(
                "no weights of a shared space ship with this build: train some (`vqa train align`) "
                "and give `model` RUN"
            )
    elif Path(source).exists() and not (Path(source) / _CONFIG).is_file():
        raise InputError(f"{name}: no model here (config.json is missing)")
    record = _record(Path(source) / _CONFIG)
    loaded = _load_pretrained(name) if record is None else _load_trained(name, Path(source), record)
    loaded.model.eval().to(device_named(device))
    return loaded


def embedded_directory() -> Path:
    """Return the directory of the heads that ship."""
    return parts.WEIGHTS / "alignment"


def compose(vision: str, text: str, shape: HeadConfig, seed: int = 0) -> DualEncoder:
    """Join two encoders by new heads, drawn from `seed`.

    `vision` is a directory, hub id, `embedded`, `timm:NAME` or `timm:NAME:SIZE`; `text` a
    directory, hub id or `embedded`.
    """
    tower, image_processor = load_vision(vision)
    encoder, tokenizer = _load_text(text)
    directory = parts.part_directory("vision") if vision == EMBEDDED else Path(vision)
    classifier = directory / _CLASSIFIER
    head = load_file(classifier) if classifier.is_file() else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = JointModel(tower.float(), encoder.float(), shape, head)
    max_length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    return DualEncoder(f"{vision} and {text}", model, image_processor, tokenizer, max_length)


@torch.no_grad()
def name_classes(encoder: DualEncoder) -> None:
    """Encode the names of ImageNet's classes, where the vision encoder has its classifier.

    Call it before a new dual encoder is trained; a trained one has them in its weights.
    """
    classes = encoder.model.class_names
    if classes is None:
        return
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    if len(classes.vectors) != info.num_classes():
        raise InputError(
            f"{_CLASSIFIER}: it has {len(classes.vectors)} classes, but only ImageNet's "
            f"{info.num_classes()} have names here: remove the file"
        )
    names = [info.index_to_description(n).split(",")[0] for n in range(info.num_classes())]
    for start in range(0, len(names), _TEXTS_AT_ONCE):
        texts = [f"a photo of a {name}." for name in names[start : start + _TEXTS_AT_ONCE]]
        tokens = tokenize(encoder.tokenizer, texts)
        vectors = sentence_vectors(encoder.model.text_tower, **tokens)  # [B, Dt]
        classes.vectors[start : start + len(texts)] = vectors


def base_fingerprints(encoder: DualEncoder) -> dict[str, str]:
    """Compute the fingerprints of both encoders as they are now, a classifier with its encoder."""
    model: JointModel = encoder.model
    vision = fingerprint.of_module(model.vision_tower)
    if model.class_names is not None:
        head = model.class_names.weight.cpu().numpy().tobytes()
        vision = fingerprint.of_json([vision, fingerprint.of_bytes(head)])
    return {
        "vision": vision,
        "text": fingerprint.of_module(encoder.model.text_tower),
    }


def save(
    encoder: DualEncoder,
    directory: Path,
    *,
    vision: str,
    text: str,
    base: dict[str, str],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the trained weights, and the fingerprints of the encoders before training (`base`)."""
    model: JointModel = encoder.model
    weights = {key: value.contiguous().to(dtype) for key, value in model.trained_state().items()}
    record = {
        "model_type": DUAL_ENCODER,
        "vision": vision,
        "text": text,
        "base": base,
        "shape": model.shape.model_dump(),
    }
    save_file(weights, directory / WEIGHTS, {"format": "pt"})
    content = json.dumps(record, indent=2) + "\n"
    (directory / _CONFIG).write_text(content, encoding="utf-8")


def ship(run: Path) -> None:
    """Make a run's heads on the embedded encoders those that ship, in bfloat16."""
    encoder, record = load(str(run), "cpu"), _record(run / _CONFIG)
    assert record is not None
    with replaced_files(embedded_directory(), last=(_CONFIG,)) as directory:
        save(
            encoder, directory, vision=EMBEDDED, text=EMBEDDED, base=record["base"],
            dtype=torch.bfloat16,
        )  # fmt: skip


def _record(path: Path) -> dict[str, Any] | None:
    """Read the config of a trained directory; None for anything else."""
    if not path.is_file():
        return None
    record = read_object(path)
    return record if record.get("model_type") == DUAL_ENCODER else None


def _load_trained(name: str, directory: Path, record: dict[str, Any]) -> DualEncoder:
    path = directory / _CONFIG
    try:
        shape = HeadConfig.model_validate(record["shape"])
        vision, text, base = str(record["vision"]), str(record["text"]), dict(record["base"])
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: not as `vqa train align` writes it") from error
    encoder = compose(vision, text, shape)
    for kind, actual in base_fingerprints(encoder).items():
        if base.get(kind) != actual:
            raise InputError(
                f"{name} was trained on the {kind} encoder {record[kind]} ({base.get(kind)}), but "
                f"the one here is {actual}: load it with the encoder that it was trained with"
            )
    try:
        weights = load_file(directory / WEIGHTS)
        missing, unknown = encoder.model.load_state_dict(weights, strict=False)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{directory / WEIGHTS}: cannot be loaded: {error_line(error)}") from error
    absent = [key for key in missing if not key.startswith(("vision_tower.", "text_tower."))]
    if absent or unknown:
        raise InputError(
            f"{directory / WEIGHTS}: {len(absent)} tensors are missing, {len(unknown)} are not "
            f"known, among them {min([*absent, *unknown])}"
        )
    encoder.model.requires_grad_(False)
    return replace(encoder, name=name)


def _load_pretrained(name: str) -> DualEncoder:
    if is_fusion(name):
        raise InputError(
            f"{name}: this is a fusion model, which has no space that pictures and texts share; "
            "use CLIP, SigLIP, or a directory of `vqa train align`"
        )
    try:
        config = load_config(name)
    except InputError as error:
        if Path(name).exists():
            raise InputError(f"{name}: config.json cannot be read: {error}") from error
        raise InputError(
            f"{name}: no such directory, and no hub could give a model of that name"
        ) from error
    if config.model_type not in HUB_DUAL_ENCODERS:
        raise InputError(
            f"{name}: a {config.model_type} model has no space that pictures and texts share; use "
            "CLIP, SigLIP, or a directory of `vqa train align`"
        )
    try:
        model, info = load_pretrained(
            AutoModel.from_pretrained,
            name,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    except InputError as error:
        raise InputError(f"{name}: cannot load the weights: {error}") from error
    if info["missing_keys"]:  # transformers draws them at random and goes on
        raise InputError(
            f"{name}: {len(info['missing_keys'])} tensors are missing from the weights, among them "
            f"{min(info['missing_keys'])}"
        )
    try:
        processor = load_pretrained(AutoImageProcessor.from_pretrained, name)
    except InputError as error:
        raise InputError(f"{name}: no preprocessor_config.json beside the model") from error
    max_length = config.text_config.max_position_embeddings
    return DualEncoder(name, model, processor, _tokenizer(name), max_length)


def _load_text(name: str) -> tuple[Any, Any]:
    source = str(parts.part_directory("text")) if name == EMBEDDED else name
    try:
        load_config(source)
        model = load_pretrained(AutoModel.from_pretrained, source, use_safetensors=True)
    except InputError as error:
        raise InputError(f"{name}: no text encoder here: {error}") from error
    if model.config.is_encoder_decoder or not hasattr(model.config, "max_position_embeddings"):
        raise InputError(f"{name}: a {model.config.model_type} model is no text encoder")
    return model, _tokenizer(source)


def _tokenizer(name: str) -> Any:
    try:
        tokenizer = load_pretrained(AutoTokenizer.from_pretrained, name)
    except InputError as error:
        raise InputError(f"{name}: its tokenizer cannot be read: {error}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
