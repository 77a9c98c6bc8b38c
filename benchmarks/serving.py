"""The server under load: no failure, no mixed answer, its throughput, its memory, places freed.

    python benchmarks/serving.py                    the embedded model, 32 streams, two minutes
    python benchmarks/serving.py --model DIR --streams 8 --seconds 30 -- --max-batch 8

Starts `vqa serve`, with the options behind `--`. Every stream asks about a picture of its own,
again and again, and must get what the same engine answers in this process alone: in float32 the
same text with the same probability, which tells pictures that are answered alike apart. In
16 bits a batch rounds otherwise than a single answer, so that some texts differ. One stream alone
asks about all the pictures in turn, before the others start.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

from vqa.answering import Request, SamplingParams, answer_probability
from vqa.inputs.images import load_image
from vqa.inputs.prompts import Message
from vqa.loading import load

ROOT = Path(__file__).parents[1]
QUESTION = "Describe the picture."
MAX_TOKENS = 48
EMPTY: dict[str, Any] = {"content": []}
LEAVING = 10  # clients that go away in the middle of an answer


@dataclass(frozen=True)
class Client:
    """A picture, as a data URL, and what is answered about it."""

    url: str
    text: str
    probability: float


@dataclass
class Load:
    """What clients got, and the server's memory meanwhile."""

    seconds: float = 0.0
    tokens: int = 0
    waits: list[float] = field(default_factory=list)  # seconds of whole answers
    failures: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # texts that are not the engine's
    memory: list[float] = field(default_factory=list)  # MiB, each second


def pictures(count: int) -> list[Image.Image]:
    """Cut parts out of the example photos, each another one."""
    photos = [load_image(path) for path in sorted((ROOT / "examples").glob("*.jpg"))]
    parts = []
    for number in range(count):
        photo = photos[number % len(photos)]
        row, column = divmod(number // len(photos), 3)
        width, height = photo.width // 2, photo.height // 2
        left, top = column * width // 2, row % 3 * height // 2
        parts.append(photo.crop((left, top, left + width - row // 3 * 9, top + height)))
    return parts


def clients_of(model: str, count: int, dtype: str) -> list[Client]:
    """Make clients, with what the engine answers in this process, one at a time."""
    engine = load(model, dtype=dtype)
    clients = []
    for picture in pictures(count):
        file = io.BytesIO()
        picture.save(file, "PNG")
        request = Request(
            (Message("user", QUESTION, (picture,)),), SamplingParams(max_new_tokens=MAX_TOKENS)
        )
        url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        answer = engine.answer([request])[0]
        assert answer.probability is not None
        clients.append(Client(url, answer.text, answer.probability))
    return clients


async def stream(http: httpx2.AsyncClient, client: Client) -> AsyncIterator[Any]:
    """Ask about a client's picture; yield the events. Raises RuntimeError for a refusal."""
    content = [
        {"type": "image_url", "image_url": {"url": client.url}},
        {"type": "text", "text": QUESTION},
    ]
    body = {"messages": [{"role": "user", "content": content}], "max_tokens": MAX_TOKENS}
    body |= {"stream": True, "stream_options": {"include_usage": True}, "logprobs": True}
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            raise RuntimeError((await response.aread()).decode())
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))


async def ask(http: httpx2.AsyncClient, client: Client, exact: bool, load: Load) -> None:
    """Ask once, and compare the answer with the engine's; `exact`: its probability too."""
    began, text, log_prob, tokens = time.perf_counter(), "", 0.0, 0
    try:
        async for event in stream(http, client):
            for choice in event["choices"]:
                text += choice["delta"].get("content", "")
                log_prob += sum(one["logprob"] for one in (choice["logprobs"] or EMPTY)["content"])
            tokens = event.get("usage", {}).get("completion_tokens", 0)
    except (httpx2.HTTPError, RuntimeError, KeyError) as error:
        load.failures.append(f"{type(error).__name__}: {error}")
        return
    load.waits.append(time.perf_counter() - began)
    load.tokens += tokens
    probability = answer_probability(log_prob, text)
    if text != client.text or (
        exact and not math.isclose(probability, client.probability, rel_tol=1e-3)
    ):
        load.wrong.append(f"{text!r} ({probability:.4f}) for {client.text!r}")


async def load_of(
    url: str, clients: Sequence[Client], streams: int, seconds: float, exact: bool
) -> Load:
    """Let `streams` ask for some seconds: one about all pictures in turn, more about their own."""
    load, began = Load(), time.perf_counter()

    async def keep_asking(http: httpx2.AsyncClient, own: Sequence[Client]) -> None:
        turn = 0
        while time.perf_counter() - began < seconds:
            await ask(http, own[turn % len(own)], exact, load)
            turn += 1

    async def watch(http: httpx2.AsyncClient) -> None:
        while True:
            load.memory.append(await gauge(http, "process_resident_memory_bytes") / 2**20)
            await asyncio.sleep(1)

    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits) as http:
        watching = asyncio.create_task(watch(http))
        shares = [[client] for client in clients] if streams > 1 else [clients]
        await asyncio.gather(*(keep_asking(http, own) for own in shares))
        watching.cancel()
    load.seconds = time.perf_counter() - began
    return load


async def seconds_to_free(url: str, clients: Sequence[Client]) -> float:
    """Let clients leave in the middle of their answers; the seconds until no place is taken."""

    async def leave(client: Client) -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=120) as http:
            async for event in (events := stream(http, client)):
                if event["choices"] and event["choices"][0]["delta"].get("content"):
                    break
            await events.aclose()  # type: ignore[attr-defined]

    await asyncio.gather(*map(leave, clients[:LEAVING]))
    began = time.perf_counter()
    async with httpx2.AsyncClient(base_url=url) as http:
        while await gauge(http, "vqa_requests_running"):
            await asyncio.sleep(0.01)
    return time.perf_counter() - began


