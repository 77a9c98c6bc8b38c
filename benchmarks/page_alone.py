"""The page for one person: how soon it can be used, and how soon again after each answer.

    python -m benchmarks.page_alone                    the embedded model, 15 questions in a row
    python -m benchmarks.page_alone --turns 40 --model DIR

Starts `vqa app`. The first paint is the time from navigation until a question may be typed: cold in
a new browser, the first of a server that has just come up; warm when the page is loaded again, with
the model there. The box settles when all that belongs to an answer is drawn, its row of buttons
too: the time from the answer's last word until then, and how long the box took no typing meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from typing import Annotated, Any

import typer
from playwright.async_api import Page, async_playwright, expect
from rich.console import Console
from rich.table import Table

from benchmarks.page_load import (
    PATIENCE,
    ROOT,
    chromium,
    open_page,
    served,
    until_ready,
)

QUESTIONS = ("Describe the picture.", "What colour is it?", "Describe it in a sentence.")
LAST = 5  # questions at the end that are reported: the conversation is long then
# Looks at the page in each frame, from the question until its answer has its buttons.
SETTLING = """
number => {
    window.settling = new Promise(resolve => {
        let words = "", last = 0, blocked = 0, before = performance.now();
        const check = now => {
            const box = document.querySelector('[data-testid=stChatInputTextArea]');
            if (!box || box.disabled) blocked += now - before;
            before = now;
            const message = document.querySelectorAll('[data-testid=stChatMessage]')[number];
            const text = message && message.querySelector('[data-testid=stMarkdown]');
            if (text && text.innerText !== words) { words = text.innerText; last = now; }
            if (message && message.querySelector('[class*=st-key-row-]') &&
                message.innerText.includes('Again'))
                resolve([(now - last) / 1000, blocked / 1000]);
            else
                requestAnimationFrame(check);
        };
        requestAnimationFrame(check);
    });
}
"""


async def measure(url: str, turns: int) -> dict[str, Any]:
    """Measure the page at `url` in seconds."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"]
        )
        page = await open_page(browser, url)
        result: dict[str, Any] = {"paint_cold": await until_ready(page, url)}
        await expect(page.get_by_test_id("stProgress")).to_have_count(0, timeout=PATIENCE)
        warm = [await until_ready(page, url) for _ in range(5)]
        settled = [await _settle(page, turn) for turn in range(turns)]
    result["paint_warm"] = statistics.median(warm)
    after, blocked = zip(*settled[-LAST:], strict=True)
    result |= {"turns": turns, "settled_median": statistics.median(after)}
    result |= {"settled_longest": max(after), "blocked_longest": max(blocked)}
    return result


async def _settle(page: Page, turn: int) -> tuple[float, float]:
    """Ask; return the seconds from the last word until all is drawn, and those without a box."""
    box = page.get_by_test_id("stChatInputTextArea")
    await expect(box).to_be_enabled(timeout=PATIENCE)
    if turn == 0:
        await page.wait_for_function("window.vqaBox", polling=100)  # its script takes the file
        picture = ROOT / "examples" / "cat.jpg"
        await page.set_input_files("[data-testid=stChatInput] input[type=file]", picture)
        await expect(page.locator("[class*=st-key-remove-]")).to_have_count(1, timeout=PATIENCE)
    await box.fill(QUESTIONS[turn % len(QUESTIONS)])
    await page.evaluate(SETTLING, 2 * turn + 1)
    await box.press("Enter")
    after, blocked = await page.evaluate("window.settling")
    return float(after), float(blocked)


def main(
    model: Annotated[str, typer.Option(help="As for `vqa app`.")] = "embedded",
    turns: Annotated[int, typer.Option(min=LAST, help="Questions in one conversation.")] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, no table.")] = False,
) -> None:
    """Measure and print."""
    with served(model) as url:
        result = asyncio.run(measure(url, turns))
    if as_json:
        print(json.dumps(result, indent=2))
        return
    table = Table("what", "seconds", title=f"{model}: {turns} questions")
    for name, value in result.items():
        if isinstance(value, float):
            table.add_row(name.replace("_", " "), f"{value:.2f}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
