"""The page of limits says what the code holds to, in figures that are read from it."""

from __future__ import annotations

import re
from pathlib import Path

from app import batch_page, upload_limit
from vqa.answering import MAX_BEAMS
from vqa.batches import ZipLimits
from vqa.chat import conversation, titles
from vqa.cli import page, standard_input
from vqa.data import row_limits as limits
from vqa.data.formats import table
from vqa.inputs import images, picture_layout, video
from vqa.reading.reader import LARGEST_SIDE, MOST_LINES
from vqa.remote import chat_completions
from vqa.serve import chat_request, embeddings, picture_urls, request_limits, running

ROOT = Path(__file__).parents[1]
GUESTS = batch_page._FOR_GUESTS


def mib(size: int) -> str:
    assert size % (1 << 20) == 0
    return f"{size >> 20:,} MiB"


def expected() -> dict[str, str]:
    photo_mb = page._SETTINGS["server.maxUploadSize"]
    zips = ZipLimits()
    reply = chat_completions.max_reply_bytes
    return {
        "A row of data, with the pictures in it": mib(limits.ROW),
        "Values (cells, list items, names) of a row": f"{limits.VALUES:,}",
        "Cells of a row of CSV": f"{table._CELLS:,}",
        "A question or an answer in data, or another text of a row": f"{limits.TEXT:,} characters",
        "An id": f"{limits.ID:,} characters",
        "Bad rows of a file; beyond them it is given up": f"{limits.BAD_ROWS:,}",
        "Pixels of a picture": f"{images.MAX_PIXELS:,}",
        "The file of a picture": mib(picture_layout.MAX_BYTES),
        "The file of a WebP, AVIF or HEIC picture": mib(picture_layout._SEVERAL),
        "A picture from standard input": f"{standard_input._MOST:,} bytes",
        "Frames of a video that are shown, unless asked otherwise": f"{video.MAX_FRAMES}",
        "Length of a video": f"{video.MAX_HOURS:g} hour",
        "Beams of a beam search": f"{MAX_BEAMS}",
        "A question in the chat": f"{conversation.MAX_QUESTION:,} characters",
        "Messages of a conversation, answers included": f"{conversation.MAX_MESSAGES:,}",
        "A title that a conversation is given": f"{titles.MAX_TITLE} characters",
        "A photo or video that is uploaded": f"{photo_mb} MB",
        "A file of questions that is uploaded": f"{batch_page._DATA_MB} MB",
        "A zip of pictures that is uploaded": f"{batch_page._ZIP_MB} MB",
        "All uploads of a tab together": mib(upload_limit.MOST),
        "What comes out of a zip": f"{mib(zips.size)} in {zips.files:,} files, and {zips.ratio} "
        "times its size",
        "The same from another computer": f"{mib(GUESTS.unpacked.size)} in "
        f"{GUESTS.unpacked.files:,} files, and {GUESTS.unpacked.ratio} times its size",
        "Rows of a file of questions from another computer": f"{GUESTS.rows:,}",
        "Text and values of all its rows": f"{GUESTS.text:,} characters",
        "Files of questions kept for another computer": f"{GUESTS.runs}",
        "Longer side of a picture in which text is read; larger ones are scaled down": (
            f"{LARGEST_SIDE:,} pixels"
        ),
        "Lines of text that are read in a picture": f"{MOST_LINES}",
        "Reply of an endpoint": f"{mib(reply(0))}, and {reply(1) - reply(0):,} bytes for each "
        "token asked for",
        "A request to `vqa serve`": f"{mib(request_limits.MAX_BODY)}, which come within "
        f"{request_limits.BODY_SECONDS:g} seconds, its head within "
        f"{request_limits.HEADER_SECONDS:g}",
        "All requests to it that are not answered": f"{mib(request_limits.MAX_BODIES)}; "
        f"{running.MAX_CONNECTIONS} connections",
        "Text, messages and pictures of such a request": f"{chat_request.MAX_TEXT:,} characters, "
        f"{chat_request.MAX_MESSAGES} and {chat_request.MAX_PICTURES}",
        "Texts and pictures whose vectors are asked for in a request": f"{embeddings.MAX_INPUTS}",
        "Pixels of its pictures; of those of all requests": "; ".join(
            f"{most:,}" for most in (picture_urls.MAX_PIXELS_TOGETHER, picture_urls.MAX_PIXELS_HELD)
        ),
        "Texts at which its answer stops": f"{chat_request.MAX_STOP_TEXTS} of "
        f"{chat_request.MAX_STOP_LENGTH:,} characters",
        "A picture that it fetches (`--allow-urls`)": f"{mib(picture_urls.MAX_DOWNLOAD)} within "
        f"{picture_urls.DOWNLOAD_SECONDS:g} seconds, behind {picture_urls.MAX_REDIRECTS} redirects",
        "Time for answers on their way when it ends": f"{running.GRACE_SECONDS} seconds",
    }


def test_every_figure_is_that_of_the_code() -> None:
    lines = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    shown = {row[0]: row[1] for row in cells if not re.fullmatch("-+:?", row[1])}
    shown.pop("What")
    assert shown == expected()


def test_both_readmes_lead_to_it() -> None:
    for name in ("README.md", "README.zh.md"):
        assert "(docs/limits.md)" in (ROOT / name).read_text(encoding="utf-8")
