"""What `vqa train preference` mends: the model says that there is a person where there is none.

    vqa data build mix data_root=DIR out=MIX
    python benchmarks/preference.py --mix MIX --out DIR

Asks the model for a person in pictures of the mix that it may be trained on, makes 200 pairs of
what it says, as many yes as no and its mistakes first, and trains it on them. Then counts, in
validation pictures, how often it says yes without a person before and after, and compares all else.
What `--out` has already is not made again.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

PAIRS = 200
MEASURED = ("person", "presence", "names")
Row = dict[str, Any]


def main(
    mix: Annotated[Path, typer.Option(help="What `vqa data build mix` made.")],
    out: Annotated[Path, typer.Option(help="Where rows, predictions and the run go.")],
    model: Annotated[str, typer.Option(help="As for `vqa predict`.")] = "embedded",
    rows: Annotated[int, typer.Option(help="Of other presence questions and of names.")] = 300,
) -> None:
    """Train, measure and print."""
    out.mkdir(parents=True, exist_ok=True)
    asked = [row for row in read(mix / "train.jsonl") if of_person(row)]
    random.Random(0).shuffle(asked)
    write(out / "person_train.jsonl", asked)
    presence = read(mix / "val" / "presence.jsonl")
    write(out / "person.jsonl", filter(of_person, presence))
    write(out / "presence.jsonl", [row for row in presence if not of_person(row)][:rows])
    write(out / "names.jsonl", read(mix / "val" / "names.jsonl")[:rows])

    answers = predict(out / "person_train.jsonl", out / "p_train.jsonl", model, mix)
    every = out / "pairs_all.jsonl"
    run("data", "pairs", out / "p_train.jsonl", "--data", out / "person_train.jsonl",
        "--images", mix, "--opposites", "--out", every)  # fmt: skip
    write(out / "pairs.jsonl", choose(read(every), answers))
    for name in MEASURED:
        predict(out / f"{name}.jsonl", out / f"before_{name}.jsonl", model, mix)
    run("train", "preference", f"model={model}", f"data={out / 'pairs.jsonl'}", f"images={mix}",
        f"output={out / 'run'}", "learning_rate.language=1e-4", "validation.rows=20")  # fmt: skip
    for name in MEASURED:
        predict(out / f"{name}.jsonl", out / f"after_{name}.jsonl", str(out / "run"), mix)

    right = {row["id"]: row["answers"][0] for row in read(out / "person.jsonl")}
    for when in ("before", "after"):
        counts = {
            answer: sum(
                right[row["id"]] == answer and row["prediction"].lower().startswith("yes")
                for row in read(out / f"{when}_person.jsonl")
            )
            for answer in ("no", "yes")
        }
        no = sum(answer == "no" for answer in right.values())
        print(
            f"{when}: says yes to a person in {counts['no']} of {no} pictures without one, and in "
            f"{counts['yes']} of {len(right) - no} with one"
        )
    for name in MEASURED:
        run("compare", out / f"before_{name}.jsonl", out / f"after_{name}.jsonl",
            "--data", out / f"{name}.jsonl", "--images", mix,
            "--metric", "exact_match")  # fmt: skip


def choose(pairs: Sequence[Row], answers: dict[str, str]) -> list[Row]:
    """Choose as many pairs that prefer yes as no, the mistakes first."""
    draw = random.Random(0)
    wrong = [pair for pair in pairs if not answers[pair["id"]].startswith(preferred(pair))]
    right = {answer: [pair for pair in pairs if pair not in wrong and preferred(pair) == answer]
             for answer in ("yes", "no")}  # fmt: skip
    draw.shuffle(wrong)
    left, chosen = {"yes": PAIRS // 2, "no": PAIRS // 2}, []
    for pair in wrong:
        if left[preferred(pair)]:
            left[preferred(pair)] -= 1
            chosen.append(pair)
    for answer in ("no", "yes"):
        chosen += draw.sample(right[answer], min(left[answer], len(right[answer])))
    draw.shuffle(chosen)
    return chosen


def preferred(pair: Row) -> str:
    """Return whether the better answer of a pair is yes or no."""
    answer = pair["answer"] if "answer" in pair else pair["answers"][0]
    return "yes" if answer.lower().startswith("yes") else "no"


def of_person(row: Row) -> bool:
    """Tell whether a row asks whether there is a person."""
    return row["task"] == "presence" and "person" in row["question"].lower()


def predict(data: Path, out: Path, model: str, images: Path) -> dict[str, str]:
    """Answer the rows; return the answers by their ids, in small letters."""
    run("predict", "--model", model, "--data", data, "--images", images, "--out", out)
    return {row["id"]: row["prediction"].lower() for row in read(out)}


def run(*command: str | Path) -> None:
    """Run a command of vqa to its end."""
    done = subprocess.run([sys.executable, "-m", "vqa", *map(str, command)])
    if done.returncode:
        raise SystemExit(done.returncode)


def read(file: Path) -> list[Row]:
    """Read a JSONL file."""
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(file: Path, rows: Iterable[Row]) -> None:
    """Write a JSONL file."""
    with file.open("w", encoding="utf-8") as out:
        out.writelines(f"{json.dumps(row)}\n" for row in rows)


if __name__ == "__main__":
    typer.run(main)
