"""Model directories that mean ill."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests import tiny
from tests.hostile.harness import Case, Command

Change = Callable[[Path], None]


def _model(change: Change) -> Callable[[Path, ExitStack], Command]:
    """Plant a tiny LLaVA, changed, and ask it."""

    def plant(directory: Path, _: ExitStack) -> Command:
        model = tiny.llava_1_5(directory / "model", shards=1)
        change(model)
        return _asked(directory, "model")

    return plant


def _adapter(change: Change) -> Callable[[Path, ExitStack], Command]:
    """Plant a tiny LLaVA with an adapter, which is changed, and ask that."""

    def plant(directory: Path, _: ExitStack) -> Command:
        base = tiny.llava_1_5(directory / "base", shards=1)
        change(tiny.lora(base, directory / "adapter"))
        return _asked(directory, "adapter")

    return plant


def _asked(directory: Path, model: str) -> Command:
    Image.new("RGB", (40, 30), "red").save(directory / "photo.png")
    arguments = ["ask", "--model", directory / model, directory / "photo.png", "What is it?"]
    return Command([*arguments, "--max-new-tokens", "4"], stdin="y\n" * 100)


def edited(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the JSON in a file, in place or by what `change` gives."""
    value = json.loads(path.read_text(encoding="utf-8"))
    changed = change(value)
    path.write_text(json.dumps(value if changed is None else changed), encoding="utf-8")


def _config(**changes: Any) -> Change:
    return lambda d: edited(d / "config.json", lambda c: c.update(changes))


def _text(**changes: Any) -> Change:
    return lambda d: edited(d / "config.json", lambda c: c["text_config"].update(changes))


def _vision(**changes: Any) -> Change:
    return lambda d: edited(d / "config.json", lambda c: c["vision_config"].update(changes))


def _lora(**changes: Any) -> Change:
    return lambda d: edited(d / "adapter_config.json", lambda c: c.update(changes))


def _template(template: str) -> Change:
    def change(directory: Path) -> None:
        (directory / "chat_template.json").unlink()
        (directory / "chat_template.jinja").write_text(template, encoding="utf-8")

    return change


def _bytes(name: str, content: bytes) -> Change:
    return lambda d: (d / name).write_bytes(content) and None  # type: ignore[func-returns-value]


def _fifo(name: str) -> Change:
    def change(directory: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / name)

    return change


