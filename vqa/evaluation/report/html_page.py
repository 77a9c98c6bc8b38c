"""The page of a report: one HTML file with style, script and pictures."""

from __future__ import annotations

import base64
import hashlib
import math
import os
from importlib.resources import files

from vqa.evaluation.number_text import PLAIN, format_interval, format_value
from vqa.evaluation.report import charts
from vqa.evaluation.report.causes import CAUSES
from vqa.evaluation.report.report_data import RIGHT_SCORE, ReportData
from vqa.evaluation.statistics import Interval
from vqa.utils.files import atomic_write
from vqa.utils.inert import visible
from vqa.version import __version__


def write_report(path: str | os.PathLike[str], data: ReportData) -> None:
    """Write the page, atomically."""
    page = render_report(data)
    with atomic_write(path) as file:
        # a lone surrogate, which JSON can hold, is no text that a file can
        file.write(page.encode("utf-8", "replace").decode("utf-8"))


def render_report(data: ReportData) -> str:
    """Render the page as a text. It loads nothing and runs no script but its own."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(amount=_amount, interval=_interval, joined=_joined)
    script = _part("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    series = [
        (model.name, result.calibration)
        for model, result in zip(data.models, data.scores, strict=True)
    ]
    calibrated = any(calibration is not None for _, calibration in series)
    page = environment.from_string(_part("page.html.jinja")).render(
        r=data,
        style=Markup(_part("style.css")),
        script=Markup(script),
        script_hash=digest,
        causes=CAUSES,
        right=RIGHT_SCORE,
        colors=charts.COLORS,
        scale=_Scale(data),
        reliability=charts.reliability(series) if calibrated else None,
        risk_coverage=charts.risk_coverage(series) if calibrated else None,
        version=__version__,
    )
    return visible(page)


class _Scale:
    """Places values of the metric's main name on a bar, in percent of its width."""

    def __init__(self, data: ReportData) -> None:
        bars = [*data.bars, *(bar for row in data.slices for bar in row.bars if bar)]
        ends = [x for bar in bars for x in (bar.value, *(bar.interval or ())) if math.isfinite(x)]
        highest = max(ends, default=1.0)
        is_share = data.main not in PLAIN and highest <= 1
        self._top = 1.0 if is_share else highest * 1.05 or 1.0

    def __call__(self, value: float) -> str:
        share = value / self._top if math.isfinite(value) else 0.0
        return f"{100 * min(max(share, 0.0), 1.0):.2f}%"


def _amount(value: float, name: str) -> str:
    return _joined(format_value(name, value)) if math.isfinite(value) else "–"


def _interval(interval: Interval | None, name: str) -> str:
    return format_interval(name, interval)


def _joined(text: str) -> str:
    """Replace the space before a percent sign by one that does not break."""
    return text.replace(" %", "\u00a0%")


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