async def gauge(http: httpx2.AsyncClient, name: str) -> float:
    """Read a figure of /metrics."""
    lines = (await http.get("/metrics")).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


@contextmanager
def served(options: Sequence[str]) -> Iterator[str]:
    """Run `vqa serve` on a free port; its URL, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vqa", "serve", "--port", str(port), *options]
    with subprocess.Popen(command) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            while process.poll() is None:
                try:
                    httpx2.get(f"{url}/ready")
                    break
                except httpx2.HTTPError:
                    time.sleep(0.1)
            else:
                raise SystemExit("The server did not come up.")
            yield url
        finally:
            process.terminate()


def main(
    options: Annotated[list[str] | None, typer.Argument(help="More for `vqa serve`.")] = None,
    model: Annotated[str, typer.Option(help="As for `vqa serve`.")] = "embedded",
    dtype: Annotated[str, typer.Option(help="As for `vqa serve`.")] = "auto",
    streams: Annotated[int, typer.Option(min=2, help="How many ask at once.")] = 32,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long they ask.")] = 120.0,
) -> None:
    """Measure, print, and fail where an answer is missing or, in float32, another one."""
    clients, exact = clients_of(model, streams, dtype), dtype == "float32"
    with served(["--model", model, "--dtype", dtype, *(options or [])]) as url:
        asyncio.run(load_of(url, clients, streams, 0.1, exact))  # once each, for the caches
        alone = asyncio.run(load_of(url, clients, 1, seconds / 4, exact))
        crowd = asyncio.run(load_of(url, clients, streams, seconds, exact))
        freed = asyncio.run(seconds_to_free(url, clients))
    rates = [load.tokens / load.seconds for load in (alone, crowd)]
    different = len({(client.text, f"{client.probability:.3g}") for client in clients})
    early = crowd.memory[len(crowd.memory) // 4]
    table = Table("what", "figure", title=f"{model}, {dtype}: {streams} streams, {seconds:g} s")
    for name, figure in {
        "answers": f"{len(crowd.waits)}, about {streams} pictures with {different} answers",
        "failures": f"{len(crowd.failures)} {' '.join(crowd.failures[:1])}",
        "not the engine's": f"{len(crowd.wrong)}; of one stream {len(alone.wrong)}",
        "tokens a second": f"{rates[1]:.1f}; of one stream {rates[0]:.1f}: "
        f"{rates[1] / rates[0]:.2f} times",
        "seconds of an answer": f"{statistics.median(crowd.waits):.2f}; of one stream "
        f"{statistics.median(alone.waits):.2f}",
        "memory of the server": f"{early:.0f} MiB after a quarter, at most "
        f"{max(crowd.memory):.0f}, in the end {crowd.memory[-1]:.0f}",
        f"places of {LEAVING} who left": f"free after {freed:.2f} s",
    }.items():
        table.add_row(name, figure)
    Console().print(table)
    if crowd.failures or (exact and crowd.wrong):
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
