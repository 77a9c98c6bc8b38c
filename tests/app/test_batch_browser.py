"""A file of questions in a real browser, from the upload to the table of answers."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.app.browsing import fits, messages

pytestmark = pytest.mark.browser
ECHO = "With 1 pictures you asked: "
NAMES = ("astronaut", "cat", "coffee", "rocket")
EVIL = "<script>alert(1)</script> ![x](http://example.org/x.png) $x$"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, url: str) -> tuple[Path, Path]:
    """A table of 48 questions, some of them wrong, and the zip of a folder with their pictures."""
    folder = tmp_path_factory.mktemp("given")
    examples = Path(__file__).parents[2] / "examples"
    with zipfile.ZipFile(folder / "photos.zip", "w") as archive:
        for name in NAMES:
            archive.write(examples / f"{name}.jpg", f"photos/{name}.jpg")
    with (folder / "questions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "question", "answer"])
        for number in range(48):
            question = f"Question {number}?" if number else EVIL
            right = number % 4 != 3
            table.writerow([f"{NAMES[number % 4]}.jpg", question,
                            f"{ECHO}{question}" if right else f"wrong {number % 3}"])  # fmt: skip
        table.writerow(["../../etc/passwd", "Who?", ""])
        table.writerow(["gone.jpg", "Where?", "there"])
    return folder / "questions.csv", folder / "photos.zip"


def shot(page: Page, name: str) -> None:
    """Keep a picture of the page where somebody wants to look at it."""
    folder = os.environ.get("VQA_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(600)
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def is_error(message: ConsoleMessage) -> bool:
    """Streamlit looks for its server below the page's address first; that is none of ours."""
    return message.type == "error" and "/batch/_stcore/" not in message.location["url"]


def uploaded(page: Page, data: Path, pictures: Path | None) -> None:
    inputs = page.locator("input[type=file]")
    expect(inputs).to_have_count(2)
    inputs.nth(0).set_input_files(data)
    expect(page.get_by_text(data.name)).to_be_visible()
    if pictures is not None:
        inputs.nth(1).set_input_files(pictures)
        expect(page.get_by_text(pictures.name)).to_be_visible()
    page.get_by_role("button", name="Start").click()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (380, "dark")])
def test_a_file_of_questions_end_to_end(
    browser: Browser, url: str, given: tuple[Path, Path], width: int, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme  # type: ignore[arg-type]
    )  # fmt: skip
    page = context.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda sent: requests.append(sent.url))
    page.on("console", lambda message: errors.append(message.text) if is_error(message) else None)
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.goto(f"{url}/batch")
    expect(page.get_by_role("heading", name="Many questions at once")).to_be_visible()
    expect(page.get_by_role("button", name="Start")).to_be_visible()
    assert fits(page)
    shot(page, f"batch-{width}-{scheme}-form")
    uploaded(page, *given)
    expect(page.get_by_role("heading", name="questions.csv")).to_be_visible()
    expect(page.get_by_text("Score", exact=True)).to_be_visible(timeout=30_000)
    expect(page.get_by_text("75.5 %")).to_be_visible()  # by rouge_l: answers are sentences
    expect(page.get_by_text("Rows that cannot be asked: 1")).to_be_visible()
    expect(page.get_by_role("img").first).to_be_visible()
    expect(page.get_by_text(EVIL, exact=True)).to_be_visible()
    assert fits(page)
    shot(page, f"batch-{width}-{scheme}-done")

    page.get_by_text("Wrong", exact=True).click()
    expect(page.get_by_text("Question 3?", exact=True)).to_be_visible()
    expect(page.get_by_text("Question 4?", exact=True)).to_have_count(0)
    shot(page, f"batch-{width}-{scheme}-wrong")

    downloads = {}
    for name in ("JSONL", "CSV", "HTML"):
        with page.expect_download() as download:
            page.get_by_role("button", name=name).click()
        downloads[name] = Path(download.value.path()).read_text("utf-8-sig")
    rows = [json.loads(line) for line in downloads["JSONL"].splitlines()]
    assert len(rows) == 50 and sum("error" in row for row in rows) == 2
    assert "/batches/" not in downloads["JSONL"] + downloads["CSV"]
    table = list(csv.DictReader(io.StringIO(downloads["CSV"])))
    assert len(table) == 49 and table[1]["prediction"] == f"{ECHO}Question 1?"
    assert downloads["HTML"].startswith("<!doctype html>") and "data:image/" in downloads["HTML"]

    address = page.url
    page.reload()
    expect(page.get_by_text("75.5 %")).to_be_visible()
    page.get_by_role("button", name="All files").click()
    expect(page.get_by_role("button", name="questions.csv")).to_be_visible()
    shot(page, f"batch-{width}-{scheme}-list")
    page.goto(address)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Yes, delete").click()
    expect(page.get_by_text("Nothing yet.")).to_be_visible()
    assert [one for one in requests if not one.startswith((url, "data:", "blob:"))] == []
    # pictures that the next run of the script replaces while the browser fetches them
    assert [one for one in errors if ".jpg" not in one and "404" not in one] == []
    context.close()


def test_the_chat_is_answered_meanwhile_and_the_run_is_stopped_and_goes_on(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    with (tmp_path / "slow.csv").open("w") as file:
        file.write("image,question\n")
        for number in range(4):
            file.write(f"p{number}.png,Question {number}?\n" * 8)
        file.write("p4.png,slow question?\n" * 8)
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        for number in range(5):
            content = io.BytesIO()
            Image.new("RGB", (64, 48), (40 * number, 90, 200)).save(content, "PNG")
            archive.writestr(f"p{number}.png", content.getvalue())
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{url}/batch")
    uploaded(page, tmp_path / "slow.csv", tmp_path / "p.zip")
    expect(page.get_by_text("32 of 40 rows")).to_be_visible()
    expect(page.get_by_text("The latest answers")).to_be_visible()
    assert fits(page)
    shot(page, "batch-running")
    chat = browser.new_page(viewport={"width": 1280, "height": 800})
    chat.goto(url)
    chat.get_by_role("button", name="A cat", exact=True).click()
    expect(chat.get_by_role("button", name="Remove")).to_be_visible()
    box = chat.get_by_test_id("stChatInput").get_by_role("textbox")
    expect(box).to_be_enabled()
    box.fill("And now?")
    box.press("Enter")
    expect(messages(chat).nth(1)).to_contain_text(f"{ECHO}And now?")
    chat.close()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped at 32 of 40")).to_be_visible()
    shot(page, "batch-stopped")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("32 of 40 rows")).to_be_visible()
    page.close()