def _link(name: str, target: str) -> Change:
    def change(directory: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(target)

    return change


def _socket(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    here = os.getcwd()
    os.chdir(directory)  # a socket's path has at most 107 characters
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("tokenizer.json")
    finally:
        os.chdir(here)


def _sparse(name: str, size: int, head: bytes = b"{") -> Change:
    def change(directory: Path) -> None:
        with (directory / name).open("wb") as file:
            file.write(head)
            file.truncate(size)

    return change


def _own_code(directory: Path) -> None:
    canary = f"open({str(directory / 'ran')!r}, 'w')\n"
    (directory / "own.py").write_text(canary, encoding="utf-8")
    (directory / "custom_generate").mkdir()
    (directory / "custom_generate" / "generate.py").write_text(canary, encoding="utf-8")
    _config(model_type="own", auto_map={"AutoConfig": "own.Own", "AutoModel": "own.Own"})(directory)


def _outside(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").rename(directory.parent / "out.safetensors")
    places = dict.fromkeys(weights, "../out.safetensors")
    index = {"metadata": {}, "weight_map": places}
    path = directory / "model.safetensors.index.json"
    path.write_text(json.dumps(index), encoding="utf-8")


class _Canary:
    def __reduce__(self) -> Any:
        return print, ("the pickle was run",)


def _pickled(directory: Path) -> None:
    (directory / "adapter_model.safetensors").unlink()
    torch.save({"a": _Canary()}, directory / "adapter_model.bin")


def _tokenizer(**changes: Any) -> Change:
    return lambda d: edited(d / "tokenizer.json", lambda t: t.update(changes))


def _weights(**tensors: torch.Tensor) -> Change:
    def change(directory: Path) -> None:
        path = directory / "model.safetensors"
        save_file({**load_file(path), **tensors}, path, {"format": "pt"})

    return change


_TWICE = [
    {"type": "Replace", "pattern": {"String": a}, "content": b * 8}
    for a, b in [("e", "o"), ("o", "e")] * 12
]
_SLOW = {
    "type": "Split",
    "pattern": {"Regex": "(?:a|aa|a+)+$"},
    "behavior": "Isolated",
    "invert": False,
}
_LOOP = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}"
)
_DOUBLE = "{% set n = namespace(s='x' * 1000) %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}"


def _file(name: str, **changes: Any) -> Change:
    return lambda d: edited(d / name, lambda c: c.update(changes))


def _adapter_weights(change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    def changed(directory: Path) -> None:
        path = directory / "adapter_model.safetensors"
        tensors = {name: change(tensor) for name, tensor in load_file(path).items()}
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)

    return changed


def _stored_as(dtype: torch.dtype) -> Change:
    def change(directory: Path) -> None:
        path = directory / "model.safetensors"
        tensors = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
        save_file(tensors, path, {"format": "pt"})

    return change


# settings of another kind than a library takes them for, and what the message for each must have
_KINDS: list[tuple[str, dict[str, Any], str]] = [
    ("adapter_config.json", {"alpha_pattern": 1}, "alpha_pattern is 1, and must be an object"),
    ("adapter_config.json", {"bias": None}, "bias is None, and must be a text"),
    ("adapter_config.json", {"exclude_modules": 1.5}, "must be a text or a list of texts"),
    ("adapter_config.json", {"init_lora_weights": [1]}, "must be true, false or a text"),
    ("adapter_config.json", {"lora_alpha": None}, "lora_alpha is None, and must be a number"),
    ("adapter_config.json", {"lora_dropout": "x"}, "lora_dropout is 'x', and must be a number"),
    ("adapter_config.json", {"peft_type": ["LORA"]}, "peft_type is .*, and must be a text"),
    ("adapter_config.json", {"target_modules": ["q_proj", 3]}, "target_modules is "),
    ("config.json", {"model_type": [1]}, "model_type is .*, and must be a text"),
    ("config.json", {"id2label": "x"}, "id2label is 'x', and must be an object"),
    ("config.json", {"pad_token_id": "x"}, "pad_token_id is 'x', and must be a whole number"),
    ("generation_config.json", {"early_stopping": []}, "early_stopping is "),
    ("generation_config.json", {"max_new_tokens": "x"}, "max_new_tokens is 'x'"),
    ("generation_config.json", {"suppress_tokens": 3}, "must be a list of whole numbers"),
    ("generation_config.json", {"watermarking_config": "x"}, "must be an object"),
    ("preprocessor_config.json", {"do_rescale": [1]}, "do_rescale is .*, and must be true or"),
    ("preprocessor_config.json", {"image_mean": {"a": 1}}, "image_mean is .* a list of numbers"),
    ("preprocessor_config.json", {"image_processor_type": 1}, "must be a text"),
    ("processor_config.json", {"image_processor": "x"}, "image_processor is 'x'"),
    ("tokenizer_config.json", {"added_tokens_decoder": {"a": {"b": 1}}}, "tokens by their numbers"),
    ("tokenizer_config.json", {"chat_template": [1]}, "a list of objects with name and template"),
    ("tokenizer_config.json", {"model_max_length": "x"}, "model_max_length is 'x'"),
    ("tokenizer_config.json", {"tokenizer_class": 1}, "tokenizer_class is 1, and must be a text"),
]  # fmt: skip

CASES = [
    Case("code of its own", _model(_own_code), "no code that comes with a model is run"),
    Case("10,000,000 layers", _model(_text(num_hidden_layers=10**7)), "num_hidden_layers"),
    Case("hidden_size 0", _model(_text(hidden_size=0)), "hidden_size is 0"),
    Case("hidden_size a text", _model(_vision(hidden_size="24")), "must be a whole number"),
    Case("hidden_size negative", _model(_text(hidden_size=-64)), "hidden_size is -64"),
    Case("a vocabulary of 10^12", _model(_text(vocab_size=10**12)), "vocab_size"),
    Case("wider than its weights", _model(_text(hidden_size=16384)), "the weights hold"),
    Case("patches of one pixel", _model(_vision(image_size=2048, patch_size=1)), "patches"),
    Case(
        "pictures of 28,000 pixels",
        _model(
            lambda d: edited(
                d / "preprocessor_config.json",
                lambda c: c.update(
                    size={"shortest_edge": 28_000}, crop_size={"height": 28_000, "width": 28_000}
                ),
            )
        ),
        "size is 28000",
    ),
    Case("a template that loops", _model(_template(_LOOP)), "template.*more than 1 seconds"),
    Case(
        "a template that doubles",
        _model(_template(_DOUBLE + "{% endfor %}{{ n.s }}")),
        "template.*(memory|seconds)",
    ),
    Case("a template of one huge text", _model(_template("{{ 'x' * 9999999999 }}")), "memory"),
    Case(
        "a template that calls itself",
        _model(_template("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}")),
        "without end",
    ),
    Case("a template of 2 MB", _model(_template("{{ 1 }}" * 300_000)), "bytes are more|characters"),
    Case("a pipe as config", _model(_fifo("config.json")), "no model here|not a file"),
    Case("a pipe as tokenizer", _model(_fifo("tokenizer.json")), "not a file"),
    Case("a pipe as template", _model(_fifo("chat_template.jinja")), "not a file"),
    Case("a socket as tokenizer", _model(_socket), "not a file"),
    Case("a device as weights", _model(_link("model.safetensors", "/dev/zero")), "not a file"),
    Case("links in a circle", _model(_link("config.json", "config.json")), "no model|links"),
    Case("a config of 2 GB", _model(_sparse("config.json", 2 << 30)), "bytes are more"),
    Case("a tokenizer of 2 GB", _model(_sparse("tokenizer.json", 2 << 30)), "bytes are more"),
    Case(
        "a config of 100,000 levels",
        _model(_bytes("config.json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000)),
        "nested too deeply",
    ),
    Case(
        "a config in UTF-16",
        _model(
            lambda d: (d / "config.json").write_bytes(
                (d / "config.json").read_text(encoding="utf-8").encode("utf-16")
            )
            and None  # type: ignore[func-returns-value]
        ),
        "cannot be read as JSON",
    ),
    Case("a key twice", _model(_bytes("config.json", b'{"a": 1, "a": 2}')), "stands in it twice"),
    Case(
        "weights with a header of 2^62",
        _model(_bytes("model.safetensors", (1 << 62).to_bytes(8, "little") + b"{}")),
        "not a safetensors file",
    ),
    Case(
        "weights of 1 TB, sparse",
        _model(_sparse("model.safetensors", 1 << 40, (1 << 39).to_bytes(8, "little"))),
        "not a safetensors file",
    ),
    Case("weights outside", _model(_outside), "no safetensors file beside it"),
    Case(
        "a tensor of another shape",
        _model(_weights(**{"multi_modal_projector.linear_1.weight": torch.zeros(999, 999)})),
        "cannot load the weights",
    ),
    Case("a tokenizer that swells", _model(_tokenizer(normalizer={
        "type": "Sequence", "normalizers": _TWICE})), "tokenizer.json: "),
    Case("a tokenizer's expression", _model(_tokenizer(pre_tokenizer=_SLOW)), "tokenizer.json: "),
    Case("an adapter of rank 10^7", _adapter(_lora(r=10**7)), "rank 10000000"),
    Case("an adapter of rank 'x'", _adapter(_lora(r="x")), "rank x"),
    Case(
        "layers by an expression that explodes",
        _adapter(_lora(target_modules=r"(([a-z_.0-9]+)+)+\$")),
        "pattern of layers.*more than 1 seconds",
    ),
    Case("an adapter that is a pickle", _adapter(_pickled), "adapter_model.safetensors is missing"),
    Case(
        "an adapter that imports",
        _adapter(_lora(megatron_config={"a": 1}, megatron_core="antigravity")),
        "megatron_config",
    ),
    Case(
        "an adapter that repeats layers",
        _adapter(_lora(layer_replication=[[0, 2]] * 10**5)),
        "layer_replication",
    ),
    Case("an adapter on itself", _adapter(
        lambda d: _lora(base_model_name_or_path=str(d))(d)), "no model here"),
    Case("an adapter on a list", _adapter(_lora(base_model_name_or_path=["a"])), "is no name"),
    *(
        Case(
            f"{name}: {next(iter(changes))}",
            (_adapter if name.startswith("adapter") else _model)(_file(name, **changes)),
            f"{name}: .*{says}",
        )
        for name, changes, says in _KINDS
    ),
    Case("layers of no kind", _model(_text(layer_types=3)), "layer_types is 3, and must be a list"),
    Case("a type that is a number", _model(_text(dtype=1.5)), "dtype is 1.5, and must be a text"),
    Case("10^9 labels", _model(_text(num_labels=10**9)), "num_labels is 1000000000"),
    Case("no theta", _model(_text(rope_theta=None)), "a value of the wrong kind"),
    Case("features of no layer", _model(_config(vision_feature_layer=0)), "cannot take the pic"),
    Case("weights of 8 bits", _model(_stored_as(torch.int8)), "stored as I8, which is no type of"),
    Case("weights of yes and no", _model(_stored_as(torch.bool)), "stored as BOOL"),
    Case("complex weights", _model(_stored_as(torch.complex64)), "stored as C64"),
    Case("an adapter on its side", _adapter(_adapter_weights(torch.t)), "does not fit: .*size mis"),
    Case("an adapter without sides", _adapter(_adapter_weights(torch.sum)), "does not fit: .*size"),
]  # fmt: skip
