"""Measurements of `inference.py`, one function for each line of its table. Times in seconds."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers.generation.streamers import BaseStreamer

from vqa.answering import Request, SamplingParams
from vqa.engine import LocalEngine
from vqa.inputs.prompts import Message, encode
from vqa.models.checkpoints import LoadedModel

FIRST = "Describe the picture: what is in the foreground, and what is behind it?"
SECOND = "Is there a person in the picture, and if there is one, what is it doing there, with what?"
SHORT = "Is there a person in the picture? Answer the question using a single word or phrase."


@dataclass(frozen=True)
class Run:
    """One answer: until its first token, and tokens a second after that."""

    first_token: float
    tokens_per_second: float


def question(text: str, images: Sequence[Image.Image], new_tokens: int) -> Request:
    """Make a request of one question."""
    return Request(
        (Message("user", text, tuple(images)),), SamplingParams(max_new_tokens=new_tokens)
    )


def median_run(runs: Sequence[Run]) -> Run:
    """Return the median of both figures."""
    return Run(
        statistics.median(run.first_token for run in runs),
        statistics.median(run.tokens_per_second for run in runs),
    )


def cold_start(picture: Path, model: str, options: Sequence[str], repeats: int) -> dict[str, float]:
    """Time a process `vqa ask` from its start to its first token, and to its end; the best of some.

    One more run goes before, so that the disk's cache is warm.
    """
    command = [sys.executable, "-m", "vqa", "ask", str(picture), "What is in the picture?"]
    command += ["--model", model, *options]
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.read(1)
            first = time.perf_counter() - began
            process.stdout.read()
            problem = process.stderr.read().decode()
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {problem.strip()}")
        times.append((first, time.perf_counter() - began))
    return {
        "first_token": min(first for first, _ in times[1:]),
        "total": min(total for _, total in times[1:]),
    }


def short_answers(loaded: LoadedModel, image: Image.Image, repeats: int) -> dict[str, float]:
    """Time a one-word answer about a new picture with the encoder's names before it, and without.

    The two take turns; the medians in seconds, under "with_names" and "without".
    """
    engines = {
        "with_names": LocalEngine(loaded),
        "without": LocalEngine(replace(loaded, classifier=None)),
    }
    request = question(SHORT, [image], 8)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(repeats + 1):
        for name, engine in engines.items():
            engine.clear_caches()
            began = time.perf_counter()
            engine.answer([request])
            if number:  # the first round warms up
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def memory_bandwidth(device: torch.device) -> float:
    """Measure bytes read a second, by summing a buffer far larger than the caches; the best."""
    buffer = torch.ones(1 << 26, device=device)  # 256 MiB
    best = float("inf")
    for _ in range(8):
        _wait(device)
        began = time.perf_counter()
        buffer.sum().item()
        best = min(best, time.perf_counter() - began)
    return buffer.nbytes / best


def weight_bytes_per_token(loaded: LoadedModel) -> int:
    """Count the bytes of weights that a token reads: all layers and the head, no embeddings."""
    text = loaded.model.model.language_model
    embeddings = {id(p) for p in loaded.model.get_input_embeddings().parameters()}
    layers = sum(p.nbytes for p in text.parameters() if id(p) not in embeddings)
    return int(layers + sum(p.nbytes for p in loaded.model.lm_head.parameters()))


def engine_run(engine: LocalEngine, request: Request) -> Run:
    """Answer with what the engine holds."""
    answer = engine.answer([request])[0]
    rest = answer.seconds.total - answer.seconds.first_token
    rate = (answer.new_tokens - 1) / rest if answer.new_tokens > 1 else float("nan")
    return Run(answer.seconds.first_token, rate)


def encoder_seconds(engine: LocalEngine, picture: Image.Image) -> float:
    """Prepare the pixels of a picture, encode and project them."""
    engine.clear_caches()
    before = engine.stats.encoder_seconds
    engine.answer([question(FIRST, [picture], 1)])
    return engine.stats.encoder_seconds - before


class _Clock(BaseStreamer):  # type: ignore[misc]
    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def inputs(loaded: LoadedModel, request: Request) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Prepare the inputs of `generate()`: ids [1, L], and pixels where there are pictures."""
    model, processor = loaded.model, loaded.processor
    ids = torch.tensor([encode(processor, request.messages, add_generation_prompt=True).input_ids])
    images = request.images
    pixels = {}
    if images:
        prepared = processor.image_processor(images, return_tensors="pt")
        pixels = {"pixel_values": prepared["pixel_values"].to(model.device, model.dtype)}
    return ids.to(model.device), pixels


@torch.inference_mode()
def generate_run(loaded: LoadedModel, request: Request) -> Run:
    """Answer the same by transformers: processor, then plain `generate()`."""
    model, clock = loaded.model, _Clock()
    began = time.perf_counter()
    ids, pixels = inputs(loaded, request)
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **pixels,
        max_new_tokens=request.settings.max_new_tokens,
        do_sample=False,
        streamer=clock,
    )
    first, *rest = clock.times[1:]  # the first call has the prompt
    return Run(first - began, len(rest) / (rest[-1] - first) if rest else float("nan"))


def text_of_length(loaded: LoadedModel, length: int, new_tokens: int) -> Request:
    """Make a question without a picture whose prompt has `length` tokens, or a few more."""
    words = (FIRST + " " + SECOND).split()
    for count in range(1, length + 1):
        text = " ".join(words[i % len(words)] for i in range(count))
        request = question(text, [], new_tokens)
        if prompt_length(loaded, request) >= length:
            break
    return request


def prompt_length(loaded: LoadedModel, request: Request) -> int:
    """Count the tokens of a prompt, pictures included."""
    return len(encode(loaded.processor, request.messages, add_generation_prompt=True).input_ids)


def endless(loaded: LoadedModel) -> Callable[[], LocalEngine]:
    """Make engine and `generate()` answer to the limit, so that as many tokens are compared.

    Returns what makes such an engine.
    """
    loaded.model.generation_config.eos_token_id = None

    def make() -> LocalEngine:
        engine = LocalEngine(loaded)
        engine._ends = frozenset()  # answers that never end are of no use to anyone else
        return engine

    return make


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
