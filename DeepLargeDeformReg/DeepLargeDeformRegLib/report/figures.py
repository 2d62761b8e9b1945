"""Pictures of a registration: scans, differences and Jacobian in three planes, as embedded PNG."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ..engine.images import Volume

Plane = npt.NDArray[np.float32]
PLANES = ("axial", "coronal", "sagittal")

# -1 ... 5 with 1 neutral: folds black, shrinking blue, growth orange to red.
_STOPS = (
    (-1.0, "#000000"),
    (0.0, "#000000"),
    (0.001, "#1b3c8c"),
    (0.5, "#6f9fd8"),
    (1.0, "#f4f4f0"),
    (2.0, "#f2b36b"),
    (3.0, "#d8652b"),
    (5.0, "#7d1010"),
)
JACOBIAN_RANGE = (-1.0, 5.0)


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI with its description."""

    title: str
    source: str


def jacobian_colormap() -> LinearSegmentedColormap:
    """Color map of det J from -1 to 5; everything at or below 0 is black."""
    low, high = JACOBIAN_RANGE
    return LinearSegmentedColormap.from_list(
        "jacobian", [((value - low) / (high - low), color) for value, color in _STOPS], N=1024
    )


def overview(fixed: Volume, moving: Volume, warped: Volume, jacobian: Volume) -> list[Picture]:
    """One picture a plane: fixed, moving as loaded, warped, both differences and det J.

    Args:
        fixed: fixed scan.
        moving: moving scan as loaded, resampled onto the fixed grid without a transform.
        warped: moving scan with the transform, on the fixed grid.
        jacobian: det J on the fixed grid.
    """
    low, high = (float(value) for value in np.percentile(fixed.array, (1, 99)))
    spread = 0.6 * (high - low)
    pictures = []
    for axis, name in enumerate(PLANES):
        columns: list[tuple[str, Plane, dict]] = []
        gray = {"cmap": "gray", "vmin": low, "vmax": high}
        difference = {"cmap": "RdBu_r", "vmin": -spread, "vmax": spread}
        color = {"cmap": jacobian_colormap(), "vmin": JACOBIAN_RANGE[0], "vmax": JACOBIAN_RANGE[1]}
        planes = [_plane(volume, axis) for volume in (fixed, moving, warped)]
        columns = [
            ("fixed", planes[0], gray),
            ("moving, as loaded", planes[1], gray),
            ("moving, registered", planes[2], gray),
            ("difference before", planes[1] - planes[0], difference),
            ("difference after", planes[2] - planes[0], difference),
            ("Jacobian determinant", _plane(jacobian, axis), color),
        ]
        pictures.append(_row(f"{name} slice through the middle of the fixed scan", columns, _aspect(fixed, axis)))
    return pictures


def _row(title: str, columns: list[tuple[str, Plane, dict]], aspect: float) -> Picture:
    height, width = columns[0][1].shape
    ratio = height * aspect / width
    figure = Figure(figsize=(15, 15 / 6 * ratio + 0.35), dpi=100)
    axes = figure.subplots(1, 6)
    for axis, (name, plane, style) in zip(axes, columns, strict=True):
        shown = axis.imshow(plane, aspect=aspect, interpolation="nearest", **style)
        axis.set_title(name, fontsize=10)
        axis.set_axis_off()
        if name.startswith("Jacobian"):
            bar = figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.03, ticks=[-1, 0, 1, 3, 5])
            bar.ax.tick_params(labelsize=8)
    figure.subplots_adjust(left=0.005, right=0.975, top=1 - 0.3 / figure.get_figheight(), bottom=0.005, wspace=0.03)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Picture(title, "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode())


def _plane(volume: Volume, axis: int) -> Plane:
    """Middle slice, head up and front up as radiologists look at it; index axes as they are on oblique grids."""
    plane = np.take(volume.array, volume.array.shape[axis] // 2, axis=axis)
    return plane if axis == 0 else plane[::-1]


def _aspect(volume: Volume, axis: int) -> float:
    x, y, z = volume.grid.spacing
    return (y / x, z / x, z / y)[axis]
