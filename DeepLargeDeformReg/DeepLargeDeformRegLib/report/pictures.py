"""The pictures of a place: one plane, seen in every way that tells whether the two scans agree there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..core.display import MAPS
from ..core.images import Volume
from . import vector
from .case import Case
from .colors import FIXED_CSS, PROPAGATED_CSS, jacobian_colors, map_colors
from .planes import Plane2D, Points, ViewPlane, sample
from .texts import FOUND_ORGANS, VOLUME_CHANGE
from .vector import contours, stroke

SQUARES = 8  # of the checkerboard, along the longer side
GRID_LINES = 18  # of the deformed grid, along the longer side
GRID_LENGTHS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 75.0, 100.0)
ROUND_LENGTHS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture for an img element.

    Args:
        title: what is shown, in two or three words.
        alternative: what a reader who does not see it should know.
        source: data address.
        width: pixels.
        height: pixels.
    """

    title: str
    alternative: str
    source: str
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Scale:
    """What the colors of all pictures mean, mm.

    Args:
        longest_mm: largest deformation shown.
        grid_mm: spacing of the deformed grid.
        uncertainty_mm: largest uncertainty shown; None without a map of it.
    """

    longest_mm: float
    grid_mm: float
    uncertainty_mm: float | None


def scale_of(case: Case) -> Scale:
    """Scale for the pictures of a case."""
    points = case.coarse_points
    longest = float(case.beyond_affine(points, case.mapped(points)[0]).max(initial=0))
    extent = float((case.box.high - case.box.low).max())
    grid = next((length for length in GRID_LENGTHS if extent / length <= GRID_LINES), GRID_LENGTHS[-1])
    uncertainty = case.uncertainty
    most = None
    if uncertainty is not None:
        most = _round_up(float(np.nanmax(sample(uncertainty, points))) if len(points) else 0.0)
    return Scale(_round_up(longest), grid, most)


def _round_up(length: float) -> float:
    return next((one for one in ROUND_LENGTHS if one >= length), length)


