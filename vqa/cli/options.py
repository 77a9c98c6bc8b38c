"""Options that several commands share, and the model they name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vqa.errors import InputError

if TYPE_CHECKING:
    from vqa.alignment.loading import DualEncoder
    from vqa.answering import Answerer
    from vqa.fusion.storage import LoadedFusion

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
DataFile = Annotated[
    Path,
    typer.Option(metavar="FILE", help="The rows: JSONL, CSV, Parquet, LLaVA, VQA v2 or others."),
]
Images = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Root of the rows' pictures; default: the data's folder."),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the sampling.")]


def check_out(option: str, out: Path, read: Iterable[Path] = ()) -> None:
    """Raise InputError where no file can be written at `out`, or it would replace one of `read`."""
    if out.is_dir():
        raise InputError(f"{option} {out} is a directory: name a file in it.")
    if out.exists() and any(os.path.exists(path) and out.samefile(path) for path in read):
        raise InputError(f"{option} {out} is one of the files that are read: name another.")
    parent = next(path for path in out.absolute().parents if path.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"{option} {out}: {parent} cannot be written to: name another place.")


def load_answerer(
    model: str,
    adapter: str | None,
    device: str,
    dtype: str,
    quantize: Literal["4bit", "8bit"] | None,
) -> Answerer:
    """Load a model of this machine. Takes seconds, or minutes where it has to be fetched."""
    if sys.stderr.isatty():
        typer.secho(f"loading {model} ...", err=True, dim=True)
    quiet_loading()
    from vqa.fusion import is_fusion

    if is_fusion(model):
        from vqa.fusion.answerer import FusionAnswerer

        return FusionAnswerer(load_fusion(model, adapter, device, dtype, quantize))
    from vqa.checkpoints import load
    from vqa.engine import LocalEngine

    return LocalEngine(load(model, adapter=adapter, device=device, dtype=dtype, quantize=quantize))


def load_fusion(
    model: str, adapter: str | None, device: str, dtype: str, quantize: str | None
) -> LoadedFusion:
    """Load a fusion model; InputError for options that only language models know."""
    check_fusion(model, adapter, quantize)
    if dtype not in ("auto", "float32"):
        raise InputError(f"--dtype {dtype}: {model} is a fusion model, which computes in float32")
    from vqa.fusion.storage import load

    return load(model, device)


def load_dual_encoder(model: str, device: str) -> DualEncoder:
    """Load a model of pictures and texts. Takes seconds, or a minute where it has to be fetched."""
    if sys.stderr.isatty():
        typer.secho(f"loading {model} ...", err=True, dim=True)
    quiet_loading()
    from vqa.alignment.loading import load

    return load(model, device)


def check_fusion(model: str, adapter: str | None, quantize: str | None) -> None:
    """Raise InputError where a fusion model is asked for with what only language models know."""
    from vqa.fusion import is_fusion

    for option, value in (("--adapter", adapter), ("--quantize", quantize)):
        if value is not None and is_fusion(model):
            raise InputError(f"{option} {value}: {model} is a fusion model, which takes none")


def quiet_loading() -> None:
    """No bar for reading weights that are here, a second's work; downloads keep theirs."""
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # those of downloads, too
    enable_progress_bars()
