"""Dual encoders by name: what ships, a trained directory, any CLIP or SigLIP; and saving."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from vqa import fingerprint, parts
from vqa.alignment import HUB_TYPES, MODEL_TYPE
from vqa.alignment.joint import JointModel, Shape, sentence_vectors
from vqa.devices import device_named
from vqa.encoders import pictures_at_once
from vqa.errors import InputError
from vqa.files import replaced_files
from vqa.model import load_vision

EMBEDDED = "embedded"
_WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_CLASSIFIER = "classifier.safetensors"  # beside an encoder: what it was trained with
_TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class DualEncoder:
    """Pictures and texts to unit vectors of one space."""

    name: str
    model: Any  # with `get_image_features` and `get_text_features`
    image_processor: Any
    tokenizer: Any
    longest: int  # tokens of a text, special ones included

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(next(self.model.parameters()).device)

    @cached_property
    def scale(self) -> float:
        """The learned inverse temperature, which turns similarities into logits."""
        if isinstance(self.model, JointModel):
            return float(self.model.scale.detach())
        return float(self.model.logit_scale.detach().exp())

    @cached_property
    def fingerprint(self) -> str:
        """Identity of all weights and of how pictures are prepared."""
        weights = fingerprint.of_module(self.model)
        return fingerprint.of_json([weights, self.image_processor.to_dict()])

    @cached_property
    def dim(self) -> int:
        """d: the length of a vector."""
        return int(self.texts(["a"]).shape[1])

    @torch.inference_mode()
    def pictures(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit vectors [B, d] of RGB pictures, float32 on the CPU."""
        found = []
        size = pictures_at_once(self.device)
        for start in range(0, len(images), size):
            part = list(images[start : start + size])
            batch = self.image_processor(part, return_tensors="pt")
            found.append(self._unit(self.model.get_image_features(**self._here(batch))))
        return torch.cat(found)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [B, d], float32 on the CPU.

        Raises InputError for a text that is too long, or has words that the encoder does not know.
        """
        self.check(texts)
        self._check_words(texts)
        found = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            batch = tokens_of(self.tokenizer, texts[start : start + _TEXTS_AT_ONCE], self.padded)
            found.append(self._unit(self.model.get_text_features(**self._here(batch))))
        return torch.cat(found)

    @property
    def padded(self) -> int | None:
        """To how many tokens every text is filled up: SigLIP was trained so, without a mask."""
        return self.longest if _type(self.model).startswith("siglip") else None

    def check(self, texts: Sequence[str]) -> None:
        """Raise InputError for a text that is empty or longer than the text encoder takes."""
        for text in texts:
            if not text.strip():
                raise InputError("a text is empty: say what the picture should show")
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(f"{_short(text)!a} is no text: {error.reason}") from error
            # a tokenizer warns of what is too long for it, which is what is asked here
            count = len(self.tokenizer(text, verbose=False).input_ids)
            if count > self.longest:
                raise InputError(
                    f"the text {_short(text)!r} has {count} tokens, but the text encoder of "
                    f"{self.name} takes {self.longest}: make it shorter"
                )

    def _check_words(self, texts: Sequence[str]) -> None:
        """Raise InputError for words that the text encoder cannot tell apart."""
        unknown = self.tokenizer.unk_token_id
        if unknown is None or unknown == self.tokenizer.eos_token_id:  # as CLIP: it spells words
            return
        for text in texts:
            for word in re.findall(r"\w+", text):
                if unknown in self.tokenizer(word, verbose=False).input_ids:
                    raise InputError(
                        f"the text encoder of {self.name} does not know {_short(word)!r}: say it "
                        "in English, or give another --model"
                    )

    def _here(self, batch: Any) -> dict[str, Tensor]:
        dtype = next(self.model.parameters()).dtype
        return {
            key: value.to(self.device, dtype if value.is_floating_point() else None)
            for key, value in batch.items()
        }

    def _unit(self, outputs: Any) -> Tensor:
        vectors = outputs if isinstance(outputs, Tensor) else outputs.pooler_output  # [B, d]
        return F.normalize(vectors.float(), dim=-1).cpu()


def tokens_of(tokenizer: Any, texts: Sequence[str], padded: int | None = None) -> Any:
    """The tokens of a batch of texts, as the text encoder takes them."""
    if padded is not None:
        fill = {"padding": "max_length", "max_length": padded, "return_attention_mask": False}
        return tokenizer(list(texts), return_tensors="pt", **fill)
    return tokenizer(list(texts), return_tensors="pt", padding=True, return_attention_mask=True)


def load(name: str = EMBEDDED, device: str = "auto") -> DualEncoder:
    """Load `embedded`, a directory of `vqa train align`, or a CLIP or SigLIP directory or hub id.

    `device` is `auto` (a GPU where there is one), `cpu`, `cuda:0`, ... Raises InputError with what
    to do where the name leads to nothing that can be used.
    """
    source = name
    if name == EMBEDDED:
        source = str(embedded_directory())
        if not (Path(source) / _CONFIG).is_file():
            raise InputError(
                "no weights of a shared space ship with this build: train some (`vqa train align`) "
                "and give --model RUN"
            )
    elif Path(source).exists() and not (Path(source) / _CONFIG).is_file():
        raise InputError(f"{name}: no model here (config.json is missing)")
    record = _record(Path(source) / _CONFIG)
    loaded = _whole(name) if record is None else _trained(name, Path(source), record)
    loaded.model.eval().to(device_named(device))
    return loaded


def embedded_directory() -> Path:
    """Where the heads that ship are."""
    return parts.WEIGHTS / "alignment"


def compose(vision: str, text: str, shape: Shape, seed: int = 0) -> DualEncoder:
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
    longest = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    return DualEncoder(f"{vision} and {text}", model, image_processor, tokenizer, longest)


@torch.no_grad()
def name_classes(encoder: DualEncoder) -> None:
    """Encode the names of ImageNet's classes, where the vision encoder has its classifier.

    To be called before a new dual encoder is trained; a trained one has them in its weights.
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
        tokens = tokens_of(encoder.tokenizer, texts)
        vectors = sentence_vectors(encoder.model.text_tower, **tokens)  # [B, Dt]
        classes.vectors[start : start + len(texts)] = vectors


