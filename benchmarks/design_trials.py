"""Small trainings at equal cost, which compare designs of the embedded model; a table in Markdown.

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
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path[0] = str(Path(__file__).resolve().parents[1])  # or `training` would be training.py here

from benchmarks import designs
from vqa.files import atomic_write, read_jsonl, write_jsonl
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


TRIALS = (
    Trial("recipe", "the recipe: Lite2 at 256 px, 64 tokens, two earlier stages"),
    Trial("seed1", "the same with another seed", ("seed=1",)),
    # the encoder
    Trial("last-map", "encoder: the last map alone", base={"stages": ()}),
    Trial("three-stages", "encoder: three earlier stages", base={"stages": (1, 2, 3)}),
    Trial("lite0", "encoder: Lite0, 64 tokens", base={"part": "lite0"}),
    Trial("both", "encoder: Lite2 and Lite0 joined", base={"part": "both"}),
    Trial("36-tokens", "encoder: 192 px, 36 tokens", base={"size": 192}),
    Trial("100-tokens", "encoder: 320 px, 100 tokens", base={"size": 320}),
    # the projector
    Trial("random", "projector: random", ("projector_start=as_is",)),
    Trial("random-fast", "projector: random, at twenty times its rate",
          ("projector_start=as_is", "learning_rate.projector=1e-3")),
    Trial("head", "projector: from the classifier's named directions",
          ("projector_start=as_is",), base={"head_start": True}),
    Trial("projector-fast", "projector: its rate 2e-4", ("learning_rate.projector=2e-4",)),
    Trial("projector-first", "order: the projector alone for half of the steps",
          ("projector_start=as_is",), first=("train.language=frozen",)),
    # the language model
    Trial("rate2e-4", "LoRA: rate 2e-4", ("learning_rate.language=2e-4",)),
    Trial("rate1e-3", "LoRA: rate 1e-3", ("learning_rate.language=1e-3",)),
    Trial("rank4", "LoRA: rank 4", ("lora.rank=4", "lora.alpha=8")),
    Trial("rank64", "LoRA: rank 64", ("lora.rank=64", "lora.alpha=128")),
    Trial("attention", "LoRA: attention alone", ("lora.layers=[q_proj,k_proj,v_proj,o_proj]",)),
    Trial("full", "no LoRA: the whole language model, rate 1e-4",
          ("train.language=full", "learning_rate.language=1e-4")),
    # the data
    Trial("pseudo", "data: names from the encoder's classifier added", pseudo=True),
)  # fmt: skip


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
    """Run what is missing and print the table."""
    mix, out = mix.resolve(), out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    _rows(mix, out)
    found = []
    for one in TRIALS:
        result = out / str(steps) / f"{one.name}.json"  # trials of other lengths are not alike
        if (trial is None or one.name in trial) and not result.is_file():
            typer.echo(f"{one.name}: {one.what}", err=True)
            measured = _run(one, mix, out, steps, processes)
            with atomic_write(result) as file:
                json.dump(vars(measured), file, indent=2)
        if result.is_file():
            found.append((one, Result(**json.loads(result.read_text()))))
    typer.echo(table(found))


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
    return [row for _, row in read_jsonl(file)]


def _run(trial: Trial, mix: Path, out: Path, steps: int, processes: int) -> Result:
    run = out / str(steps) / trial.name
    start = run.with_name(f"{trial.name}-start")
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
    vqa = ["-m", "benchmarks.joined_encoder", "train", "embedded"]
    asked = [*settings, f"max_steps={steps}", f"output={run}"]
    subprocess.run([sys.executable, *many, *vqa, *asked], check=True, cwd=sys.path[0])


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


def table(found: Sequence[tuple[Trial, Result]]) -> str:
    """Markdown, a line for each trial."""
    tasks = list(dict.fromkeys(task for _, result in found for task in result.right))
    heads = ["trial", "validation loss", *tasks, "minutes"]
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for trial, result in found:
        shares = [f"{100 * result.right[task]:.1f}" for task in tasks]
        cells = [trial.what, f"{result.loss:.3f}", *shares, f"{result.minutes:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
