"""Vector graphics: pictures with lines and letters on them, as data addresses that an img element loads."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from urllib.parse import quote

import contourpy
import numpy as np
import numpy.typing as npt
from PIL import Image

TENTHS = 10  # paths are written in whole tenths of a pixel, which is shorter than decimals


def data_address(svg: str) -> str:
    """Address of an SVG picture that carries it whole; pictures in base64 within need no quoting."""
    parts = re.split(r"(base64,[^']*)", svg)
    return "data:image/svg+xml," + "".join(
        part if number % 2 else quote(part, safe=" =:/+,;'()") for number, part in enumerate(parts)
    )


def embedded(pixels: npt.NDArray[np.uint8]) -> str:
    """SVG element of a picture of gray ``(h, w)`` or color ``(h, w, 3)`` pixels, as PNG."""
    height, width = pixels.shape[:2]
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    address = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    return f"<image width='{width}' height='{height}' href='{address}'/>"


def contours(values: npt.NDArray[np.floating], levels: Iterable[float], step: int = 1) -> str:
    """Path data of the contour lines of values ``(h, w)`` on pixel centers, in tenths of a pixel.

    Args:
        values: one value a pixel; NaN where there is none.
        levels: values whose contours are drawn.
        step: distance of the samples that are used, pixels; lines of smooth values need no more.
    """
    thinned = values[::step, ::step]
    if min(thinned.shape) < 2:
        return ""
    generator = contourpy.contour_generator(z=np.ma.masked_invalid(thinned))
    lines = [line for level in levels for line in generator.lines(level)]
    return "".join(path(np.asarray(line) * step + 0.5) for line in lines)


def path(line: npt.NDArray[np.floating]) -> str:
    """Path data of a line of points (n, 2), in tenths of the unit, relative, which is shortest."""
    points = np.round(line * TENTHS).astype(int)
    kept = np.r_[True, np.any(np.diff(points, axis=0) != 0, axis=1)]
    points = points[kept]
    moves = np.diff(points, axis=0)
    start = f"M{points[0, 0]} {points[0, 1]}"
    if not len(moves):
        return ""
    return start + "l" + " ".join(f"{x} {y}" for x, y in moves)


def stroke(data: str, color: str, width: float, dashes: str = "", casing: float = 0.0) -> str:
    """SVG element of path data from :func:`contours`; widths in pixels. The casing is a dark line beneath."""
    if not data:
        return ""
    dashed = f" stroke-dasharray='{dashes}'" if dashes else ""
    shape = f"d='{data}' fill='none' stroke-linejoin='round'"
    under = (
        f"<path {shape} stroke='#000' stroke-opacity='.75' stroke-width='{(width + casing) * TENTHS:.0f}'{dashed}/>"
        if casing
        else ""
    )
    over = f"<path {shape} stroke='{color}' stroke-width='{width * TENTHS:.0f}'{dashed}/>"
    return f"<g transform='scale({1 / TENTHS})'>{under}{over}</g>"
