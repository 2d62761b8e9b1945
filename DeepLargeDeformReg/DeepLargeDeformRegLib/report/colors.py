"""Colors of the report as bytes and as CSS: those of the catalog, and the color map of det J."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import numpy.typing as npt

from ..core.display import FIXED_COLOR, MAP_COLORS, MOVING_COLOR
from ..resources import JACOBIAN_COLORS

Bytes = npt.NDArray[np.uint8]

FIXED_CSS, PROPAGATED_CSS = (
    "#" + "".join(f"{round(255 * part):02x}" for part in color) for color in (FIXED_COLOR, MOVING_COLOR)
)
_MAP_POINTS = np.array([(share, *color) for share, color in MAP_COLORS])


@cache
def jacobian_points() -> npt.NDArray[np.float64]:
    """Points (value, red, green, blue) of the map of det J, ascending in value, colors 0..1, ``(n, 4)``."""
    return np.array(json.loads(JACOBIAN_COLORS.read_text(encoding="utf-8")), dtype=np.float64)


def jacobian_colors(determinant: npt.NDArray[np.floating]) -> Bytes:
    """Colors ``(..., 3)`` of det J ``(...)``; values beyond the ends of the map get its end colors."""
    return _interpolated(determinant, jacobian_points(), 255.0)


def map_colors(share: npt.NDArray[np.floating]) -> Bytes:
    """Colors ``(..., 3)`` of a map's values given as a share (0..1) of the largest one shown."""
    return _interpolated(share, _MAP_POINTS, 255.0)


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
