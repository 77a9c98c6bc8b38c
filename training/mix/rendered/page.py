"""Pages of text: what stands on them, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Row:
    """A row of a page: one piece of text, two at its ends, or several in columns."""

    cells: tuple[str, ...]
    size: float = 1.0  # of its letters, in those of the page
    centered: bool = False
    rule: str = ""  # `_`: a line below it; another character: a line of it in the row's place
    band: Color | None = None  # colour behind it


@dataclass(frozen=True)
class Fact:
    """What a page says of something that can be asked for."""

    about: str  # key of the questions in `tables/written.yaml`
    answer: str
    fields: dict[str, str] = field(default_factory=dict)  # of the questions' wordings


@dataclass(frozen=True)
class Page:
    """A page before it is drawn, and what it says."""

    kind: str  # sign, label, receipt ...
    rows: tuple[Row, ...]
    facts: tuple[Fact, ...]
    width: int = 640  # pixels
    letters: int = 28  # pixels of its letters' height
    paper: Color = (250, 250, 247)
    ink: Color = (25, 25, 30)
    border: int = 0  # pixels
    grid: bool = False  # lines between rows and columns
    chinese: bool = False


def draw_page(page: Page, font: Path) -> Image.Image:
    """Draw a page, RGB, as high as its rows need. Text that is too wide gets smaller letters."""
    margin = max(page.border * 3, page.width // 20)
    inner = page.width - 2 * margin
    heights = [round(page.letters * row.size * 1.45) for row in page.rows]
    height = sum(heights) + 2 * margin
    picture = Image.new("RGB", (page.width, height), page.paper)
    draw = ImageDraw.Draw(picture)
    if page.border:
        inset = page.border
        box = (inset, inset, page.width - inset - 1, height - inset - 1)
        draw.rectangle(box, outline=page.ink, width=page.border)
    top = margin
    for row, high in zip(page.rows, heights, strict=True):
        if row.band is not None:
            draw.rectangle((0, top, page.width, top + high), fill=row.band)
        size = round(page.letters * row.size)
        _draw_row(draw, row, font, size, margin, top + (high - size) // 2, inner, page.ink)
        if row.rule == "_" or page.grid:
            draw.line((margin, top + high, margin + inner, top + high), page.ink, 1)
        top += high
    if page.grid:
        units = max(len(row.cells) for row in page.rows) + 1
        for unit in (0, *range(2, units + 1)):
            x = margin - 4 + unit * (inner + 8) // units
            draw.line((x, margin, x, top), page.ink, 1)
    return picture


def _draw_row(
    draw: ImageDraw.ImageDraw, row: Row, font: Path, size: int, left: int, top: int, width: int,
    ink: Color,
) -> None:  # fmt: skip
    cells, unit = row.cells, width / (len(row.cells) + 1)  # the first of several columns has two
    if len(cells) > 2:
        letters = fitted(font, size, cells[:1], 2 * unit - size / 3)
        letters = fitted(font, int(letters.size), cells[1:], unit - size / 3)
    else:
        letters = fitted(font, size, [" ".join(cells)], width)
    if row.rule and row.rule != "_":
        cells = (row.rule * max(1, int(width / letters.getlength(row.rule))),)
    for place, text in enumerate(cells):
        x = float(left)
        if len(cells) > 2:
            x += (place + 1) * unit if place else 0
        elif place == 1:
            x += width - letters.getlength(text)
        elif row.centered:
            x += (width - letters.getlength(text)) / 2
        draw.text((x, top), text, font=letters, fill=ink)


def fitted(font: Path, size: int, texts: Sequence[str], width: float) -> ImageFont.FreeTypeFont:
    """Open a font at `size` pixels, or smaller where one of the texts would be wider."""
    letters = ImageFont.truetype(str(font), size)
    longest = max((letters.getlength(text) for text in texts), default=0)
    if longest > width:
        letters = ImageFont.truetype(str(font), max(6, int(size * width / longest)))
    return letters
