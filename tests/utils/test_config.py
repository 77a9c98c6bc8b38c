"""Configs: where they are, how values are read, and messages about wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator

from vqa.errors import InputError
from vqa.utils import config, plain_yaml
from vqa.utils.config import load_config


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: float = Field(0.1, gt=0)
    layers: tuple[str, ...] = ()


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    output: Path
    text: str = ""
    rate: float = 1e-3
    steps: int | None = 3
    inner: Inner = Inner()
    maybe: Inner | None = None
    sets: dict[str, Inner] = {}
    even: int = 0

    @field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("even: choose an even number")
        return value


def load(tmp_path: Path, text: str, *overrides: str) -> Outer:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(Outer, str(path), overrides)


def refused(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(InputError) as error:
        load(tmp_path, text, *overrides)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    return str(error.value)


def test_file_then_overrides(tmp_path: Path) -> None:
    text = "output: here\nrate: 1e-4\ninner:\n  rate: 2\nsets:\n  a: {rate: 5.}\n"
    settings = load(
        tmp_path, text, "output=there", "inner.rate=1E-5", "inner.layers=[q, v]", "sets.b.rate=3",
        "steps=", "maybe.rate=7",
    )  # fmt: skip
    assert settings == Outer(
        output=Path("there"),
        rate=0.0001,
        steps=None,
        inner=Inner(rate=1e-5, layers=("q", "v")),
        maybe=Inner(rate=7),
        sets={"a": Inner(rate=5), "b": Inner(rate=3)},
    )


@given(st.floats(allow_nan=False))
def test_every_float_is_a_float(number: float) -> None:
    written = repr(number) if abs(number) != float("inf") else f"{number}".replace("inf", ".inf")
    assert plain_yaml.parse_value(written, "x") == number
    assert plain_yaml.parse_document(f"rate: {written}", "x") == {"rate": number}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1e4", 1e4), ("5.", 5.0), ("010", 10), ("-3", -3), ("1_000", 1000),
        ("no", "no"), ("on", "on"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ("e5", "e5"),
        ("1.0.2", "1.0.2"), ("true", True), ("False", False), ("null", None), ("~", None),
        ("'1'", "1"), ("timm:resnet18:224", "timm:resnet18:224"),
    ],
)  # fmt: skip
def test_plain_values_read_the_same_in_a_file_and_an_override(text: str, value: Any) -> None:
    for read in (
        plain_yaml.parse_value(text, "x"),
        plain_yaml.parse_document(f"key: {text}", "x")["key"],
    ):
        assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    "text", ["a: b", "x # y", "@home", "C:\\data", "*.jsonl", "- a", "%x", "`"]
)
def test_an_override_may_hold_what_yaml_would_cut_or_refuse(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, "output: o", f"text={text}").text == text


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("output: o\noutptu: p", [], "some.yaml: outptu: unknown key; did you mean output?"),
        ("output: o", ["stesp=3"], "stesp: unknown key; did you mean steps?"),
        ("output: o\ninner: {rat: 1}", [], "inner.rat: unknown key; did you mean inner.rate?"),
        ("output: o\nsets: {a: {rat: 1}}", [], "sets.a.rat: unknown key; did you mean sets.a.rate"),
        ("output: o", ["maybe.layer=x"], "maybe.layer: unknown key; did you mean maybe.layers?"),
        ("output: o", ["inner.zzzz=1"], "inner.zzzz: unknown key; there are inner.rate, inner.la"),
        ("rate: 1", [], "some.yaml: output: missing; set it in the file or give output=VALUE"),
        ("output: o\nrate: fast", [], "some.yaml: rate: should be a valid number"),
        ("output: o\ninner: {rate: -1}", [], "inner.rate: should be greater than 0, not -1"),
        ("output:", [], "output: should be a path, not null"),
        ("output: o", ["even=3"], "even: choose an even number"),
        ("output: o", ["steps"], "steps: an override is key=value"),
        ("output: o", ["=3"], "=3: an override is key=value"),
        ("output: o", ["a..b=3"], "a..b=3: an override is key=value"),
        ("output: o", ["output.x=3"], "output.x=3: output has no keys of its own"),
        ("output: o", ["inner=[1"], "inner=[1, line 1: "),
        ("output: o\nrate: 1\nrate: 2", [], "some.yaml, line 3: rate is set twice"),
        ("output: o\nrate: !!bool x", [], "some.yaml: a value that is not of the kind its tag"),
        ("output: !!map [x]", [], "some.yaml: a value that is not of the kind its tag"),
        ("output: o\nrate: !!int [1]", [], "some.yaml: a value that is not of the kind its tag"),
        ("output: o\nrate: !!timestamp x", [], "some.yaml: a value that is not of the kind"),
        ("output: [o", [], "some.yaml, line 1: "),
        ("output: !!python/object:os.system x", [], "some.yaml, line 1: could not determine"),
        ("- output", [], "some.yaml: keys with values are expected"),
        ("output: \x07", [], "some.yaml: "),
        ("[" * 100_000, [], "some.yaml: nested too deeply"),
        ("steps: " + "1" * 5000, [], "some.yaml: "),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, text: str, overrides: list[str], message: str
) -> None:
    assert message in refused(tmp_path, text, *overrides)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    message = refused(tmp_path, "outptu: p\nrate: x")
    assert message.count("; ") >= 2 and "did you mean output" in message and "rate" in message


def test_an_override_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    assert "some.yaml" not in refused(tmp_path, "output: o", "inner.rate=-1")
    assert "some.yaml" not in refused(tmp_path, "output: o", "iner.rate=1")


def test_shipped_configs_are_found_by_name_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "finetune.yaml").write_text("not: ours")
    (tmp_path / "finetune").mkdir()
    monkeypatch.chdir(tmp_path)
    assert {"pretrain", "finetune"} <= set(config.shipped_names())
    assert config.find_config("finetune") == config.shipped_directory() / "finetune.yaml"
    assert not config.find_config("finetune").is_relative_to(tmp_path)


def test_a_file_goes_before_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "finetune").write_text("output: mine")
    monkeypatch.chdir(tmp_path)
    assert load_config(Outer, "finetune").output == Path("mine")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("finetun", "finetun: no config of that name; did you mean finetune?"),
        ("zzz", "zzz: no config of that name; there are "),
        ("no/such.yaml", "no/such.yaml: no such file"),
        ("finetune.yaml", "finetune.yaml: no such file"),
        ("../..", "../..: is a directory"),
    ],
)
def test_a_config_that_is_not_there(name: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        config.find_config(name)
    assert str(error.value).startswith(message)


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("text: caf\xe9".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.yaml cannot be read: it is not UTF-8"):
        load_config(Outer, str(path))
