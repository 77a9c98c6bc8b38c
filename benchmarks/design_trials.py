"""Small trainings at equal cost, which compare designs of the embedded model; tables in Markdown.

    vqa data build mix data_root=DIR out=MIX
    python benchmarks/design_trials.py --mix MIX --out TRIALS

Every trial is `vqa train embedded` for as many steps of as many tokens on rows about the same
pictures, with one thing changed, and is measured on the same validation rows of the mix. Finished
trials in `--out` are kept: an interrupted command goes on with the next.
"""

# ruff: noqa: E402  # the line between the imports has to come first

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path[0] = str(Path(__file__).resolve().parents[1])  # or `training` would be training.py here

from benchmarks import designs
from vqa.files import write_jsonl
from vqa.metrics import Item, metric

PICTURES = 2000  # that are trained on
CALIBRATED = 256  # of them, for the scale of an encoder's channels
CHECKED = {"presence": 80, "counts": 40, "names": 50, "places": 40, "daquar": 60, "captions": 40}


@dataclass(frozen=True)
class Trial:
    """What is changed: settings of the training, or the model that it begins from."""

    name: str
    what: str
    settings: tuple[str, ...] = ()
    base: dict[str, Any] | None = None  # arguments of `designs.base`
    first: tuple[str, ...] | None = None  # settings of a stage before, of half the steps
    pseudo: bool = False


FROM_PARTS = (
    Trial("recipe", "the recipe: Lite2 at 256 px, 64 tokens, stages 2 and 3, words"),
    Trial("seed1", "the same with another seed", ("seed=1",)),
    Trial("last-map", "the last map alone", base={"stages": ()}),
    Trial("four-stages", "stages 1 to 3 joined with the last map", base={"stages": (1, 2, 3)}),
    Trial("lite0", "Lite0 at 256 px, 64 tokens", base={"part": "lite0"}),
    Trial("36-tokens", "192 px, 36 tokens", base={"size": 192}),
    Trial("100-tokens", "320 px, 100 tokens", base={"size": 320}),
    Trial("random", "projector from random weights", ("projector_start=as_is",)),
    Trial(
        "random-fast", "the same at twenty times the projector's rate",
        ("projector_start=as_is", "learning_rate.projector=1e-3"),
    ),
    Trial(
        "head", "projector from the classifier's named directions",
        ("projector_start=as_is",), base={"head_start": True},
    ),
    Trial(
        "projector-first", "projector alone for half of the steps, then both",
        ("projector_start=as_is",), first=("train.language=frozen",),
    ),
    Trial("pseudo", "names from the encoder's classifier added", pseudo=True),
)  # fmt: skip
_ON = ("model=embedded", "projector_start=as_is")
GOING_ON = (
    Trial("rank16", "LoRA of rank 16, rate 5e-4 (the recipe)", _ON),
    Trial("rate2e-4", "rate 2e-4", (*_ON, "learning_rate.language=2e-4")),
    Trial("rate1e-3", "rate 1e-3", (*_ON, "learning_rate.language=1e-3")),
    Trial("rank4", "rank 4", (*_ON, "lora.rank=4", "lora.alpha=8")),
    Trial("rank64", "rank 64", (*_ON, "lora.rank=64", "lora.alpha=128")),
    Trial("attention", "LoRA on attention alone",
          (*_ON, "lora.layers=[q_proj,k_proj,v_proj,o_proj]")),
    Trial("full", "the whole language model, rate 5e-5",
          (*_ON, "train.language=full", "learning_rate.language=5e-5")),
    Trial("full2e-4", "the whole language model, rate 2e-4",
          (*_ON, "train.language=full", "learning_rate.language=2e-4")),
    Trial("projector2e-4", "the projector's rate 2e-4", (*_ON, "learning_rate.projector=2e-4")),
)  # fmt: skip
TABLES = {"from the untrained parts": FROM_PARTS, "going on from the model that ships": GOING_ON}


@dataclass
class Result:
    """What one trial gave; shares of exact match by task."""

    loss: float
    minutes: float
    right: dict[str, float] = field(default_factory=dict)


