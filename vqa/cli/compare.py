"""`vqa compare`: whether models differ on the same questions, and on which ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqa.cli import options
from vqa.cli.score import Draws, MetricName, Profile, print_json
from vqa.cli.scored import scored_rows
from vqa.cli.tables import console, counted, one_line, table
from vqa.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vqa.data.example import Example
    from vqa.evaluation.compare import Comparison, Comparisons
    from vqa.evaluation.score import Key, Prediction

_SHOWN = 3  # rows of what got fixed and what broke


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="A B",
            help="Files of `vqa predict`, or models: embedded, a directory, a hub id. The first is "
            "the base.",
        ),
    ],
    data: options.DataFile,
    metric: MetricName = "exact_match",
    profile: Profile = "official",
    draws: Draws = 2000,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, with all changed rows.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where predictions of models are kept; default: compare/ beside the data.",
        ),
    ] = None,
    images: options.Images = None,
    max_new_tokens: options.MaxNewTokens = 64,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quantize: options.Quantize = None,
) -> None:
    """Tell whether models differ on the same rows: better, worse or not distinguishable.

    Models answer the rows first, as with `vqa predict`; the options from --images on are for that.
    Interrupted, the same command goes on where it stopped.
    """
    from vqa.cli.compared import compared, make_predictions
    from vqa.evaluation.compare import compare as run
    from vqa.evaluation.runs import disagreements
    from vqa.evaluation.score import read_predictions
    from vqa.metrics import metric as by_name

    if len(names) < 2:
        raise InputError("two predictions files or models are needed to compare")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is named twice; name each once")
    chosen = by_name(metric, profile)
    examples = scored_rows(data)
    sides = compared(names, data, out)
    make_predictions(
        sides, data, {"images": images, "max_new_tokens": max_new_tokens, "device": device,
                      "dtype": dtype, "quantize": quantize},
    )  # fmt: skip
    said = {side.name: read_predictions(side.file) for side in sides}
    for side in sides[1:]:
        for line in disagreements(sides[0].file, side.file, ("data", "condition")):
            typer.echo(f"vqa: warning: {line}", err=True)
    found = run(examples, said, chosen, draws=draws)
    if as_json:
        print_json(found.to_json() | {"profile": profile})
    else:
        _print(found, profile, examples, said)


def _print(
    found: Comparisons,
    profile: str,
    examples: Sequence[Example],
    said: Mapping[str, Mapping[Key, Prediction]],
) -> None:
    from vqa.evaluation.wording import amount, interval, points

    out = console()
    rules = "" if profile == "official" else f" (rules of {profile})"
    out.print(
        f"{found.metric}{rules} over {counted(found.count, 'row')}"
        f" of {counted(found.pictures, 'picture')}"
    )
    numbers = [found.main, "difference", "95 %", "p"]
    shown = table(["", *numbers, "verdict"], numbers)
    shown.add_row(one_line(found.base), amount(found.main, found.value), *[""] * 3, "the base")
    for other in found.others:
        shown.add_row(
            one_line(other.name),
            amount(found.main, other.value),
            points(found.main, other.difference.value, True).removesuffix(" points"),
            interval(found.main, other.difference.interval, True),
            f"{other.p_corrected:.2g}",
            other.verdict,
        )
    out.print(shown)
    for other in found.others:
        out.print(one_line(other.sentence, 1000), soft_wrap=True)
        out.print(_counts(other), soft_wrap=True)
    told = "p is of exchanging each picture's answers between the two at random"
    told += f", corrected for {len(found.others)} comparisons (Holm)." if found.others[1:] else "."
    out.print(told, soft_wrap=True)
    for name, count in (
        (found.base, found.unanswered),
        *((o.name, o.unanswered) for o in found.others),
    ):
        if count:
            line = f"{counted(count, 'row')} without an answer, counted as an empty one"
            out.print(f"{one_line(name)}: {line}", soft_wrap=True)
    rows = {example.id: example for example in examples}
    for other in found.others:
        for what, keys in (("fixed", other.fixed), ("broke", other.broken)):
            for key in keys[:_SHOWN]:
                _print_row(
                    f"{one_line(other.name)} {what}", rows[key], found.base, other.name, said
                )
            if len(keys) > _SHOWN:
                out.print(f"... and {len(keys) - _SHOWN} more; --json has all ids")


def _counts(other: Comparison) -> str:
    told = f"  {counted(len(other.fixed), 'row')} fixed, {len(other.broken)} broken"
    if other.mcnemar is None:
        return f"{told}; no McNemar's test, as these rows are not plainly right or wrong."
    return f"{told}; McNemar's test, which takes rows one by one: p = {other.mcnemar.p:.2g}."


def _print_row(
    title: str,
    row: Example,
    base: str,
    other: str,
    said: Mapping[str, Mapping[Key, Prediction]],
) -> None:
    from vqa.evaluation.score import texts

    before, after = (one_line(repr(texts([row], said[name])[0]), 80) for name in (base, other))
    out = console()
    out.print(f"{title} {one_line(repr(row.id), 60)}: {one_line(row.question)}", soft_wrap=True)
    answers = one_line(", ".join(dict.fromkeys(row.answers)), 80)
    out.print(f"    {before} -> {after}; accepted: {answers}", soft_wrap=True)
