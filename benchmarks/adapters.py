"""What adapters on one model cost: memory, and the processor's time of an answer.

    python benchmarks/adapters.py [--adapters 3] [--model embedded]

Makes adapters with random weights on all linear layers of the language model, and loads them with
the model in a process of its own for each way: `alone`, the model without adapters; `merged`, a
model in memory for each; `shared`, as `vqa serve --adapters`. Says how many answers of the last two
differ.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import psutil
import torch
import typer
from peft import LoraConfig, get_peft_model

from vqa.answering import Request, SamplingParams
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.loading import load, load_adapters, quiet_loading
from vqa.models.checkpoints import load as load_llava

LAYERS = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"
EXAMPLES = Path(__file__).parents[1] / "examples"
QUESTIONS = ("What is in the picture?", "Describe the picture.")


def main(
    model: Annotated[str, typer.Option(help="As for `vqa serve`.")] = "embedded",
    adapters: Annotated[int, typer.Option(help="How many.")] = 3,
    way: Annotated[str | None, typer.Option(hidden=True)] = None,
    folder: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure each way in a process of its own and print a line of it."""
    quiet_loading()
    if way is not None and folder is not None:
        print(json.dumps(measure(model, folder, way)))
        return
    with tempfile.TemporaryDirectory() as directory:
        for number in range(adapters):
            make(model, Path(directory) / str(number), number)
        written = {}
        for name in ("alone", "merged", "shared"):
            command = [sys.executable, __file__, "--model", model, "--way", name]
            command += ["--folder", directory]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            result = json.loads(done.stdout.splitlines()[-1])
            written[name] = result["answers"]
            print(f"{name}: {result['mib']} MiB, {result['seconds']:.2f} s an answer", flush=True)
    pairs = list(zip(written["merged"], written["shared"], strict=True))
    print(f"{sum(one != other for one, other in pairs)} of {len(pairs)} answers differ")


def make(model: str, path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    config = LoraConfig(r=16, target_modules=LAYERS, init_lora_weights=False)
    adapted = get_peft_model(load_llava(model, dtype="float32").model, config)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data *= 0.05  # or it would write nonsense
    adapted.peft_config["default"].base_model_name_or_path = model
    adapted.save_pretrained(path)


def measure(model: str, folder: Path, way: str) -> dict[str, object]:
    """Load and ask; return the growth of memory, seconds of an answer, and the answers."""
    before = psutil.Process().memory_info().rss
    paths = {"": None, **{path.name: str(path) for path in sorted(folder.iterdir())}}
    if way == "shared":
        answerers = load_adapters(model, paths, "cpu", "float32")
    else:
        kinds = [None] if way == "alone" else list(paths.values())
        answerers = {str(each): load(model, each, "cpu", "float32") for each in kinds}
    grown = psutil.Process().memory_info().rss - before
    pictures = [load_image(path) for path in sorted(EXAMPLES.glob("*.jpg"))[:4]]
    settings = SamplingParams(max_new_tokens=24)
    requests = [
        Request((Message("user", question, (picture,)),), settings)
        for picture in pictures
        for question in QUESTIONS
    ]
    began = time.process_time()
    answers = [answer.text for each in answerers.values() for answer in each.answer(requests)]
    seconds = (time.process_time() - began) / len(answers)
    return {"mib": grown >> 20, "seconds": seconds, "answers": answers}


if __name__ == "__main__":
    typer.run(main)
