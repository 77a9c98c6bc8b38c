"""A fusion model's directory: trained weights, answers, and the fingerprints of its parts.

`config.json`, `model.safetensors`, `answers.json` and `vqa.json`. The frozen encoder and the token
embeddings are not copied: `vqa.json` has their fingerprints, and other parts are refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from vqa.errors import InputError, error_line
from vqa.fusion.answer_vocabulary import AnswerVocabulary
from vqa.fusion.config import FusionConfig
from vqa.fusion.model import FusionModel
from vqa.fusion.token_embeddings import TokenEmbeddings, load_token_embeddings
from vqa.models import runs
from vqa.models.bundled.parts import part_directory
from vqa.models.devices import device_named
from vqa.models.encoders import encoder_spec
from vqa.models.llava import load_vision
from vqa.models.model_files import load_pretrained
from vqa.utils import fingerprint
from vqa.utils.files import json_text

WEIGHTS = "model.safetensors"
_ANSWERS = "answers.json"
_RECORD = "vqa.json"


@dataclass(frozen=True)
class FusionParts:
    """The frozen parts of a fusion model: an encoder, and a language model's embeddings."""

    tower: nn.Module
    image_processor: Any
    embeddings: TokenEmbeddings
    fingerprints: dict[str, str]


@dataclass(frozen=True)
class LoadedFusion:
    """A fusion model ready to answer."""

    model: FusionModel
    image_processor: Any
    embeddings: TokenEmbeddings
    answers: AnswerVocabulary
    name: str

    @cached_property
    def fingerprint(self) -> str:
        """Identity of all weights, the parts' too, of the answers and of the calibration."""
        weights = [fingerprint.of_module(self.model), _of_table(self.embeddings)]
        temperature = self.model.config.answer_temperature
        return fingerprint.of_json([*weights, self.answers.texts, temperature])


def open_parts(vision: str, language: str) -> FusionParts:
    """Open an encoder and a language model's token embeddings, in float32.

    `vision` is a name as for `vqa.models.llava.compose`; `language` is `embedded` or a directory.
    Raises InputError where there is none.
    """
    tower, image_processor = load_vision(vision)
    directory = part_directory("language") if language == "embedded" else Path(language)
    embeddings = load_token_embeddings(directory)
    tokenizer = embeddings.tokenizer.backend_tokenizer.to_str().encode()
    if vision == "embedded":  # the values that the embedded model has: cached features serve both
        tower = tower.bfloat16()
    tower = tower.float().eval().requires_grad_(False)
    prints = {
        "vision": fingerprint.of_module(tower),
        "language": fingerprint.of_json([_of_table(embeddings), fingerprint.of_bytes(tokenizer)]),
    }
    return FusionParts(tower, image_processor, embeddings, prints)


def _of_table(embeddings: TokenEmbeddings) -> str:
    table = nn.Module()
    table.register_buffer("words", embeddings.table)  # the name is part of the fingerprint
    return fingerprint.of_module(table)


def build(parts: FusionParts, answers: AnswerVocabulary, config: FusionConfig) -> FusionModel:
    """Build a new model of the sizes of `config` on these parts, by torch's seed.

    Sizes that follow from parts and answers are set in `config` here.
    """
    spec = encoder_spec(parts.tower.config)
    side = spec.image_size // spec.patch_size
    config.vision_feature_layer = spec.feature_layer
    config.vision_feature_select_strategy = spec.select
    config.vision_size = spec.hidden_size
    config.grid = [side, side]
    config.word_size = parts.embeddings.table.shape[1]
    config.answers = len(answers)
    if config.hidden_size % config.heads:
        raise InputError(
            f"hidden_size={config.hidden_size} cannot be shared by heads={config.heads}: make it a "
            "multiple"
        )
    return FusionModel(config, parts.tower, parts.embeddings.table)


def save(
    model: FusionModel, answers: AnswerVocabulary, prints: dict[str, str], directory: Path
) -> None:
    """Write the model into `directory`; the encoder only where it was trained too."""
    config = model.config
    model.config.architectures = [type(model).__name__]
    config.save_pretrained(directory)
    weights = {
        name: value.detach().cpu().contiguous()
        for name, value in model.state_dict().items()
        if config.own_vision or not _of_vision(name)
    }
    save_file(weights, directory / WEIGHTS, {"format": "pt"})
    _write(directory / _ANSWERS, list(answers.texts))
    names = {"vision": config.vision, "language": config.language}
    parts = {kind: {"name": names[kind], "fingerprint": prints[kind]} for kind in names}
    _write(directory / _RECORD, {"kind": "fusion", "parts": parts})


def load(name: str, device: str = "auto") -> LoadedFusion:
    """Load the fusion model in the directory `name`, in float32.

    Raises InputError where a file is missing or broken, or where a part is not the one that it was
    trained on.
    """
    name = runs.resolve_and_warn(name)
    directory = Path(name)
    answers = _answers(directory / _ANSWERS)
    try:
        config = load_pretrained(FusionConfig.from_pretrained, directory)
    except InputError as error:
        raise InputError(f"{name}: config.json cannot be read: {error}") from error
    parts = open_parts(config.vision, config.language)
    _check(name, _read(directory / _RECORD), parts)
    try:
        model = FusionModel(config, parts.tower, parts.embeddings.table)
        weights = load_file(directory / WEIGHTS)
        missing, unexpected = model.load_state_dict(weights, strict=False)
        absent = [key for key in missing if config.own_vision or not _of_vision(key)]
        if absent or unexpected or config.answers != len(answers):
            raise ValueError(f"it has not what config.json says ({(absent + unexpected)[:1]})")
    except Exception as error:  # sizes of a foreign config may fail anywhere
        raise InputError(
            f"{directory / WEIGHTS}: cannot be loaded: {error_line(error)}; train it again"
        ) from error
    model.eval().requires_grad_(False)
    model.to(device_named(device))
    return LoadedFusion(model, parts.image_processor, parts.embeddings, answers, name)


def _of_vision(name: str) -> bool:
    return name.startswith("model.vision_tower.")


def _check(name: str, record: Any, parts: FusionParts) -> None:
    recorded = record.get("parts") if isinstance(record, dict) else None
    for kind, actual in parts.fingerprints.items():
        expected = recorded.get(kind) if isinstance(recorded, dict) else None
        expected = expected if isinstance(expected, dict) else {}
        if expected.get("fingerprint") != actual:
            raise InputError(
                f"{name} was trained on the {kind} part {expected.get('name')} "
                f"({expected.get('fingerprint')}), but what is here is {actual}: put that part "
                "back, or train it again"
            )


def _answers(path: Path) -> AnswerVocabulary:
    texts = _read(path)
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path}: a list of texts is expected")
    return AnswerVocabulary(texts)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error_line(error)}") from error


def _write(path: Path, value: Any) -> None:
    path.write_text(json_text(value, indent=2) + "\n", encoding="utf-8")
