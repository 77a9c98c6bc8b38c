"""`vqa compare`: whether models differ on the same questions, and on which ones.

It compares predictions in files, or models, whose predictions are made first.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqa.cli import options
from vqa.cli.output import print_json
from vqa.cli.score import Draws, MetricName, Profile, scored_rows
from vqa.errors import InputError
from vqa.models.model_files import EMBEDDED_NAMES, holds_model, is_fusion
from vqa.models.runs import resolve_weights
from vqa.utils.console import console, counted, one_line, table

if TYPE_CHECKING:
    from vqa.data.example import Example
    from vqa.evaluation.comparison import Comparison, Comparisons
    from vqa.evaluation.predictions import Prediction, RowId

_SHOWN = 3  # rows of what got fixed and what broke
_LONGEST = 100  # characters of a file's name
_ANY_NUMBER = 1 << 62


@dataclass(frozen=True)
class _Side:
    """One side of the comparison: its name, and the file with its predictions."""

    name: str
    file: Path
    is_model: bool  # then the file is to be made


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
    from vqa.evaluation.comparison import compare as run
    from vqa.evaluation.predictions import read_predictions
    from vqa.evaluation.run_description import description_differences
    from vqa.metrics import get_metric

    if len(names) < 2:
        raise InputError("two predictions files or models are needed to compare")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is named twice; name each once")
    chosen_metric = get_metric(metric, profile)
    sides = _sides(names, data, out)
    examples = scored_rows(data, predictions=[side.file for side in sides if not side.is_model])
    predictions = {s.name: read_predictions(s.file, examples) for s in sides if not s.is_model}
    _make_predictions(
        sides, data, {"images": images, "max_new_tokens": max_new_tokens, "device": device,
                      "dtype": dtype, "quantize": quantize},
    )  # fmt: skip
    predictions = {
        side.name: predictions.get(side.name) or read_predictions(side.file, examples)
        for side in sides
    }
    for side in sides[1:]:
        for line in description_differences(sides[0].file, side.file, ("data", "condition")):
            typer.echo(f"vqa: warning: {line}", err=True)
    comparisons = run(examples, predictions, chosen_metric, draws=draws)
    if as_json:
        print_json(comparisons.to_json() | {"profile": profile})
    else:
        _print(comparisons, profile, examples, predictions)


def _sides(names: Sequence[str], data: Path, out: Path | None) -> list[_Side]:
    """Tell files from models. Predictions of models go to `out`, or to a folder beside the data.

    That folder is named by the data's content, so that rows of other data never stand in it. Raises
    InputError for what can be neither, and where two models would share a file.
    """
    models = [name for name in names if not Path(name).is_file()]
    for name in models:
        _check_model(name)
    folder = (out or _folder(data)) if models else Path()
    sides = [
        _Side(name, folder / _file_name(name), True)
        if name in models
        else _Side(name, Path(name), False)
        for name in names
    ]
    files: dict[Path, str] = {}
    for side in sides:
        if side.file in files:
            raise InputError(
                f"{side.name} and {files[side.file]} share the file {side.file}: make one of them "
                "with `vqa predict` and name its file"
            )
        files[side.file] = side.name
    return sides


def _make_predictions(sides: Sequence[_Side], data: Path, settings: Mapping[str, Any]) -> None:
    """Predict with each model, as `vqa predict` does; rows that earlier runs have answered stay.

    `settings` are further arguments of that command. Rows that fail are no reason to stop: they
    count as unanswered.
    """
    from vqa.cli.predict import predict

    for side in sides:
        if side.is_model:
            predict(data, side.file, model=side.name, max_errors=_ANY_NUMBER, **settings)
            gc.collect()  # two large models may not fit beside each other


def _check_model(name: str) -> None:
    """Refuse at once what cannot be a model, before another one is asked for minutes."""
    path = Path(resolve_weights(name))
    if name in EMBEDDED_NAMES:
        return
    if path.is_dir():
        if not holds_model(path):
            raise InputError(
                f"{name} holds no model (no config.json, no adapter_config.json), and is no file "
                "of predictions"
            )
    elif not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) or name.endswith((".jsonl", ".json")):
        raise InputError(f"{name}: no such file of predictions, and no model")
    from vqa.loading import check_generative

    if not is_fusion(name):
        check_generative(name)  # its config and processor: seconds, also from a hub


def _folder(data: Path) -> Path:
    from vqa.data.identity import sha256

    beside = data.parent if data.exists() else Path()  # a hub id lies nowhere
    return beside / "compare" / f"{data.stem}-{sha256(data)[:8]}"


def _file_name(model: str) -> str:
    """Make a file name of a model's name."""
    plain = re.sub(r"[^\w.-]+", "-", model).strip("-.") or "model"
    return f"{plain[-_LONGEST:]}.jsonl"


