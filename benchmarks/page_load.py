"""The page with many people at once: nothing lost, nothing mixed, and the time they wait.

    python benchmarks/page_load.py                     the embedded model, 20 people, two questions
    python benchmarks/page_load.py --model DIR --people 5

Starts `vqa app` where other computers reach it, so that each browser is somebody else. Every person
has a browser context of one Chromium and a picture of their own. The page must show what the same
engine answers in this process to the same conversation, in float32: a batch rounds otherwise in 16
bits. First tokens are compared for one person at
a time, of photos that are new to both.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from PIL import Image
from playwright.async_api import Browser, Error, Page, async_playwright, expect
from rich.console import Console
from rich.table import Table

from vqa.answering import Answerer, SamplingParams, SupportsClearing
from vqa.chat import Conversation
from vqa.chat.page_options import ModelChoice
from vqa.inputs.images import load_image
from vqa.loading import load_choice

ROOT = Path(__file__).parents[1]
QUESTIONS = ("What is in the picture?", "Describe the picture.", "What colour is it?")
ALONE = 7  # first answers that are timed, the first of them to warm up
PATIENCE = 300_000  # milliseconds: with many people the last waits for all others
SETTINGS = SamplingParams(max_new_tokens=256)  # as the page begins with
# Keeps all that stood in the place of an answer before it came.
RECORDER = """
window.places = new Set();
setInterval(() => {
    for (const text of document.querySelectorAll('[data-testid=stMarkdown]'))
        if (/^Waiting: \\d+ before you$/.test(text.innerText)) window.places.add(text.innerText);
}, 100);
"""
BEGUN = """
number => {
    const message = document.querySelectorAll('[data-testid=stChatMessage]')[number];
    const text = message && message.querySelector('[data-testid=stMarkdown]');
    if (text && text.innerText && !/^(Waiting: |Looking )/.test(text.innerText)) return true;
    return message && message.innerText.includes('Again');  // an answer without a word
}
"""


@dataclass
class Person:
    """Somebody with a picture, what they ask about it, and what must be answered."""

    picture: bytes  # PNG
    questions: Sequence[str]
    answers: list[str]


@dataclass
class Visit:
    """What one person's browser showed."""

    paint: float = 0.0  # seconds from navigation until a question may be typed
    seconds: list[float] = field(default_factory=list)  # of each answer, with all waiting
    places: list[int] = field(default_factory=list)  # in the queue, as they were shown
    wrong: list[str] = field(default_factory=list)


async def crowd(url: str, people: Sequence[Person]) -> list[Visit]:
    """Let all people open the page, ask at once, and look at it again at the end."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"]
        )
        everybody_is_here = asyncio.Barrier(len(people))
        return await asyncio.gather(
            *(_converse(browser, url, person, everybody_is_here) for person in people)
        )


async def _converse(browser: Browser, url: str, person: Person, here: asyncio.Barrier) -> Visit:
    visit, page = Visit(), await open_page(browser, url)
    visit.paint = await until_ready(page, url)
    await here.wait()
    try:
        await _talk(page, person, visit)
    except (Error, AssertionError) as error:  # what `expect` raises
        text = await page.get_by_test_id("stMainBlockContainer").inner_text()
        visit.wrong.append(f"{str(error).splitlines()[0]} The page shows {text!r}")
    await page.context.close()
    return visit


async def _talk(page: Page, person: Person, visit: Visit) -> None:
    for number, question in enumerate(person.questions):
        began = time.perf_counter()
        await _ask(page, question, person.picture if number == 0 else None)
        await _answered(page, number)
        visit.seconds.append(time.perf_counter() - began)
    places = await page.evaluate("[...window.places]")
    visit.places = sorted(int(re.findall(r"\d+", place)[0]) for place in places)
    await page.reload()  # what is shown now comes from the history
    await _answered(page, len(person.questions) - 1)
    texts = [text.strip() for text in await _texts(page)]
    expected = [
        text.strip() for pair in zip(person.questions, person.answers, strict=True) for text in pair
    ]
    if texts != expected:
        visit.wrong.append(f"expected {expected}, shown {texts}")
    if (count := await page.locator("[class*=st-key-open-]").count()) != 1:
        visit.wrong.append(f"{count} conversations in the list of somebody who had one")


async def first_tokens(url: str, people: Sequence[Person]) -> list[float]:
    """Time the first word from the Enter key on, one person after the other."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"]
        )
        times = []
        for person in people:
            page = await open_page(browser, url)
            await until_ready(page, url)
            times.append(await _ask(page, person.questions[0], person.picture))
            await _answered(page, 0)
            await page.context.close()
        return times


