"""Options that several commands share, and the model they name."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqa.errors import InputError

if TYPE_CHECKING:
    from vqa.alignment.dual_encoder import DualEncoder
    from vqa.answering import Answer

Model = Annotated[
    str, typer.Option(metavar="NAME", help="embedded, a model's or run's directory, or a hub id.")
]
SharedSpace = Annotated[
    str,
    typer.Option(
        "--model", metavar="NAME", help="embedded, a run of `vqa train align`, or CLIP or SigLIP."
    ),
]
Adapter = Annotated[
    str | None, typer.Option(metavar="DIR", help="A peft adapter, put on top of the model.")
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")]
Dtype = Annotated[str, typer.Option(metavar="TYPE", help="auto, bfloat16, float16 or float32.")]
Quantize = Annotated[
    Literal["4bit", "8bit"] | None, typer.Option(help="Load the language model in 4 or 8 bits.")
]
MaxNewTokens = Annotated[int, typer.Option(metavar="N", min=1, help="Longest answer, in tokens.")]
Temperature = Annotated[
    float, typer.Option(metavar="T", min=0.0, help="0 gives the likeliest answer, 1 samples.")
]
NumBeams = Annotated[
    int,
    typer.Option(
        metavar="N", min=1, help="Beams of a beam search, for better sentences; 1 searches none."
    ),
]
LengthPenalty = Annotated[
    float,
    typer.Option(metavar="P", help="Of a beam search: a smaller one gives shorter sentences."),
]
DataFile = Annotated[
    Path,
    typer.Option(metavar="FILE", help="The rows: JSONL, CSV, Parquet, LLaVA, VQA v2 or others."),
]
Images = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Root of the rows' pictures; default: the data's folder."),
]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        metavar="P",
        min=0.0,
        max=1.0,
        help="An answer of a lower probability is `not sure`; `vqa score` finds a good P.",
    ),
]
Read = Annotated[
    Literal["auto", "always", "never"],
    typer.Option(help="Read the text in pictures for the model; auto: where some shows."),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the sampling.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def is_sure(answer: Answer, min_confidence: float | None) -> bool:
    """Return whether the answer is that probable; one without a probability is not doubted."""
    probability = answer.probability
    return min_confidence is None or probability is None or probability >= min_confidence


def ids_of(text: str) -> list[str | int]:
    """Return the ids of rows that an option may mean: as JSON, and as it is written."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return [text]
    is_id = isinstance(value, str | int) and not isinstance(value, bool)
    return [value, text] if is_id else [text]


def check_out(option: str, out: Path, read: Iterable[Path] = ()) -> None:
    """Raise InputError where no file can be written at `out`, or it would replace one of `read`."""
    if out.is_dir():
        raise InputError(f"{option} {out} is a directory: name a file in it.")
    if out.exists() and any(os.path.exists(path) and out.samefile(path) for path in read):
        raise InputError(f"{option} {out} is one of the files that are read: name another.")
    parent = next(path for path in out.absolute().parents if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{option} {out}: {parent} cannot be written to: name another place.")


def load_dual_encoder(model: str, device: str) -> DualEncoder:
    """Load a model of pictures and texts. Takes seconds, or a minute where it has to be fetched."""
    from vqa.alignment.loading import load
    from vqa.loading import quiet_loading

    announce(model)
    quiet_loading()
    return load(model, device)


def announce(model: str) -> None:
    """Say on a terminal what is being loaded: it takes seconds, or minutes where it is fetched."""
    if sys.stderr.isatty():
        typer.secho(f"loading {model} ...", err=True, dim=True)
