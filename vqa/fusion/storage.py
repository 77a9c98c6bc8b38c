"""A fusion model's directory: what training changed, its answers, and what parts it stands on.

`config.json`, `model.safetensors`, `answers.json` and `vqa.json`. The frozen encoder and the token
embeddings are not copied: `vqa.json` has their fingerprints, and other parts are refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vqa import fingerprint
from vqa.devices import device_named
from vqa.encoders import encoder_spec
from vqa.errors import InputError
from vqa.fusion.answers import Answers
from vqa.fusion.config import FusionConfig
from vqa.fusion.model import FusionModel
from vqa.fusion.words import Words, load_words
from vqa.model import load_vision
from vqa.parts import part_directory

WEIGHTS = "model.safetensors"
_ANSWERS = "answers.json"
_RECORD = "vqa.json"


@dataclass(frozen=True)
class Parts:
    """What a fusion model stands on: an encoder, and a language model's words."""

    tower: nn.Module
    image_processor: Any
    words: Words
    fingerprints: dict[str, str]


@dataclass(frozen=True)
class LoadedFusion:
    """A fusion model ready to answer."""

    model: FusionModel
    image_processor: Any
    words: Words
    answers: Answers
    name: str

    @cached_property
    def fingerprint(self) -> str:
        """Identity of all weights, the parts' too, of the answers and of the calibration."""
        weights = [fingerprint.of_module(self.model), _of_table(self.words)]
        temperature = self.model.config.answer_temperature
        return fingerprint.of_json([*weights, self.answers.texts, temperature])


def open_parts(vision: str, language: str) -> Parts:
    """Open an encoder and a language model's words, in float32.

    `vision` is a name as for `vqa.model.compose`; `language` is `embedded` or a directory. Raises
    InputError where there is none.
    """
    tower, image_processor = load_vision(vision)
    directory = part_directory("language") if language == "embedded" else Path(language)
    words = load_words(directory)
    tokenizer = words.tokenizer.backend_tokenizer.to_str().encode()
    if vision == "embedded":  # the values that the embedded model has: cached features serve both
        tower = tower.bfloat16()
    tower = tower.float().eval().requires_grad_(False)
    prints = {
        "vision": fingerprint.of_module(tower),
        "language": fingerprint.of_json([_of_table(words), fingerprint.of_bytes(tokenizer)]),
    }
    return Parts(tower, image_processor, words, prints)


def _of_table(words: Words) -> str:
    table = nn.Module()
    table.register_buffer("words", words.table)
    return fingerprint.of_module(table)


def build(parts: Parts, answers: Answers, config: FusionConfig) -> FusionModel:
    """A new model of the sizes of `config` on these parts; weights are drawn from torch's seed.

    What follows from parts and answers is set in `config` here.
    """
    spec = encoder_spec(parts.tower.config)
    side = spec.image_size // spec.patch_size
    config.vision_feature_layer = spec.feature_layer
    config.vision_feature_select_strategy = spec.select
    config.vision_size = spec.hidden_size
    config.grid = [side, side]
    config.word_size = parts.words.table.shape[1]
    config.answers = len(answers)
    if config.hidden_size % config.heads:
        raise InputError(
            f"hidden_size={config.hidden_size} cannot be shared by heads={config.heads}: make it a "
            "multiple"
        )
    return FusionModel(config, parts.tower, parts.words.table)


def save(model: FusionModel, answers: Answers, prints: dict[str, str], directory: Path) -> None:
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
    directory = Path(name)
    answers = _answers(directory / _ANSWERS)
    try:
        config = FusionConfig.from_pretrained(directory)
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{name}: config.json cannot be read: {_first_line(error)}") from error
    parts = open_parts(config.vision, config.language)
    _check(name, _read(directory / _RECORD), parts)
    try:
        model = FusionModel(config, parts.tower, parts.words.table)
        weights = load_file(directory / WEIGHTS)
        missing, unexpected = model.load_state_dict(weights, strict=False)
        absent = [key for key in missing if config.own_vision or not _of_vision(key)]
        if absent or unexpected or config.answers != len(answers):
            raise ValueError(f"it has not what config.json says ({(absent + unexpected)[:1]})")
    except (AssertionError, OSError, RuntimeError, SafetensorError, TypeError, ValueError) as error:
        raise InputError(
            f"{directory / WEIGHTS}: cannot be loaded: {_first_line(error)}; train it again"
        ) from error
    model.eval().requires_grad_(False)
    model.to(device_named(device))
    return LoadedFusion(model, parts.image_processor, parts.words, answers, name)


def _of_vision(name: str) -> bool:
    return name.startswith("model.vision_tower.")


def _check(name: str, record: Any, parts: Parts) -> None:
    recorded = record.get("parts") if isinstance(record, dict) else None
    for kind, found in parts.fingerprints.items():
        wanted = recorded.get(kind) if isinstance(recorded, dict) else None
        if not isinstance(wanted, dict) or wanted.get("fingerprint") != found:
            said = wanted if isinstance(wanted, dict) else {}
            raise InputError(
                f"{name} was trained on the {kind} part {said.get('name')} "
                f"({said.get('fingerprint')}), but what is here is {found}: put that part back, or "
                "train it again"
            )


def _answers(path: Path) -> Answers:
    found = _read(path)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise InputError(f"{path}: a list of texts is expected")
    return Answers(found)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {_first_line(error)}") from error


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