def _print(
    comparisons: Comparisons,
    profile: str,
    examples: Sequence[Example],
    predictions: Mapping[str, Mapping[RowId, Prediction]],
) -> None:
    from vqa.evaluation.number_text import format_difference, format_interval, format_value

    out = console()
    main, base, others = comparisons.main, comparisons.base, comparisons.others
    rules = "" if profile == "official" else f" (rules of {profile})"
    out.print(
        f"{comparisons.metric}{rules} over {counted(comparisons.count, 'row')}"
        f" of {counted(comparisons.pictures, 'picture')}"
    )
    numbers = [main, "difference", "95 %", "p"]
    values = table(["", *numbers, "verdict"], numbers)
    values.add_row(one_line(base), format_value(main, comparisons.value), *[""] * 3, "the base")
    for other in others:
        values.add_row(
            one_line(other.name),
            format_value(main, other.value),
            format_difference(main, other.difference.value, True).removesuffix(" points"),
            format_interval(main, other.difference.interval, True),
            f"{other.p_corrected:.2g}",
            other.verdict,
        )
    out.print(values)
    for other in others:
        out.print(one_line(other.sentence, 1000), soft_wrap=True)
        out.print(_counts(other), soft_wrap=True)
    several = f", corrected for {len(others)} comparisons (Holm)" if others[1:] else ""
    out.print(
        f"p is of exchanging each picture's answers between the two at random{several}.",
        soft_wrap=True,
    )
    for name, count in (
        (base, comparisons.unanswered),
        *((other.name, other.unanswered) for other in others),
    ):
        if count:
            line = f"{counted(count, 'row')} without an answer, counted as an empty one"
            out.print(f"{one_line(name)}: {line}", soft_wrap=True)
    rows = {example.id: example for example in examples}
    for other in others:
        for what, keys in (("fixed", other.fixed), ("broke", other.broken)):
            for key in keys[:_SHOWN]:
                title = f"{one_line(other.name)} {what}"
                _print_row(title, rows[key], base, other.name, predictions)
            if len(keys) > _SHOWN:
                out.print(f"... and {len(keys) - _SHOWN} more; --json has all ids")


def _counts(other: Comparison) -> str:
    counts = f"  {counted(len(other.fixed), 'row')} fixed, {len(other.broken)} broken"
    if other.mcnemar is None:
        return f"{counts}; no McNemar's test, as these rows are not plainly right or wrong."
    return f"{counts}; McNemar's test, which takes rows one by one: p = {other.mcnemar.p:.2g}."


def _print_row(
    title: str,
    row: Example,
    base: str,
    other: str,
    predictions: Mapping[str, Mapping[RowId, Prediction]],
) -> None:
    from vqa.evaluation.scoring import prediction_texts

    texts = (prediction_texts([row], predictions[name])[0] for name in (base, other))
    before, after = (one_line(repr(text), 80) for text in texts)
    out = console()
    out.print(f"{title} {one_line(repr(row.id), 60)}: {one_line(row.question)}", soft_wrap=True)
    answers = one_line(", ".join(dict.fromkeys(row.answers)), 80)
    out.print(f"    {before} -> {after}; accepted: {answers}", soft_wrap=True)
