"""Model directories with any part of their files changed: answers, or a line that says why not."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests import tiny
from tests.fuzz.limits import fuzz, held
from tests.fuzz.mutation import changed_bytes, changed_json
from vqa.answering import Request, SamplingParams
from vqa.engine import LocalEngine
from vqa.inputs.prompts import Message
from vqa.models.checkpoints import load
from vqa.tools.describe import describe
from vqa.tools.inventory import list_models

# keys that make libraries do more than read sizes
NAMES = (
    "auto_map", "quantization_config", "torch_dtype", "dtype", "rope_scaling", "rope_parameters",
    "tie_word_embeddings", "attn_implementation", "architectures", "pruned_heads", "hidden_act",
    "model_type", "image_processor_type", "processor_class", "tokenizer_class", "chat_template",
    "vocab_file", "resample", "do_pad", "pad_size", "size", "image_mean", "added_tokens_decoder",
    "extra_special_tokens", "rank_pattern", "alpha_pattern", "modules_to_save", "use_dora",
    "layers_to_transform", "layers_pattern", "exclude_modules", "eos_token_id", "suppress_tokens",
    "num_labels", "id2label", "cache_implementation", "generation_config", "temperature",
)  # fmt: skip
TEMPLATES = [
    "", "{{ 1 }}", "{{ messages }}", "{% for m in messages %}{{ m.content }}{% endfor %}",
    "{{ messages[0].__class__.__mro__ }}", "{{ raise_exception('no') }}", "{{ 'x' * 10**9 }}",
    "{% include 'a' %}", "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "{{ 1 / 0 }}",
    "{% for m in messages %}<image>{{ m.content[-1].text }}{% endfor %}", "{{ '<image>' * 9999 }}",
]  # fmt: skip
PICTURE = Image.new("RGB", (40, 30), "red")


@cache
def originals(folder: Path) -> list[Path]:
    base = tiny.llava_1_5(folder / "clip", shards=2)
    return [base, tiny.llava_interleave(folder / "siglip"), tiny.lora(base, folder / "adapter")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@fuzz
@given(data=st.data(), number=st.integers(0, 2))
def test_a_model_directory(folder: Path, tmp_path: Path, data: st.DataObject, number: int) -> None:
    directory = tmp_path / "model"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(originals(folder)[number], directory)
    files = sorted(path for path in directory.iterdir() if path.is_file())
    plain = [path for path in files if path.suffix == ".json"]
    for _ in range(data.draw(st.sampled_from([1, 1, 1, 2]))):
        path = data.draw(st.sampled_from(plain) | st.sampled_from(files))
        path.write_bytes(data.draw(changed_file(path.name, path.read_bytes())))
    actions: list[Callable[[], Any]] = [
        lambda: list_models(tmp_path),
        lambda: describe(str(directory)),
        lambda: ask(directory),
    ]
    for action in actions:
        with held():
            action()


def ask(directory: Path) -> None:
    engine = LocalEngine(load(str(directory), dtype="float32"))
    message = Message("user", "What is it?", (PICTURE,))
    (answer,) = engine.answer([Request((message,), SamplingParams(max_new_tokens=3))])
    assert isinstance(answer.text, str) and answer.new_tokens <= 3


@st.composite
def changed_file(draw: st.DrawFn, name: str, content: bytes) -> bytes:
    """The content of a file with something in it changed: of JSON a value, mostly."""
    if draw(st.integers(0, 7)) == 0:
        return draw(changed_bytes(content))
    try:
        if name == "chat_template.json":
            return json.dumps({"chat_template": draw(st.sampled_from(TEMPLATES))}).encode()
        if name.endswith(".safetensors"):
            return draw(changed_weights(content))
        return json.dumps(draw(changed_json(json.loads(content), NAMES))).encode()
    except (ValueError, struct.error):  # it was changed before, and cannot be read any more
        return draw(changed_bytes(content))


@st.composite
def changed_weights(draw: st.DrawFn, content: bytes) -> bytes:
    """A safetensors file with a change in its header, or in the numbers of its tensors."""
    length = struct.unpack("<Q", content[:8])[0]
    numbers = content[8 + length :]
    if draw(st.booleans()):
        return content[: 8 + length] + draw(changed_bytes(numbers))
    header = draw(changed_json(json.loads(content[8 : 8 + length]), ("__metadata__", "a")))
    written = json.dumps(header).encode()
    return struct.pack("<Q", len(written)) + written + numbers