def bases(encoder: DualEncoder) -> dict[str, str]:
    """Fingerprints of the two encoders as they are now, a classifier with its encoder."""
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
    """Write what was trained, and which encoders it belongs to (`base`, before any training)."""
    model: JointModel = encoder.model
    weights = {key: value.contiguous().to(dtype) for key, value in model.trained().items()}
    record = {
        "model_type": MODEL_TYPE,
        "vision": vision,
        "text": text,
        "base": base,
        "shape": model.shape.model_dump(),
    }
    save_file(weights, directory / _WEIGHTS, {"format": "pt"})
    text_of = json.dumps(record, indent=2) + "\n"
    (directory / _CONFIG).write_text(text_of, encoding="utf-8")


def ship(run: Path) -> None:
    """Make the heads of a run on the embedded encoders those that ship, in bfloat16."""
    encoder, record = load(str(run), "cpu"), _record(run / _CONFIG)
    assert record is not None
    with replaced_files(embedded_directory(), last=(_CONFIG,)) as directory:
        save(
            encoder, directory, vision=EMBEDDED, text=EMBEDDED, base=record["base"],
            dtype=torch.bfloat16,
        )  # fmt: skip


def _record(path: Path) -> dict[str, Any] | None:
    """The config of a trained directory; None for anything else."""
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON") from error
    ours = isinstance(record, dict) and record.get("model_type") == MODEL_TYPE
    return record if ours else None


def _trained(name: str, directory: Path, record: dict[str, Any]) -> DualEncoder:
    path = directory / _CONFIG
    try:
        shape = Shape.model_validate(record["shape"])
        vision, text, base = str(record["vision"]), str(record["text"]), dict(record["base"])
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise InputError(f"{path}: not as `vqa train align` writes it") from error
    found = compose(vision, text, shape)
    for kind, here in bases(found).items():
        if base.get(kind) != here:
            raise InputError(
                f"{name} was trained on the {kind} encoder {record[kind]} ({base.get(kind)}), but "
                f"the one here is {here}: load it with the encoder that it was trained with"
            )
    try:
        weights = load_file(directory / _WEIGHTS)
        missing, unknown = found.model.load_state_dict(weights, strict=False)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{directory / _WEIGHTS}: cannot be loaded: {reason}") from error
    lacking = [key for key in missing if not key.startswith(("vision_tower.", "text_tower."))]
    if lacking or unknown:
        raise InputError(
            f"{directory / _WEIGHTS}: {len(lacking)} tensors are missing, {len(unknown)} are not "
            f"known, among them {min([*lacking, *unknown])}"
        )
    found.model.requires_grad_(False)
    return DualEncoder(name, found.model, found.image_processor, found.tokenizer, found.longest)


def _whole(name: str) -> DualEncoder:
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        if Path(name).exists():
            raise InputError(f"{name}: config.json cannot be read: {_first_line(error)}") from error
        raise InputError(
            f"{name}: no such directory, and no hub could give a model of that name"
        ) from error
    if config.model_type not in HUB_TYPES:
        raise InputError(
            f"{name}: a {config.model_type} model has no space that pictures and texts share; use "
            "CLIP, SigLIP, or a directory of `vqa train align`"
        )
    try:
        model, info = AutoModel.from_pretrained(
            name, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{name}: cannot load the weights: {_first_line(error)}") from error
    if info["missing_keys"]:  # transformers draws them at random and goes on
        raise InputError(
            f"{name}: {len(info['missing_keys'])} tensors are missing from the weights, among them "
            f"{min(info['missing_keys'])}"
        )
    try:
        processor = AutoImageProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: no preprocessor_config.json beside the model") from error
    longest = config.text_config.max_position_embeddings
    return DualEncoder(name, model, processor, _tokenizer(name), longest)


def _load_text(name: str) -> tuple[Any, Any]:
    source = str(parts.part_directory("text")) if name == EMBEDDED else name
    try:
        model = AutoModel.from_pretrained(source, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{name}: no text encoder here: {_first_line(error)}") from error
    if model.config.is_encoder_decoder or not hasattr(model.config, "max_position_embeddings"):
        raise InputError(f"{name}: a {model.config.model_type} model is no text encoder")
    return model, _tokenizer(source)


def _tokenizer(name: str) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # the tokenizers library raises bare ones
        raise InputError(f"{name}: its tokenizer cannot be read: {_first_line(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _type(model: Any) -> str:
    return str(getattr(getattr(model, "config", None), "model_type", MODEL_TYPE))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