class PlanePictures:
    """All pictures of one plane through one place.

    Args:
        case: the registration.
        plane: pixels in physical space.
        place: the point that is marked, LPS mm.
        scale: what the colors mean.
    """

    def __init__(self, case: Case, plane: ViewPlane, place: Points, scale: Scale) -> None:
        self._case, self._plane, self._place, self._scale = case, plane, place, scale
        self._points = plane.points()
        self._there, self._covered = case.mapped(self._points)
        (self._fixed_window, self._moving_window) = case.windows
        self._shown = case.fixed.grid.contains(self._points)
        self._loaded = case.moving.grid.contains(self._points)

    def all(self) -> list[Picture]:
        """The pictures, in the order of the page."""
        fixed, before, after = self._fixed, self._before, self._after
        moved = np.where(self._covered, after, 0)
        pictures = [
            self._picture("Fixed", "the fixed scan", _gray(fixed)),
            self._picture("Before", "the moving scan as loaded", _gray(before), self._remark(self._loaded)),
            self._picture("After", "the moving scan, registered", _gray(moved), self._remark(self._covered)),
        ]
        if self._case.structures:
            pictures.append(
                self._picture(
                    "Outlines",
                    "the fixed scan with the structures' outlines: solid the fixed ones, dashed the propagated ones",
                    _gray(fixed),
                    self._outlines,
                )
            )
        elif self._case.found:
            what = "the fixed scan with dotted outlines of organs, found automatically; nobody reviewed them"
            pictures.append(self._picture(FOUND_ORGANS, what, _gray(fixed), self._found_outlines))
        pictures += [
            self._picture("Checkerboard", "fixed and registered scan in turns, square by square", self._checkerboard),
            self._difference("before", "moving as loaded minus fixed", before, self._loaded),
            self._difference("after", "registered minus fixed", after, self._covered),
            self._picture(
                VOLUME_CHANGE,
                "det J in colors; folds are black with white hatching",
                self._jacobian,
                self._fixed_outline,
            ),
            self._picture("Deformed grid", "the moving scan's grid on the fixed scan", self._lengths, self._grid),
        ]
        if self._case.similarity is not None:
            what = "how alike the scans are, bright where they differ, striped where nothing can be compared"
            pictures.append(self._picture(MAPS["local_similarity"].title, what, self._alike, self._fixed_outline))
        uncertainty, most = self._case.uncertainty, self._scale.uncertainty_mm
        if uncertainty is not None and most is not None:
            values = sample(uncertainty, self._points)
            colors = _striped(map_colors(np.nan_to_num(values) / most), np.isnan(values))
            what = "the error to expect, as estimated from the scans, bright where it is large"
            pictures.append(self._picture(MAPS["uncertainty_mm"].title, what, colors, self._fixed_outline))
        return pictures

    @cached_property
    def _fixed(self) -> Plane2D:
        values = _windowed(sample(self._case.fixed, self._points), self._fixed_window)
        return np.where(self._shown, values, 0)

    @cached_property
    def _before(self) -> Plane2D:
        values = _windowed(sample(self._case.moving, self._points), self._moving_window)
        return np.where(self._loaded, values, 0)

    @cached_property
    def _after(self) -> Plane2D:
        return _windowed(sample(self._case.moving, self._there), self._moving_window)

    @property
    def _checkerboard(self) -> Bytes:
        height, width = self._fixed.shape
        edge = max(height, width) / SQUARES
        turns = (np.arange(height) // edge)[:, None] + (np.arange(width) // edge)[None]
        return _gray(np.where(turns % 2 == 0, self._fixed, np.where(self._covered, self._after, 0)))

    def _difference(self, when: str, what: str, values: Plane2D, there: npt.NDArray[np.bool_]) -> Picture:
        """Middle gray where equal, or where one of the scans shows nothing."""
        pixels = _gray(np.where(there & self._shown, 0.5 + 0.5 * (values - self._fixed), 0.5))
        return self._picture(f"Difference {when}", what, pixels, self._remark(there))

    def _remark(self, there: npt.NDArray[np.bool_]) -> str:
        """Says so where the moving scan does not reach the plane at all."""
        if there.any():
            return ""
        width, height = self._plane.size
        return _text("no moving scan here", width / 2, height * 0.4, 0.8 * _unit(self._plane), "middle")

    @property
    def _jacobian(self) -> Bytes:
        jacobian = self._case.result.jacobian
        values = sample(jacobian, self._points, nearest=True)
        colors = jacobian_colors(values)
        rows, columns = np.indices(values.shape)
        colors[(values <= 0) & ((rows + columns) % 4 == 0)] = 255
        return colors

    @property
    def _alike(self) -> Bytes:
        """Colors of the local similarity; white with gray stripes where it is not defined."""
        similarity = self._case.similarity
        assert similarity is not None
        values = sample(similarity, self._points, nearest=True)
        values = np.where(similarity.grid.contains(self._points), values, np.nan)
        return _striped(map_colors(1 - np.nan_to_num(values)), np.isnan(values))

    @property
    def _lengths(self) -> Bytes:
        return map_colors(self._case.beyond_affine(self._points, self._there) / self._scale.longest_mm)

    @property
    def _grid(self) -> str:
        """Lines of constant position in the moving scan: its regular grid, as the map bends it."""
        lines = ""
        for direction in (self._plane.right, self._plane.down):
            position = self._there @ direction
            first, last = np.ceil(position.min() / self._scale.grid_mm), position.max() / self._scale.grid_mm
            lines += contours(position, np.arange(first, last + 1e-6) * self._scale.grid_mm, step=3)
        return stroke(lines, "#fff", self._line_width * 0.8)

    @cached_property
    def _fixed_contours(self) -> str:
        return _contours([fixed for fixed, _ in self._case.masks], self._points)

    @property
    def _fixed_outline(self) -> str:
        return stroke(self._fixed_contours, "#333", 0.8 * self._line_width)

    @property
    def _found_outlines(self) -> str:
        """Dots, fixed and propagated: a third style beside the lines and dashes of what somebody drew."""
        fixed, moving = zip(*self._case.found, strict=True)
        dots = f"{10 * self._line_width:.0f} {25 * self._line_width:.0f}"
        width = 1.2 * self._line_width
        return stroke(_contours(fixed, self._points), FIXED_CSS, width, dots, casing=0.6 * self._line_width) + stroke(
            _contours(moving, self._there), PROPAGATED_CSS, width, dots, casing=0.6 * self._line_width
        )

    @property
    def _outlines(self) -> str:
        propagated = _contours([moving for _, moving in self._case.masks], self._there)
        width = 1.5 * self._line_width
        dashes = f"{40 * self._line_width:.0f} {30 * self._line_width:.0f}"
        return stroke(self._fixed_contours, FIXED_CSS, width, casing=self._line_width) + stroke(
            propagated, PROPAGATED_CSS, width, dashes
        )

    @property
    def _line_width(self) -> float:
        """Pixels that look alike on the page, whatever the picture's own number of pixels is."""
        return _unit(self._plane) / 15

    def _picture(self, title: str, what: str, pixels: Bytes, lines: str = "") -> Picture:
        width, height = self._plane.size
        marks = _letters(self._plane) + _scale_bar(self._plane) + self._cross
        svg = (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' "
            f"height='{height}'>{vector.embedded(pixels)}{lines}{marks}</svg>"
        )
        alternative = f"{self._plane.name.capitalize()} plane at {self._plane.position}: {what}."
        return Picture(
            title=title, alternative=alternative, source=vector.data_address(svg), width=width, height=height
        )

    @property
    def _cross(self) -> str:
        """Four short lines around the place, which leave itself free."""
        x, y = (value + 0.5 for value in self._plane.pixel_of(self._place))
        near, far = 5 * self._line_width, 11 * self._line_width
        lines = "".join(
            f"M{x + dx * near:.1f} {y + dy * near:.1f}L{x + dx * far:.1f} {y + dy * far:.1f}"
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
        )
        width = 1.2 * self._line_width
        return (
            f"<path d='{lines}' stroke='#000' stroke-width='{2.2 * width:.1f}'/>"
            f"<path d='{lines}' stroke='#fff' stroke-width='{width:.1f}'/>"
        )


def finest_mm(case: Case) -> float:
    """Pixel size that shows what the finer of the two scans shows."""
    return max(0.7 * min(*case.fixed.grid.spacing, *case.moving.grid.spacing), 0.1)


def _contours(masks: Iterable[Volume], points: Points) -> str:
    return "".join(contours(_share(mask, points), [0.5]) for mask in masks)


def _share(mask: Volume, points: Points) -> Plane2D:
    """Share (0..1) of a structure at LPS points, interpolated between the voxels; 0 beyond its box."""
    return np.where(mask.grid.contains(points), sample(mask, points), 0)


def _unit(plane: ViewPlane) -> float:
    """Height of a letter in pixels, the same on the page for each shape of picture."""
    width, height = plane.size
    return max(width, height / 1.5) / 15


def _striped(colors: Bytes, where: npt.NDArray[np.bool_]) -> Bytes:
    """The colors with white and gray stripes where nothing is known."""
    rows, columns = np.indices(where.shape)
    colors[where] = 255
    colors[where & ((rows + columns) % 8 == 0)] = 150
    return colors


def _windowed(values: Plane2D, window: tuple[float, float]) -> Plane2D:
    low, high = window
    return ((values - low) / (high - low)).clip(0, 1)


def _gray(values: Plane2D) -> Bytes:
    """Gray bytes of values 0..1, in 127 steps: half the file for a difference that no eye sees; 0.5 is a step."""
    return (np.round(values * 126) * (255 / 126)).round().astype(np.uint8)


def _letters(plane: ViewPlane) -> str:
    width, height = plane.size
    size = _unit(plane)
    left, right, top, bottom = tuple(plane.letters)
    spots = (
        (left, 0.3 * size, height / 2 + 0.35 * size, "start"),
        (right, width - 0.3 * size, height / 2 + 0.35 * size, "end"),
        (top, width / 2, size, "middle"),
        (bottom, width / 2, height - 0.35 * size, "middle"),
    )
    return "".join(_text(letter, x, y, size, anchor) for letter, x, y, anchor in spots)


def _scale_bar(plane: ViewPlane) -> str:
    width, height = plane.size
    size = _unit(plane)
    room = 0.4 * width * plane.pixel_mm
    length = max((one for one in ROUND_LENGTHS if one <= room), default=ROUND_LENGTHS[0])
    x, y, long = 0.4 * size, height - 0.5 * size, length / plane.pixel_mm
    bar = f"M{x:.1f} {y:.1f}h{long:.1f}"
    return (
        f"<path d='{bar}' stroke='#000' stroke-width='{0.32 * size:.1f}'/>"
        f"<path d='{bar}' stroke='#fff' stroke-width='{0.16 * size:.1f}'/>"
        + _text(f"{length:g} mm", x, y - 0.35 * size, 0.75 * size, "start")
    )


def _text(text: str, x: float, y: float, size: float, anchor: str) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-family='sans-serif' font-size='{size:.1f}' text-anchor='{anchor}' "
        f"fill='#fff' stroke='#000' stroke-width='{0.22 * size:.1f}' paint-order='stroke'>{text}</text>"
    )
