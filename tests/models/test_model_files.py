"""Directories that mean ill, file by file; honest ones of all makers stay as they are."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny, tiny_text
from vqa.errors import InputError
from vqa.inputs import chat_template
from vqa.inputs.prompts import Message, encode, tokens_per_image
from vqa.models.bundled.conversion import _CHAT_TEMPLATE
from vqa.models.checkpoints import load, load_config_and_processor
from vqa.models.llava import _PICTURES_FIRST
from vqa.models.model_files import check_directory, is_fusion
from vqa.tools.describe import describe
from vqa.tools.inventory import list_models
from vqa.utils import sandbox
from vqa.utils.config_kinds import check_kinds
from vqa.utils.config_sizes import check_config, check_preprocessor
from vqa.utils.json_files import read_object
from vqa.utils.safetensors_files import stored_tensors

CONFIGS: dict[str, dict[str, Any]] = {
    "Llama 3.1 405B": {
        "hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126,
        "num_attention_heads": 128, "num_key_value_heads": 8, "vocab_size": 128256,
        "max_position_embeddings": 131072,
    },
    "Gemma 3": {"vocab_size": 262208, "head_dim": 256, "num_hidden_layers": 62},
    "Llama 4": {"max_position_embeddings": 10485760, "num_local_experts": 128},
    "Qwen 2": {"sliding_window": None, "max_window_layers": 0, "num_experts": 0},
    "a page": {"image_size": [1024, 768], "patch_size": [16, 16], "num_channels": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_the_largest_models_have_sizes_of_models(name: str) -> None:
    check_config({"text_config": CONFIGS[name]}, name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 10**7), ("num_hidden_layers", "12"), ("num_hidden_layers", True),
        ("hidden_size", 0), ("hidden_size", -1), ("hidden_size", 64.0), ("hidden_size", []),
        ("hidden_size", [64, 10**12]), ("vocab_size", 10**12), ("vocab_size", 10**400),
        ("num_attention_heads", 0), ("patch_size", 0), ("image_size", 28_000),
        ("image_size", float("nan")), ("num_channels", 10**6), ("intermediate_size", 1 << 40),
        ("n_positions", 1 << 40), ("num_additional_image_tokens", 10**9), ("answers", 10**12),
    ],
)  # fmt: skip
def test_a_size_that_no_model_has_is_refused(key: str, value: Any) -> None:
    if value == []:
        return  # nothing to build of it: the library says so
    for config in ({key: value}, {"text_config": {key: value}}, {"a": {"b": {key: value}}}):
        with pytest.raises(InputError, match=key) as caught:
            check_config(config, "config.json")
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", [[1], {"a": 1}, "14", -1, 0, 10**9, True, 1.5])
@pytest.mark.parametrize("key", ["patch_size", "num_additional_image_tokens"])
def test_a_processor_counts_by_whole_numbers(key: str, value: Any) -> None:
    processor = tiny_text.processor(tiny_text.byte_level_tokenizer(), tiny_text.CHATML)
    setattr(processor, key, value)
    if key == "num_additional_image_tokens" and value == 0:
        return
    with pytest.raises(InputError):
        tokens_per_image(processor)


def test_sizes_of_pictures(tmp_path: Path) -> None:
    for size in ({"height": 384, "width": 384}, {"shortest_edge": 1024}, 336, None):
        check_preprocessor({"size": size, "crop_size": size}, "p")
    for size in (28_000, {"height": 28_000, "width": 1}, {"shortest_edge": "a"}, 0, [1], True):
        with pytest.raises(InputError):
            check_preprocessor({"size": size}, "p")
    with pytest.raises(InputError, match="patches"):
        check_config({"image_size": 2048, "patch_size": 1}, "c")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _deep(path: Path) -> None:
    path.write_text('{"a":' * 5000 + "1" + "}" * 5000)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


NO_JSON: dict[str, Callable[[Path], Any]] = {
    "a pipe": _fifo,
    "a directory": Path.mkdir,
    "a circle": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "3 GB": _sparse,
    "deep": _deep,
    "rather deep": lambda path: path.write_text('{"a":' * 100 + "1" + "}" * 100),
    "a key twice": lambda path: path.write_text('{"a": {"b": 1, "b": 2}}'),
    "UTF-16": lambda path: path.write_text("{}", encoding="utf-16"),
    "with a mark": lambda path: path.write_text("{}", encoding="utf-8-sig"),
    "a list": lambda path: path.write_text("[1]"),
    "a long number": lambda path: path.write_text('{"a": ' + "9" * 10_000 + "}"),
    "torn": lambda path: path.write_text('{"a": '),
    "empty": lambda path: path.write_text(""),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 9),
}


@pytest.mark.parametrize("what", NO_JSON)
def test_what_is_no_plain_object_is_refused_wherever_it_is_read(what: str, tmp_path: Path) -> None:
    for name in ("config.json", "adapter_config.json"):
        directory = tmp_path / name.removesuffix(".json") / "m"
        directory.mkdir(parents=True)
        NO_JSON[what](directory / name)
        with pytest.raises(InputError) as caught:
            read_object(directory / name)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
        with pytest.raises(InputError):
            check_directory(directory)
        for read in (load, load_config_and_processor, describe):
            with pytest.raises(InputError):
                read(str(directory))
        assert not is_fusion(directory)
        assert [entry.name for entry in list_models(directory.parent)] == ["embedded"]


@pytest.mark.parametrize(
    "change",
    [
        {"text_config": 7}, {"vision_config": "a"}, {"architectures": 7}, {"architectures": [{}]},
        {"model_type": ["llava"]}, {"model_type": {"a": 1}}, {"text_config": {"model_type": [1]}},
        {"text_config": {"model_type": "a" * 10**6}}, {"model_type": "a" * 10**6},
    ],
)  # fmt: skip
def test_a_config_of_other_types_is_described_or_refused(
    change: dict[str, Any], tmp_path: Path
) -> None:
    directory = tiny.llava_interleave(tmp_path / "m")
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    for each in list_models(tmp_path):
        assert len(each.state) < 300
    try:
        describe(str(directory))
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 500


def _header(**entry: Any) -> bytes:
    whole = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | entry
    text = json.dumps({"a": whole}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 7, (1 << 62).to_bytes(8, "little") + b"{}",
        (2**64 - 1).to_bytes(8, "little") + b"{}",
        _header(shape=[-1]), _header(shape=[1 << 60]), _header(shape=[1 << 30] * 7),
        _header(shape=[1] * 99), _header(shape="a"), _header(shape=[[]]), _header(shape=None),
        _header(data_offsets=[0, 1 << 60]), _header(data_offsets=[4, 0]),
        _header(data_offsets=[-9, 4]), _header(data_offsets=[0]), _header(data_offsets="ab"),
        _header(shape=[float("inf")]), _header(shape=[10**400]),
        (9999).to_bytes(8, "little") + b"[" * 9999,
        (16).to_bytes(8, "little") + b'{"a":1,"a":2}   ',
    ],
)  # fmt: skip
def test_weights_with_a_hostile_header_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="not a safetensors file, or cut short"):
        stored_tensors(tmp_path / "model.safetensors")


def test_weights_that_are_no_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="not a file"):
        stored_tensors(tmp_path / "model.safetensors")


def test_a_config_that_wants_more_than_the_weights_hold_takes_no_memory(tmp_path: Path) -> None:
    directory = tiny.llava_1_5(tmp_path / "m")
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["text_config"] |= {"num_hidden_layers": 90, "intermediate_size": 1 << 20}
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="but the weights hold"):
        load(str(directory))


HOSTILE = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "doubles": "{% set n = namespace(s='xx') %}{% for i in range(64) %}"
    "{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "multiplies": "{{ 'x' * 10 ** 11 }}",
    "pads": "{{ 'x' | center(10 ** 11) }}",
    "formats": "{{ '%99999999999d' % 1 }}",
    "powers": "{{ (7 ** 99999999) ** 9999 }}",
    "calls itself": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "lipsum": "{{ lipsum(99999999) }}",
    "joins": "{{ (range(99999) | list * 999) | join('x' * 9999) }}",
    "writes much": "{% for a in range(99999) %}{{ 'x' * 999 }}{% endfor %}",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_template_that_takes_too_much_is_ended(what: str) -> None:
    processor = tiny_text.processor(tiny_text.byte_level_tokenizer(), HOSTILE[what])
    with pytest.raises(InputError, match=r"The chat template refuses .* it ") as caught:
        encode(processor, [Message("user", "a?")], add_generation_prompt=True)
    assert len(str(caught.value)) < 200
    sound = tiny_text.processor(tiny_text.byte_level_tokenizer(), tiny_text.CHATML)
    assert encode(sound, [Message("user", "a?")], add_generation_prompt=True).input_ids


def test_a_template_that_swells_only_in_the_third_turn_is_ended_too() -> None:
    late = "{% if messages | length > 2 %}" + HOSTILE["loops"] + "{% endif %}" + tiny_text.CHATML
    processor = tiny_text.processor(tiny_text.byte_level_tokenizer(), late)
    talk = [Message("user", "a?"), Message("assistant", "b"), Message("user", "c?")]
    assert encode(processor, talk[:1], add_generation_prompt=True).input_ids
    with pytest.raises(InputError, match="more than 1 seconds"):
        encode(processor, talk, add_generation_prompt=True)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}", "{{ messages.__class__ }}", "{{ namespace(__init__=1) }}",
        "{{ cycler.__init__.__globals__ }}", "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}", "{{ self.__init__ }}", "{{ messages.append(1) }}",
        "{{ lipsum.__globals__['os'].popen('id').read() }}",
    ],
)  # fmt: skip
def test_a_template_reaches_nothing_of_python(template: str) -> None:
    processor = tiny_text.processor(tiny_text.byte_level_tokenizer(), template)
    with pytest.raises(InputError) as caught:
        encode(processor, [Message("user", "a?")], add_generation_prompt=True)
    assert "root:" not in str(caught.value) and "uid=" not in str(caught.value)


PARTS = [{"type": "image"}, {"type": "text", "text": "a <b> \u00e9"}]
TEMPLATES = {
    "vicuna": tiny_text.VICUNA,
    "interleave": tiny_text.INTERLEAVE,
    "chatml": tiny_text.CHATML,
    "inst": tiny_text.INST,
    "pictures first": _PICTURES_FIRST + tiny_text.TEXT_CHATML,
    "lines": "{% for m in messages %}\n  {%- if loop.first %}\n  {{ m.role }}\n  {% endif %}\n"
    "{% if loop.index > 1 %}{% continue %}{% endif %}{{ m | tojson(indent=2) }}\n{% endfor %}\n",
    "names": "{% set n = namespace(a=1) %}{% set n.a = n.a + 1 %}{{ n.a }}{{ bos_token }}"
    "{{ dict(a=1) | tojson }}{{ tools is none }}{{ documents is defined }}{{ undefined_name }}",
    "generation": "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}"
    "{% for m in messages %}{% generation %}{{ loop.index }}{{ m.role }}{% endgeneration %}"
    "{% endfor %}",
    "refuses": "{{ raise_exception('no ' ~ messages[0].role) }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("content", ["a <b>\n \u00e9", PARTS], ids=["text", "parts"])
def test_a_template_writes_what_transformers_writes(name: str, content: Any) -> None:
    processor = tiny_text.processor(tiny_text.llama_tokenizer(), TEMPLATES[name])
    talk = [{"role": role, "content": content} for role in ("user", "assistant", "user")]
    expected: str
    try:
        expected = processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
    except Exception as error:
        expected = str(error)
    try:
        written = chat_template._apply(processor, TEMPLATES[name], talk, True)
    except InputError as error:
        written = str(error).removeprefix("The chat template refuses the conversation: ")
    assert written == expected


def test_the_shipped_models_template_needs_no_other_process() -> None:
    assert chat_template.is_bundled(_PICTURES_FIRST + _CHAT_TEMPLATE)
    assert not chat_template.is_bundled(_PICTURES_FIRST + _CHAT_TEMPLATE + " ")
    assert not chat_template.is_bundled("\ud800")


def test_expressions_are_tried_before_they_are_used() -> None:
    names = [f"model.language_model.layers.{n}.self_attn.q_proj" for n in range(200)]
    sandbox.check_patterns([r".*language_model.*\.(q_proj|k_proj)", r"(?!.*vision).*"], names)
    for pattern in (r"([a-z_.0-9]+)+\$", r"(([a-z]|[a-z_.0-9])+)*\$"):
        with pytest.raises(InputError, match="more than 1 seconds"):
            sandbox.check_patterns([pattern], names)
    for pattern in ("(", "[", "(?P<a>", "*"):
        with pytest.raises(InputError):
            sandbox.check_patterns([pattern], names)


def test_the_other_process_is_started_again_after_its_end() -> None:
    assert sandbox.render("{{ a }}", a=1) == "1"
    process = sandbox._SANDBOX._process
    assert process is not None
    process.kill()
    process.wait()
    assert sandbox.render("{{ a }}", a=2) == "2"


@settings(max_examples=30, deadline=None)
@given(st.text(), st.text())
def test_any_text_passes_through_the_other_process(before: str, text: str) -> None:
    assert sandbox.render("{{ a }}|{{ b }}", a=before, b=text) == f"{before}|{text}"


def test_settings_as_others_write_them_are_of_the_right_kind(tmp_path: Path) -> None:
    honest: dict[str, list[dict[str, Any]]] = {
        "adapter_config.json": [
            {"target_modules": ".*q_proj", "modules_to_save": None, "layers_pattern": []},
            {"target_modules": ["q_proj"], "lora_alpha": 16, "lora_dropout": 0, "bias": "none",
             "alpha_pattern": {}, "init_lora_weights": True, "task_type": None,
             "layers_to_transform": [0, 1]},
        ],
        "config.json": [{"torch_dtype": "bfloat16", "pad_token_id": None, "id2label": {"0": "a"},
                         "text_config": {"layer_types": ["full_attention"]}}],
        "generation_config.json": [
            {"eos_token_id": [1, 2], "temperature": 1, "top_p": 0.9, "top_k": 50, "do_sample": True,
             "early_stopping": "never", "pad_token_id": -1, "max_new_tokens": None},
        ],
        "preprocessor_config.json": [
            {"do_convert_rgb": None, "image_mean": 0.5, "image_std": [0.5, 0.5, 0.5], "size": 224},
        ],
        "tokenizer_config.json": [
            {"model_max_length": 1000000000000000019884624838656, "tokenizer_class": None,
             "chat_template": [{"name": "default", "template": "x"}],
             "added_tokens_decoder": {"0": {"content": "<s>", "special": True}}},
        ],
    }  # fmt: skip
    for name, files in honest.items():
        for content in files:
            check_kinds(content, tmp_path / name)
