"""The files of a model's directory, checked before a library opens them, and the way to load them.

No file may be a pipe or a device, or larger than files of its kind ever are; JSON must be plain,
and weights must lie inside the directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from vqa.errors import InputError, error_line
from vqa.models.runs import resolve_weights
from vqa.utils.config_kinds import check_kinds
from vqa.utils.config_sizes import check_config, check_preprocessor
from vqa.utils.json_files import OBJECT_BYTES, check_file, read_object

T = TypeVar("T")

EMBEDDED_NAMES = ("embedded", "embedded/base")  # models that are made, not looked up

# `model_type` in the config.json of models that are not LLaVA
FUSION = "vqa_fusion"
DUAL_ENCODER = "vqa_dual_encoder"
HUB_DUAL_ENCODERS = ("clip", "siglip", "siglip2")  # of transformers, that hold both encoders

INDEX = "model.safetensors.index.json"
# the head that a model's encoder was trained with: `weight` [K, D] and `bias` [K]
CLASSIFIER = "hint_classifier.safetensors"
HINT_SETTINGS = "hints.json"  # in the directory of what was trained with hints
_MB = 1 << 20
# read as an object each time, so that what the libraries will read is known to be one
_OBJECTS = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "video_preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json",
    "adapter_config.json", "chat_template.json",
)  # fmt: skip
# bytes of other files that libraries open; the largest that are known have a third of it
_OTHERS = {
    "added_tokens.json": 32 * _MB,
    "chat_template.jinja": _MB,
    "merges.txt": 32 * _MB,
    "sentencepiece.bpe.model": 64 * _MB,
    "spiece.model": 64 * _MB,
    "tokenizer.json": 128 * _MB,
    "tokenizer.model": 64 * _MB,
    "vocab.json": 32 * _MB,
    "vocab.txt": 32 * _MB,
}
_INDEX_BYTES = 64 * _MB
_PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")


def holds_model(directory: Path) -> bool:
    """Return whether a directory has the config of a model or of an adapter."""
    return any((directory / name).is_file() for name in ("config.json", "adapter_config.json"))


def check_directory(directory: Path) -> None:
    """Raise InputError where a file that a library would open in `directory` is not as it must be.

    Only files that exist are checked: what is missing, the library says.
    """
    for name in _OBJECTS:
        path = directory / name
        check_file(path, OBJECT_BYTES)
        if path.exists():
            settings = read_object(path)
            check_kinds(settings, path)
            if name == "tokenizer_config.json":
                _refuse_pickles(path, settings)
            elif name == "preprocessor_config.json":
                check_preprocessor(settings, str(path))
            elif name in ("config.json", "processor_config.json"):
                check_config(settings, str(path))
                inner = settings.get("image_processor")  # newer directories have it in there
                check_preprocessor(inner if isinstance(inner, dict) else {}, str(path))
    for name, most in _OTHERS.items():
        check_file(directory / name, most)
    for path in (directory / "additional_chat_templates").glob("*.jinja"):
        check_file(path, _OTHERS["chat_template.jinja"])
    for path in weight_files(directory):
        check_file(path)


def weight_files(directory: Path) -> Iterator[Path]:
    """Yield the safetensors files of a model or adapter: those of the index, if there is one.

    Raises InputError where the index names what is not in the directory.
    """
    index = directory / INDEX
    check_file(index, _INDEX_BYTES)
    if not index.exists():
        for name in ("model.safetensors", "adapter_model.safetensors", "classifier.safetensors"):
            if (directory / name).exists() or (directory / name).is_symlink():
                yield directory / name
        return
    places = read_object(index, _INDEX_BYTES).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(v, str) for v in places.values()):
        raise InputError(f"{index}: it has no weight_map from names to files")
    for name in sorted(set(places.values())):
        path = directory / name
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise InputError(f"{index}: {name[:80]!r} is no safetensors file beside it")
        check_file(path)
        if not _is_inside(path, directory):
            raise InputError(f"{path}: a link out of the model's directory; copy the file there")
        yield path


def _is_inside(path: Path, directory: Path) -> bool:
    """Return whether a file lies in a directory, or beside it as in a snapshot of the hub cache."""
    directory = directory.resolve()
    allowed = {directory}
    if directory.parent.name == "snapshots":
        allowed.add(directory.parent.parent / "blobs")
    return path.resolve().parent in allowed


def _refuse_pickles(path: Path, settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        if isinstance(value, str) and value.lower().endswith(_PICKLES) and key.endswith("_file"):
            raise InputError(f"{path}: {key} names a pickle, which could run anything: not read")


def is_fusion(name: str | Path) -> bool:
    """Return whether `name` is the directory of a fusion model; load nothing."""
    return _has_type(name, FUSION)


def is_dual_encoder(name: str | Path) -> bool:
    """Return whether `name` is a directory of `vqa train align`; load nothing."""
    return _has_type(name, DUAL_ENCODER)


def _has_type(name: str | Path, model_type: str) -> bool:
    path = Path(resolve_weights(str(name))) / "config.json"
    try:
        return path.is_file() and read_object(path).get("model_type") == model_type
    except InputError:  # raised again when it is loaded
        return False


def load_pretrained(load: Callable[..., T], name: str | Path, /, **options: Any) -> T:
    """Call `load`, such as `AutoModel.from_pretrained`, on a directory or hub id.

    No code that comes with `name` is run, whatever its files ask for, and nobody is asked whether
    it may. Raises InputError, with the reason in one line, for what cannot be loaded: a library
    that reads files of strangers may raise anything.
    """
    if Path(name).is_dir():
        check_directory(Path(name))
    try:
        return load(str(name), trust_remote_code=False, **options)
    except InputError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise InputError(error_line(error)) from error
