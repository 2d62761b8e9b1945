"""Charts as inline SVG: they take the page's text color, so they read in the dark, and print sharply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.measures import StructureMetrics, measures_of
from .colors import css, jacobian_css, jacobian_points, map_colors

WIDTH = 520
BARS_WIDTH = 400
LEGEND = 240
MOST_BARS = 12
LOWEST_SHARE = 1e-3  # percent; bars of the histogram start here, on a logarithmic axis


@dataclass(frozen=True)
class Chart:
    """A chart: its title, its markup, and a note below it."""

    title: str
    markup: str
    note: str = ""


def structure_bars(metrics: Mapping[str, Any], key: str) -> Chart | None:
    """Bars before and after of each structure, the worst first; None for less than two, which a table shows best.

    Args:
        metrics: content of the metrics file.
        key: key of a measure of structures.
    """
    measure = measures_of(StructureMetrics)[key]
    high_is_good = measure.better == "higher"
    values = metrics.get(key) or {}
    rows = [(name, pair.get("before"), pair.get("after")) for name, pair in values.items()]
    rows = [row for row in rows if row[1] is not None or row[2] is not None]
    if len(rows) < 2:
        return None
    sign = 1.0 if high_is_good else -1.0
    rows.sort(key=lambda row: -np.inf if row[2] is None else sign * row[2])
    note = f"The {MOST_BARS} worst of {len(rows)} structures." if len(rows) > MOST_BARS else ""
    rows = rows[:MOST_BARS]
    longest = 1.0 if high_is_good else max(value for row in rows for value in row[1:] if value is not None) or 1.0
    named = measure.heading
    direction = "longer is better" if high_is_good else "shorter is better"
    parts = [_bar_pair(row, 38 * i, longest, measure.digits) for i, row in enumerate(rows)]
    alternative = f"{named} before and after, by structure; the same numbers are in the table."
    return Chart(f"{named} ({direction})", _svg("".join(parts), 38 * len(rows), alternative, BARS_WIDTH), note)


def jacobian_histogram(determinant: npt.NDArray[np.floating], where: str) -> Chart | None:
    """How often each det J occurs; the folded part hatched and counted.

    Args:
        determinant: det J of the voxels that count.
        where: what the voxels are that count.
    """
    values = determinant.ravel()
    if not values.size:
        return None
    low, high = (float(end) for end in jacobian_points()[[0, -1], 0])
    counts, edges = np.histogram(values.clip(low, high), bins=60, range=(low, high))
    share = 100.0 * counts / values.size
    left, right, top, bottom = 44.0, WIDTH - 10.0, 22.0, 190.0

    def across(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    def up(percent: float) -> float:
        height = np.log10(max(percent, LOWEST_SHARE) / LOWEST_SHARE) / np.log10(100 / LOWEST_SHARE)
        return bottom - float(height) * (bottom - top)

    parts = []
    for ticks in (0.001, 0.01, 0.1, 1, 10, 100):
        parts.append(f'<path class="rule" d="M{left} {up(ticks):.1f}H{right}"/>')
        parts.append(_text(f"{ticks:g}", left - 6, up(ticks) + 4, "end"))
    for percent, start, end in zip(share, edges[:-1], edges[1:], strict=True):
        if percent <= 0:
            continue
        x, y = across(start), min(up(percent), bottom - 2)
        box = f'x="{x:.1f}" y="{y:.1f}" width="{across(end) - x:.1f}" height="{bottom - y:.1f}"'
        color = jacobian_css(float(start + end) / 2)
        parts.append(f'<rect {box} fill="{color}" class="outlined"/>')
        if end <= 1e-9:
            parts.append(f'<rect {box} fill="url(#hatching)"/>')
    folded = 100.0 * float((values <= 0).mean())
    for value in (-1, 0, 1, 2, 3, 4, 5):
        label = {-1: "≤ -1", 5: "≥ 5"}.get(value, str(value))
        parts.append(_text(label, across(value), bottom + 17, {-1: "start", 5: "end"}.get(value, "middle")))
    for value in (0, 1):
        parts.append(f'<path class="mark" d="M{across(value):.1f} {top - 6}V{bottom}"/>')
    parts.append(_text(f"folded: {_percent(folded)}", across(0) - 6, top - 8, "end"))
    parts.append(_text("smaller", across(0.5), top - 8, "middle"))
    parts.append(_text("larger in the moving scan", across(1) + 8, top - 8, "start"))
    alternative = (
        f"Histogram of det J {where}: {_percent(folded)} folded, from {values.min():.2f} to {values.max():.2f}, "
        f"median {np.median(values):.2f}."
    )
    title = f"Distribution of det J {where}, % of voxels (logarithmic)"
    return Chart(title, _svg("".join(parts), 216, alternative))


def cumulative_errors(before: Sequence[float], after: Sequence[float]) -> Chart | None:
    """Share of the landmarks whose error is at most so many millimeters, before and after."""
    if not len(before) or not len(after):
        return None
    longest = float(max(np.max(before), np.max(after), 1e-3))
    step = next(s for s in (0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if longest / s <= 8)
    end = float(np.ceil(longest / step) * step)
    left, right, top, bottom = 44.0, WIDTH - 12.0, 12.0, 190.0

    def across(value: float) -> float:
        return left + value / end * (right - left)

    def up(percent: float) -> float:
        return bottom - percent / 100 * (bottom - top)

    parts = []
    for percent in (0, 25, 50, 75, 100):
        parts.append(f'<path class="rule" d="M{left} {up(percent):.1f}H{right}"/>')
        parts.append(_text(f"{percent}", left - 6, up(percent) + 4, "end"))
    for tick in np.arange(0, end + step / 2, step).tolist():
        parts.append(_text(f"{tick:g}", across(tick), bottom + 17, "middle"))
    for errors, name in ((before, "before"), (after, "after")):
        line = f"M{left} {bottom}"
        for rank, error in enumerate(np.sort(errors)):
            line += f"H{across(error):.1f}V{up(100 * (rank + 1) / len(errors)):.1f}"
        parts.append(f'<path class="curve {name}" d="{line}H{right}"/>')
    alternative = (
        f"Cumulative landmark error of {len(after)} landmarks: half are within {np.median(before):.2f} mm before and "
        f"within {np.median(after):.2f} mm after."
    )
    note = "Dashed: before. Solid: after. A curve farther to the left is better."
    return Chart("Landmarks with an error of at most … mm, %", _svg("".join(parts), 216, alternative), note)


def definitions() -> str:
    """What the charts and legends refer to: hatching, and the colors of det J and of millimeters; once a page."""
    points = jacobian_points()
    low, high = points[0, 0], points[-1, 0]
    jacobian = [((value - low) / (high - low), jacobian_css(value)) for value in points[:, 0]]
    shares = np.linspace(0, 1, 9)
    lengths = [(share, css(color)) for share, color in zip(shares, map_colors(shares), strict=True)]
    return (
        '<svg class="definitions" width="0" height="0" aria-hidden="true"><defs>'
        '<pattern id="hatching" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<path d="M1 0V5" stroke="#fff" stroke-width="1.4"/></pattern>'
        f"{_gradient('det-j', jacobian)}{_gradient('millimeters', lengths)}</defs></svg>"
    )


def jacobian_legend() -> str:
    """The color map of det J with its ticks, hatched where it folds."""
    low, high = (float(end) for end in jacobian_points()[[0, -1], 0])
    zero = -low / (high - low) * LEGEND
    ticks = "".join(_text(f"{v:g}", 10 + (v - low) / (high - low) * LEGEND, 31, "middle") for v in range(-1, 6))
    label = (
        "Colors of det J: black with white hatching at and below 0, blue where the moving scan is smaller, "
        "white at 1, orange where it is larger, up to 5"
    )
    hatched = f'<rect x="10" y="2" width="{zero:.1f}" height="15" fill="url(#hatching)"/>'
    return _legend(label, "det-j", hatched + ticks)


def millimeter_legend(longest_mm: float) -> str:
    """The colors of lengths from 0 to the longest one shown."""
    ticks = "".join(
        _text(f"{share * longest_mm:g}", 10 + share * LEGEND, 31, "middle") for share in (0, 0.25, 0.5, 0.75, 1)
    )
    return _legend(f"Colors of lengths from 0, dark, to {longest_mm:g} mm, bright", "millimeters", ticks)


def similarity_legend() -> str:
    """The colors of the local similarity, 1 to 0: bright is where to look."""
    ticks = "".join(_text(f"{1 - share:g}", 10 + share * LEGEND, 31, "middle") for share in (0, 0.25, 0.5, 0.75, 1))
    return _legend("Colors of the local similarity from 1, dark, to 0, bright", "millimeters", ticks)


def _legend(label: str, gradient: str, content: str) -> str:
    return (
        f'<svg class="legend" viewBox="0 0 {LEGEND + 26} 34" role="img" aria-label="{label}">'
        f'<rect class="outlined" x="10" y="2" width="{LEGEND}" height="15" fill="url(#{gradient})"/>{content}</svg>'
    )


def _gradient(name: str, stops: list[tuple[float, str]]) -> str:
    inner = "".join(f'<stop offset="{where:.5f}" stop-color="{color}"/>' for where, color in stops)
    return f'<linearGradient id="{name}">{inner}</linearGradient>'


def _percent(value: float) -> str:
    return "0 %" if value == 0 else f"{value:.2g} %"


def _bar_pair(row: tuple[str, float | None, float | None], y: float, longest: float, digits: int) -> str:
    name, before, after = row
    short = name if len(name) <= 18 else name[:17] + "…"
    left, room = 130.0, BARS_WIDTH - 130.0 - 60.0
    parts = [_text(short, left - 8, y + 21, "end")]
    for value, kind, top in ((before, "before", y + 3), (after, "after", y + 18)):
        if value is None:
            parts.append(_text("not defined", left + 4, top + 11, "start"))
            continue
        width = max(value / longest, 0) * room
        parts.append(f'<rect class="bar {kind}" x="{left}" y="{top}" width="{width:.1f}" height="13"/>')
        parts.append(_text(f"{value:.{digits}f}", left + width + 6, top + 11, "start"))
    return "".join(parts)


def _text(text: str, x: float, y: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(content: str, height: float, alternative: str, width: int = WIDTH) -> str:
    label = escape(alternative, quote=True)
    return f'<svg class="chart" viewBox="0 0 {width} {height:g}" role="img" aria-label="{label}">{content}</svg>'
