"""Colors of the report: the color map of det J, which the scene reads too, and the one of millimeters."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import numpy.typing as npt

from ..resources import JACOBIAN_COLORS

Bytes = npt.NDArray[np.uint8]

# Blue and orange of Okabe and Ito (2008), safe for color-blind eyes, lightened for black backgrounds.
FIXED_COLOR = "#5cc8ff"
PROPAGATED_COLOR = "#ffab2e"

# Points of cividis (Nunez et al., PLOS ONE 2018): luminance rises evenly, for normal and color-blind eyes alike.
_MILLIMETERS = np.array(
    [
        (0.0, 0, 34, 78),
        (0.125, 22, 56, 107),
        (0.25, 65, 77, 107),
        (0.375, 94, 98, 110),
        (0.5, 124, 123, 120),
        (0.625, 155, 148, 118),
        (0.75, 188, 175, 111),
        (0.875, 222, 203, 95),
        (1.0, 254, 232, 56),
    ]
)


@cache
def jacobian_points() -> npt.NDArray[np.float64]:
    """Points (value, red, green, blue) of the map of det J, ascending in value, colors 0..1, ``(n, 4)``."""
    return np.array(json.loads(JACOBIAN_COLORS.read_text(encoding="utf-8")), dtype=np.float64)


def jacobian_colors(determinant: npt.NDArray[np.floating]) -> Bytes:
    """Colors ``(..., 3)`` of det J ``(...)``; values beyond the ends of the map get its end colors."""
    return _interpolated(determinant, jacobian_points(), 255.0)


def millimeter_colors(share: npt.NDArray[np.floating]) -> Bytes:
    """Colors ``(..., 3)`` of lengths given as a share (0..1) of the largest one shown."""
    return _interpolated(share, _MILLIMETERS, 1.0)


def jacobian_css(value: float) -> str:
    """Color of one value of det J, as ``#rrggbb``."""
    return css(jacobian_colors(np.array(value)))


def css(color: npt.NDArray) -> str:
    """``#rrggbb`` of three bytes."""
    red, green, blue = (int(part) for part in color)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _interpolated(values: npt.NDArray, points: npt.NDArray, scale: float) -> Bytes:
    channels = [np.interp(values, points[:, 0], points[:, channel] * scale) for channel in (1, 2, 3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