def main(
    mix: Annotated[Path, typer.Option(help="What `vqa data build mix` made.")],
    out: Annotated[Path, typer.Option(help="Where trainings and results go.")],
    trial: Annotated[list[str] | None, typer.Option(help="Only this one; repeatable.")] = None,
    steps: Annotated[int, typer.Option(help="Of four rows of 384 tokens.")] = 40,
    processes: Annotated[int, typer.Option(help="Processes of a training.")] = 2,
) -> None:
    """Run what is missing and print the tables."""
    mix, out = mix.resolve(), out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    _rows(mix, out)
    for one in (one for trials in TABLES.values() for one in trials):
        result = out / f"{one.name}.json"
        if (trial is None or one.name in trial) and not result.is_file():
            typer.echo(f"{one.name}: {one.what}", err=True)
            result.write_text(json.dumps(vars(_run(one, mix, out, steps, processes)), indent=2))
    for title, trials in TABLES.items():
        done = [(one, out / f"{one.name}.json") for one in trials]
        found = [(one, Result(**json.loads(f.read_text()))) for one, f in done if f.is_file()]
        if found:
            typer.echo(f"\n{table(title, found)}")


def _rows(mix: Path, out: Path) -> None:
    """All training rows of some pictures, and some validation rows of each task."""
    if (out / "val.jsonl").is_file():
        return
    of_picture: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _read(mix / "train.jsonl"):
        if "image" in row:
            of_picture[row["image"]].append(row)
    chosen = random.Random(0).sample(sorted(of_picture), PICTURES)
    rows = [row for name in chosen for row in of_picture[name]]
    write_jsonl(out / "train.jsonl", rows)
    pseudo = designs.pseudo_labels(rows, mix, frozenset({"flickr8k", "coco", "daquar", "ade20k"}))
    write_jsonl(out / "pseudo.jsonl", [*rows, *pseudo])
    write_jsonl(
        out / "val.jsonl",
        [
            row
            for task, most in CHECKED.items()
            for row in _read(mix / "val" / f"{task}.jsonl")[:most]
        ],
    )


def _read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _run(trial: Trial, mix: Path, out: Path, steps: int, processes: int) -> Result:
    run, start = out / trial.name, out / f"{trial.name}-start"
    data = out / ("pseudo.jsonl" if trial.pseudo else "train.jsonl")
    settings = [f"data={data}", f"images={mix}", "device=cpu", *trial.settings]
    if trial.base is not None:
        names = sorted({row["image"] for row in _read(out / "train.jsonl")})
        pictures = random.Random(0).sample(names, CALIBRATED)
        designs.base(start, [mix / name for name in pictures], **trial.base)
        settings.append(f"model={start}")
    began = time.monotonic()
    if trial.first is not None:
        steps //= 2
        changed = [s for s in settings if not s.startswith("projector_start=")]
        _train([*changed, *trial.first], start, steps, processes)
        settings.append(f"model={start}")
    checked = [
        f"validation.data={out / 'val.jsonl'}",
        "validation.rows=10000",
        f"validation.every={steps}",
        "validation.max_new_tokens=8",
    ]
    _train([*settings, *checked], run, steps, processes)
    minutes = (time.monotonic() - began) / 60
    shutil.rmtree(start, ignore_errors=True)
    return _result(run, steps, minutes)


def _train(settings: Sequence[str], run: Path, steps: int, processes: int) -> None:
    many = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *many, "-m", "vqa", "train", "embedded", *settings]
    subprocess.run([*command, f"max_steps={steps}", f"output={run}"], check=True)


def _result(run: Path, steps: int, minutes: float) -> Result:
    losses = [row["eval_loss"] for row in _read(run / "log.jsonl") if "eval_loss" in row]
    items: defaultdict[str, list[Item]] = defaultdict(list)
    for row in _read(run / "validation" / f"step-{steps:06}.jsonl"):
        task = row["id"].rsplit("/", 1)[1].rsplit("-", 1)[0]
        items[task].append(Item(row["prediction"], row["answers"], row["question"], {}))
    exact = metric("exact_match")
    right = {
        task: exact.of(found)[exact.main] for task, found in items.items() if task != "captions"
    }
    return Result(losses[-1], minutes, right)


def table(title: str, found: Sequence[tuple[Trial, Result]]) -> str:
    """Markdown, a line for each trial."""
    tasks = list(Counter(task for _, result in found for task in result.right))
    heads = [title, "validation loss", *tasks, "minutes"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for trial, result in found:
        shares = [f"{100 * result.right[task]:.1f}" for task in tasks]
        cells = [trial.what, f"{result.loss:.3f}", *shares, f"{result.minutes:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