async def open_page(browser: Browser, url: str) -> Page:
    """Open a page for another person, to whom `url` is new."""
    context = await browser.new_context(  # a person: cookies of their own
        locale="en-US", reduced_motion="reduce", viewport={"width": 800, "height": 700}
    )
    context.set_default_timeout(PATIENCE)
    page = await context.new_page()
    await page.add_init_script(RECORDER)
    return page


async def until_ready(page: Page, url: str) -> float:
    """Go to `url`; return the seconds until a question may be typed."""
    began = time.perf_counter()
    await page.goto(url)
    await expect(page.get_by_test_id("stChatInputTextArea")).to_be_enabled(timeout=PATIENCE)
    return time.perf_counter() - began


async def _ask(page: Page, question: str, picture: bytes | None) -> float:
    """Ask, and wait for the first word of the answer: seconds from the Enter key."""
    box = page.get_by_test_id("stChatInputTextArea")
    await expect(box).to_be_enabled(timeout=PATIENCE)
    messages = page.get_by_test_id("stChatMessage")
    number = await messages.count() + 1  # of the answer
    if picture is not None:
        file = {"name": "picture.png", "mimeType": "image/png", "buffer": picture}
        await page.wait_for_function("window.vqaBox", polling=100)  # its script takes the file
        await page.set_input_files("[data-testid=stChatInput] input[type=file]", file)
        await expect(page.locator("[class*=st-key-remove-]")).to_have_count(1, timeout=PATIENCE)
    await box.fill(question)
    began = time.perf_counter()
    await box.press("Enter")
    await page.wait_for_function(BEGUN, arg=number, polling=20)
    return time.perf_counter() - began


async def _answered(page: Page, number: int) -> None:
    """Wait for the whole answer to the question `number`: only then it can be written again."""
    answer = page.get_by_test_id("stChatMessage").nth(2 * number + 1)
    again = answer.get_by_role("button", name="Again")
    await expect(again).to_be_visible(timeout=PATIENCE)


async def _texts(page: Page) -> list[str]:
    messages = await page.get_by_test_id("stChatMessage").all()
    words = "[data-testid=stText], [data-testid=stMarkdown] [data-testid=stMarkdownContainer]"
    return ["".join(await text.locator(words).all_inner_texts()) for text in messages]


def chromium() -> str:
    """Return the browser's path."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise SystemExit("Install Chromium (Debian: apt-get install chromium).")
    return path


def people_with(answerer: Answerer, count: int, questions: int) -> list[Person]:
    """Make people with different crops of the examples, and what `answerer` answers to them."""
    paths = sorted((ROOT / "examples").glob("*.jpg"))
    people = []
    for number in range(count):
        picture = load_image(paths[number % len(paths)])
        edge = number // len(paths) * 12
        picture = picture.crop((edge, edge, picture.width - edge, picture.height - edge))
        file = io.BytesIO()
        picture.save(file, "PNG")
        asked = [QUESTIONS[(number + turn) % len(QUESTIONS)] for turn in range(questions)]
        people.append(Person(file.getvalue(), asked, answers(answerer, picture, asked)))
    return people


def answers(answerer: Answerer, picture: Image.Image, questions: Sequence[str]) -> list[str]:
    """Answer a conversation by `answerer`."""
    talk, texts = Conversation(), []
    for number, question in enumerate(questions):
        talk = talk.ask(question, [picture] if number == 0 else [])
        texts.append(answerer.answer([talk.request(SETTINGS)])[0].text)
        talk = talk.answered(texts[-1])
    return texts


def engine_first_tokens(answerer: Answerer, people: Sequence[Person]) -> list[float]:
    """Time the first token of `answerer` itself, of pictures that are in no cache."""
    times = []
    for person in people:
        if isinstance(answerer, SupportsClearing):
            answerer.clear_caches()
        talk = Conversation().ask(person.questions[0], [load_image(person.picture)])
        times.append(answerer.answer([talk.request(SETTINGS)])[0].seconds.first_token)
    return times


@contextmanager
def served(model: str) -> Iterator[str]:
    """Serve `vqa app` for all computers, with a new history; yield its address."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as history:
        command = [sys.executable, "-m", "vqa", "app", "--host", "0.0.0.0", "--port", str(port)]
        command += ["--model", model, "--history", history, "--dtype", "float32"]
        environment = {**os.environ, "STREAMLIT_SERVER_HEADLESS": "true"}
        with subprocess.Popen(command, env=environment) as process:
            try:
                url = f"http://127.0.0.1:{port}"
                _wait(f"{url}/_stcore/health", process)
                yield url
            finally:
                process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            httpx2.get(url, timeout=2)
            return
        except httpx2.HTTPError:
            time.sleep(0.1)
    raise SystemExit("The server did not come up.")


