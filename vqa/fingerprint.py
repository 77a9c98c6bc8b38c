"""Identity of files, values, pictures and models: equal content, equal fingerprint.

Every fingerprint is the first 32 hex digits of a SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqa.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

_DIGITS = 32


def of_bytes(data: bytes) -> str:
    """Fingerprint of bytes; of a text as `of_bytes(text.encode())`."""
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def of_file(path: str | os.PathLike[str]) -> str:
    """Fingerprint of a file's content; its name does not count. Raises InputError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error


def of_json(value: Any) -> str:
    """Fingerprint of a value that JSON can hold; the order of a dict's keys does not count."""
    return of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def of_image(image: Image.Image) -> str:
    """Fingerprint of a picture's mode, size and pixels, whatever file it came from."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height} ".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()[:_DIGITS]


def of_directory(path: str | os.PathLike[str]) -> str:
    """Fingerprint of a model's directory: its `*.safetensors` and `config.json`, names included.

    Raises InputError where there is neither.
    """
    directory = Path(path)
    files = sorted([*directory.glob("*.safetensors"), *directory.glob("config.json")])
    if not files:
        raise InputError(f"{path} holds no model: no *.safetensors and no config.json in it.")
    return of_json([[file.name, of_file(file)] for file in files])


def of_module(module: nn.Module) -> str:
    """Fingerprint of a module's weights and buffers as they are now: names, types, shapes, values.

    Where the weights are (CPU, GPU) does not count.
    """
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not isinstance(value, torch.Tensor):
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)} ".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:_DIGITS]
