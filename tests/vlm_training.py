"""A tiny vision-language model that is trained, merged and asked: by the tests, and by the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.vlm_architectures import ARCHITECTURES
from tests.vlm_checks import noise
from training.common.trainer import RowTrainer
from training.run import run
from vqa.answering import Answer, Request, SamplingParams
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.loading import answerer_of, load
from vqa.models import image_text
from vqa.models.submodules import submodules
from vqa.tools.merge import merge

FAST = {"projector": 0.02, "language": 0.02, "vision": 0.02}
_SIZES = [(40, 50), (90, 40), (31, 97), (56, 56), (28, 60), (64, 30)]


class Killed(Exception):
    """A run that ends at once."""


def conversation(images: list[str], *turns: str) -> dict[str, Any]:
    """Make a row of turns of a user and an assistant; pictures stand first, or where turns say."""
    texts = [*turns]
    if "<image>" not in turns[0]:
        texts[0] = "<image>" * len(images) + turns[0]
    roles = ["user", "assistant"] * (len(turns) // 2)
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]
    return {"images": images, "messages": messages}


def write_rows(folder: Path, kind: str) -> Path:
    """Write rows of all shapes that a kind can learn from."""
    lacks = ARCHITECTURES[kind].lacks
    for number, size in enumerate(_SIZES):
        noise(*size, number).save(folder / f"{number}.png")
    rows = [conversation([f"{n}.png"], "what is it?", f"a cat, {n}") for n in range(len(_SIZES))]
    if "several pictures" not in lacks:
        rows.append(conversation(["0.png", "1.png"], "which is red?", "the first"))
        rows.append(conversation(["2.png", "3.png"], "<image> or <image>?", "both"))
    if "no picture" not in lacks:
        rows.append(conversation([], "yes, or no?", "no"))
    if "earlier turns" not in lacks:
        rows.append(conversation(["4.png"], "what is it?", "a dog", "where?", "in the garden"))
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def train(kind: str, base: Path, out: Path, **changes: Any) -> Path:
    """Train a kind of model on all shapes of rows, which are written beside `out`."""
    data = out.parent / "rows.jsonl"
    if not data.exists():
        write_rows(out.parent, kind)
    values = {
        "recipe": "finetune", "model": str(base), "data": str(data), "output": str(out),
        "max_steps": 3, "save_every": 1, "learning_rate": FAST, "row_tokens": 256,
        "rows_per_step": 2, "warmup_ratio": 0, "log_every": 1, "device": "cpu",
        "dtype": "float32", "validation": {"share": 0.3, "max_new_tokens": 2},
    }  # fmt: skip
    config = out.parent / f"{out.name}.yaml"
    config.write_text(json.dumps(values | changes, default=str))
    run(str(config))
    return out


def train_killed(kind: str, base: Path, out: Path, **changes: Any) -> None:
    """The same, killed behind its second step."""
    step = RowTrainer.training_step

    def killed(self: RowTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 2:
            raise Killed
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowTrainer, "training_step", killed)
        with pytest.raises(Killed):
            train(kind, base, out, **changes)


def ask(model: Path, picture: Path, **options: Any) -> list[str]:
    """Ask two questions at once, and the first as a stream; return the answers."""
    answerer = load(str(model), device="cpu", dtype="float32", **options)
    image = load_image(picture)
    requests = [
        Request((Message("user", text, (image,)),), SamplingParams(max_new_tokens=6))
        for text in ("what is it?", "how many dogs are in the garden?")
    ]
    *pieces, last = answerer.stream(requests[0])
    assert isinstance(last, Answer) and last.text == "".join(map(str, pieces))
    texts = [answer.text for answer in answerer.answer(requests)]
    assert texts[0] == last.text
    return texts


def learns_and_merges(kind: str, base: Path, folder: Path) -> None:
    """LoRA learns, goes on after a kill as if nothing had been, merges, and answers the same."""
    whole = train(kind, base, folder / "whole")
    train_killed(kind, base, folder / "broken")
    broken = train(kind, base, folder / "broken")
    one, two = (load_file(out / "adapter_model.safetensors") for out in (whole, broken))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    assert len(list((broken / "validation").glob("step-*.jsonl"))) > 1
    parts = submodules(image_text.load(str(base), device="cpu").model)
    learns = (parts.language, *parts.projector)
    assert all(any(f"{path}." in key for path in learns) for key in one)
    report = merge(str(whole), folder / "merged")
    assert report.exact.logits < 1e-3 and report.exact.same_answers == report.exact.questions
    picture = folder / "0.png"
    texts = ask(whole, picture)
    assert texts == ask(folder / "merged", picture) != ask(base, picture)
    unmerged = image_text.load(str(whole), device="cpu", dtype="float32", merge=False)
    question = Message("user", "what is it?", (load_image(picture),))
    (answer,) = answerer_of(unmerged).answer([Request((question,), SamplingParams(6))])
    assert answer.text == texts[0]
