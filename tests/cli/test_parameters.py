"""Parameters in messages of the library: options on the command line, and only there."""

from __future__ import annotations

import ast
import re

import pytest
from typer.main import get_command

from tests.cli.run import refused, vqa_here
from tests.test_house import modules
from vqa.cli import app
from vqa.cli.output import message_of
from vqa.errors import InputError, NotFiniteError


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("`device` tpu: no device", "--device tpu: no device"),
        ("'x' is no `base_url`", "'x' is no --base-url"),
        ("use `by` occlusion", "use --explain-by occlusion"),
        ("no column `choices`; see `vqa data check`", "no column `choices`; see `vqa data check`"),
    ],
)
def test_a_parameter_is_shown_as_its_option(message: str, line: str) -> None:
    assert str(InputError(message)) == message
    assert message_of(InputError(message)) == line


def test_numbers_that_are_not_finite() -> None:
    line = "the model's numbers are not finite; try {}float32 (w holds NaN)"
    error = NotFiniteError("w holds NaN")
    assert (str(error), message_of(error)) == (line.format(""), line.format("--dtype "))
    assert "float32" not in message_of(NotFiniteError("damaged", wider=False))


def test_a_command_names_the_option(capfd: pytest.CaptureFixture[str]) -> None:
    options = ("--data", "none.jsonl", "--out", "p.jsonl", "--shard", "5/4")
    line = refused(vqa_here(capfd, "predict", *options))
    assert line.startswith("vqa: --shard 5/4: give i/n")


def options_of(command: object) -> set[str]:
    own = {name for parameter in getattr(command, "params", ()) for name in parameter.opts}
    return own.union(*map(options_of, getattr(command, "commands", {}).values()))


def test_every_parameter_that_a_failure_names_has_an_option() -> None:
    known = options_of(get_command(app))
    named = {
        name
        for module, path in modules().items()
        if module.startswith("vqa.")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Raise)
        for part in ast.walk(call)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
        for name in re.findall("`[a-z_]+`", part.value)
    }
    shown = {name: message_of(InputError(name)) for name in named - {"`choices`"}}  # a column
    assert shown and set(shown.values()) <= known, shown
