"""An explanation as a figure: pictures beside the maps laid over them."""

from __future__ import annotations

import os
import textwrap
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from vqa.explain import Explanation
from vqa.explain.overlay import COLOURS, overlay
from vqa.utils.files import atomic_write

_COLUMNS = 4  # pictures side by side
_SIDE = 3.6  # inches of a picture
_PIXELS = 900  # of a side: larger pictures are drawn smaller
_GREY, _RED = "#555555", "#b00020"


def write_figure(
    path: str | os.PathLike[str],
    explanation: Explanation,
    pictures: Sequence[Image.Image],
    question: str,
) -> None:
    """Write originals and maps, a colour bar and a caption as PNG, whole or not at all.

    Raises InputError where nothing can be written at `path`.
    """
    figure = _figure(explanation, pictures, question)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font has not got is drawn as a box
        with atomic_write(path, "wb") as file:
            FigureCanvasAgg(figure).print_png(file)


def _figure(explanation: Explanation, pictures: Sequence[Image.Image], question: str) -> Figure:
    several = len(pictures) > 1
    columns = min(len(pictures), _COLUMNS) if several else 2
    heights = []  # inches, of each row: originals and below them maps, or both beside each other
    for start in range(0, len(pictures), _COLUMNS):
        tallest = max(p.height / p.width for p in pictures[start : start + _COLUMNS])
        heights += [_SIDE * float(np.clip(tallest, 0.3, 1.5))] * (2 if several else 1)
    lines = _caption(explanation, question, columns)
    below = 0.25 + 0.21 * len(lines)  # inches
    size = (_SIDE * columns + 0.9, sum(heights) + below + 0.3)
    engine = ConstrainedLayoutEngine(rect=(0, below / size[1], 1, 1 - below / size[1]))
    figure = Figure(figsize=size, dpi=110, facecolor="white", layout=engine)
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
    for axis in axes.flat:
        axis.set_axis_off()
    maps = explanation.relative_maps
    for number, (one, picture) in enumerate(zip(maps, pictures, strict=True)):
        row, column = 2 * (number // _COLUMNS), number % _COLUMNS
        beside = (row, 1) if not several else (row + 1, column)
        small = picture.copy()
        small.thumbnail((_PIXELS, _PIXELS))
        axes[row, column].imshow(np.asarray(small))
        axes[beside].imshow(np.asarray(overlay(small, one)))
    scale = ScalarMappable(cmap=COLOURS)
    scale.set_clim(0, 1)
    bar = figure.colorbar(scale, ax=axes, shrink=0.85 / len(heights) ** 0.5, aspect=28, pad=0.015)
    bar.set_label("matters, beside the place that matters most", color=_GREY, fontsize=8)
    bar.ax.tick_params(labelsize=7, colors=_GREY)
    for number, (line, colour, weight) in enumerate(lines):
        figure.text(
            0.12 / size[0], (below - 0.2 - 0.21 * number) / size[1], line,
            color=colour, weight=weight, fontsize=9.5, va="baseline", parse_math=False,
        )  # fmt: skip
    return figure


def _caption(explanation: Explanation, question: str, columns: int) -> list[tuple[str, str, str]]:
    """Compose the caption's lines, with their colours and weights."""
    width = int(columns * _SIDE * 13)
    lines = [(line, "black", "normal") for line in _lines(question, width, 3)]
    lines += [(line, "black", "bold") for line in _lines(explanation.answer, width, 4)]
    scores = explanation.scores
    method = f"by {explanation.by}"
    if scores is not None:
        method += (
            f"; deletion {scores.deletion:.2f} (random map "
            f"{scores.random_deletion:.2f}, lower is better), insertion {scores.insertion:.2f} "
            f"(random map {scores.random_insertion:.2f}, higher is better)"
        )
    lines += [(line, _GREY, "normal") for line in _lines(method, width, 3)]
    if explanation.warning:
        lines += [(line, _RED, "bold") for line in _lines(explanation.warning, width, 3)]
    return lines


def _lines(text: str, width: int, most: int) -> list[str]:
    clean = "".join(char if char.isprintable() else " " for char in text)
    return textwrap.wrap(clean, width, max_lines=most, placeholder=" ...") or [""]