def summary(visits: Sequence[Visit]) -> dict[str, Any]:
    """Summarise the visits of a crowd."""
    seconds = [second for visit in visits for second in visit.seconds]
    return {
        "people": len(visits),
        "answers": len(seconds),
        "wrong": [wrong for visit in visits for wrong in visit.wrong],
        "who_saw_a_place": sum(bool(visit.places) for visit in visits),
        "last_place": max((place for visit in visits for place in visit.places), default=0),
        "paint_median": statistics.median(visit.paint for visit in visits),
        "paint_longest": max(visit.paint for visit in visits),
        "answer_median": statistics.median(seconds),
        "answer_longest": max(seconds),
    }


def main(
    model: Annotated[str, typer.Option(help="As for `vqa app`.")] = "embedded",
    url: Annotated[
        str | None, typer.Option(help="A page that runs already, with the same --model.")
    ] = None,
    people: Annotated[int, typer.Option(min=1, help="How many ask at once.")] = 20,
    questions: Annotated[int, typer.Option(min=1, max=3, help="Of each of them.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no table.")] = False,
) -> None:
    """Measure, print, and fail where an answer is wrong."""
    answerer = load_choice(ModelChoice(model, dtype="float32"))
    crowd_of = people_with(answerer, people, questions)
    alone = people_with(answerer, people + ALONE, 1)[-ALONE:]  # with pictures nobody else has
    engine = engine_first_tokens(answerer, alone)
    if url is None:
        with served(model) as url:
            result, page = _measure(url, crowd_of, alone)
    else:
        result, page = _measure(url, crowd_of, alone)
    engine += engine_first_tokens(
        answerer, alone
    )  # before and after: the machine may have other work
    result["first_token_page"] = statistics.median(page)
    result["first_token_engine"] = statistics.median(engine)
    if result["first_token_engine"]:  # some answerers do not tell
        result["first_token_ratio"] = result["first_token_page"] / result["first_token_engine"]
    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        table = Table("what", "figure", title=f"{model}: {people} people, {questions} questions")
        for name, value in result.items():
            figure = f"{value:.2f}" if isinstance(value, float) else str(value)
            table.add_row(name.replace("_", " "), figure)
        Console().print(table)
    if result["wrong"]:
        raise SystemExit(1)


def _measure(
    url: str, people: Sequence[Person], alone: Sequence[Person]
) -> tuple[dict[str, Any], list[float]]:
    """Measure the crowd, and the first tokens of somebody alone after a warm-up."""
    page = asyncio.run(first_tokens(url, alone))[1:]
    paint = asyncio.run(_paint(url))
    return {"paint_alone": paint, **summary(asyncio.run(crowd(url, people)))}, page


async def _paint(url: str) -> float:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"]
        )
        return await until_ready(await open_page(browser, url), url)


if __name__ == "__main__":
    typer.run(main)
