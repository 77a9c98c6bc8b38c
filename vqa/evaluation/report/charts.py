"""Calibration charts as inline SVG; the page's style sheet gives their colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from markupsafe import Markup, escape

from vqa.evaluation.calibration import Calibration

Series = Sequence[tuple[str, Calibration | None]]  # by model, in the order of their colours

COLORS = 6  # of models; they come again after these
_WIDTH, _HEIGHT = 340, 296
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 320, 12, 246  # of the plotted square
_TOPS = ((0.1, 5), (0.25, 5), (0.5, 5), (0.8, 4), (1.0, 4))  # of an axis, and its steps


def reliability(series: Series) -> Markup:
    """Draw mean score against mean probability of answers of similar probability."""
    place = _axes(1.0)
    parts = [_line([place(0, 0), place(1, 1)], "ideal")]
    for index, (name, calibration) in enumerate(series):
        if calibration is None:
            continue
        spots = [place(b.probability, b.score) for b in calibration.bins]
        parts.append(_line(spots, f"curve m{index % COLORS}"))
        for part, spot in zip(calibration.bins, spots, strict=True):
            title = (
                f"{name}: {part.count} answers, probability {_percent(part.probability)}, "
                f"score {_percent(part.score)}"
            )
            parts.append(_mark(spot, index, title))
    label = "Reliability diagram: score against probability"
    return _chart(parts, 1.0, label, "probability of the answer", "score")


def risk_coverage(series: Series) -> Markup:
    """Draw the share wrong against the share answered, as the least probable are left out."""
    highest = max((risk for _, f in series if f for _, risk in f.risk_coverage), default=1.0)
    top = next((top for top, _ in _TOPS if highest <= top), 1.0)
    place = _axes(top)
    parts = []
    for index, (name, calibration) in enumerate(series):
        if calibration is None:
            continue
        spots = [place(share, risk) for share, risk in calibration.risk_coverage]
        parts.append(_line(spots, f"curve m{index % COLORS}"))
        coverage, score = calibration.coverage, calibration.score_above
        if calibration.threshold is not None and score is not None:
            title = (
                f"{name}: not sure below {calibration.threshold:.16g}; {_percent(coverage)} "
                f"answered, score {_percent(score)}"
            )
            parts.append(_mark(place(coverage, 1 - score), index, title, 5.5))
    label = "Risk-coverage curve: share wrong against share answered"
    return _chart(parts, top, label, "share of questions answered", "lost score")


def _axes(top: float) -> Callable[[float, float], tuple[float, float]]:
    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + x * (_RIGHT - _LEFT), _BOTTOM - min(y / top, 1) * (_BOTTOM - _TOP)

    return place


def _chart(parts: Iterable[Markup], top: float, label: str, below: str, aside: str) -> Markup:
    place = _axes(top)
    steps = dict(_TOPS)[top]
    grid = []
    for step in range(steps + 1):
        y = place(0, top * step / steps)[1]
        grid.append(_line([(_LEFT, y), (_RIGHT, y)], "grid"))
        grid.append(_text(_LEFT - 7, y + 4, _percent(top * step / steps), "end"))
    for step in range(5):
        grid.append(_text(place(step / 4, 0)[0], _BOTTOM + 18, _percent(step / 4), "middle"))
    grid.append(_text((_LEFT + _RIGHT) / 2, _BOTTOM + 40, below, "middle"))
    middle = (_TOP + _BOTTOM) / 2
    turned = Markup('<g transform="rotate(-90 12 {})">{}</g>').format(
        _number(middle), _text(12, middle, aside, "middle")
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(_WIDTH, _HEIGHT, label, Markup("").join([*grid, turned, *parts]))


def _line(spots: Sequence[tuple[float, float]], kind: str) -> Markup:
    points = " ".join(f"{_number(x)},{_number(y)}" for x, y in spots)
    return Markup('<polyline class="{}" points="{}"/>').format(kind, points)


def _mark(spot: tuple[float, float], index: int, title: str, size: float = 4) -> Markup:
    """Draw a mark with a form for each model: a circle, a square, a triangle or a diamond."""
    x, y = spot
    corners = ((), (45, 135, 225, 315), (90, 210, 330), (0, 90, 180, 270))[index % 4]
    if corners:
        reach = size * 1.3
        points = " ".join(
            f"{_number(x + reach * math.cos(math.radians(a)))},"
            f"{_number(y - reach * math.sin(math.radians(a)))}"
            for a in corners
        )
        shape = Markup('<polygon class="mark m{}" points="{}">').format(index % COLORS, points)
        return shape + Markup("<title>{}</title></polygon>").format(title)
    shape = Markup('<circle class="mark m{}" cx="{}" cy="{}" r="{}">').format(
        index % COLORS, _number(x), _number(y), _number(size)
    )
    return shape + Markup("<title>{}</title></circle>").format(title)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
        _number(x), _number(y), anchor, escape(text)
    )


def _percent(value: float) -> str:
    return f"{100 * value:.0f}\u00a0%"


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
