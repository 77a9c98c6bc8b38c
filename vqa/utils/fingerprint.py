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
from vqa.utils.disk import reading

if TYPE_CHECKING:
    from PIL import Image
    from torch import nn

_DIGITS = 32
_HINTS = "hint_"  # so begin files beside a model's weights that change none of them


def of_bytes(data: bytes) -> str:
    """Compute the fingerprint of bytes; of a text as `of_bytes(text.encode())`."""
    return hashlib.sha256(data).hexdigest()[:_DIGITS]


def of_file(path: str | os.PathLike[str]) -> str:
    """Compute the fingerprint of a file's content; its name does not count. Raises InputError."""
    with reading(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def of_json(value: Any) -> str:
    """Compute the fingerprint of a JSON value; the order of a dict's keys does not count."""
    return of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def of_image(image: Image.Image) -> str:
    """Compute the fingerprint of a picture's mode, size and pixels, whatever file it came from."""
    digest = hashlib.sha256(f"{image.mode} {image.width}x{image.height} ".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()[:_DIGITS]


def of_directory(path: str | os.PathLike[str]) -> str:
    """Compute the fingerprint of a model's directory: `*.safetensors` and `config.json` by name.

    Raises InputError where there is neither.
    """
    directory = Path(path)
    files = sorted([*directory.glob("*.safetensors"), *directory.glob("config.json")])
    files = [file for file in files if not file.name.startswith(_HINTS)]
    if not files:
        raise InputError(f"{path} holds no model: no *.safetensors and no config.json in it.")
    return of_json([[file.name, of_file(file)] for file in files])


def of_module(module: nn.Module) -> str:
    """Compute the fingerprint of a module's weights and buffers: names, types, shapes, values.

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
