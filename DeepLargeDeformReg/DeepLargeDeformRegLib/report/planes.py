"""Planes through the patient: axial, coronal and sagittal, whatever the directions of the scan's own axes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..core.images import Volume
from ..engine import fields
from ..engine.fields import as_tensor

Points = npt.NDArray[np.float64]
Plane2D = npt.NDArray[np.float32]
LONGEST = 288  # pixels along the longer side: what a column of the page shows, twice over

# Name -> LPS directions of a picture's right and down, and the letters at its left, right, top and bottom edge.
# As radiologists look: the patient's right at the left, the nose up or to the left, the head up.
_ORIENTATIONS = {
    "axial": ((1, 0, 0), (0, 1, 0), "RLAP"),
    "coronal": ((1, 0, 0), (0, 0, -1), "RLSI"),
    "sagittal": ((0, 1, 0), (0, 0, -1), "APSI"),
}


@dataclass(frozen=True, eq=False)
class Box:
    """A box along the LPS axes, mm."""

    low: Points
    high: Points

    @classmethod
    def around(cls, points: Points, margin_mm: float = 0.0) -> Box:
        """Smallest box around points (n, 3), widened by a margin."""
        return cls(points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm)

    def within(self, other: Box) -> Box:
        """What both boxes cover."""
        return Box(np.maximum(self.low, other.low), np.minimum(self.high, other.high))


@dataclass(frozen=True, eq=False, kw_only=True)
class ViewPlane:
    """A picture's pixels in physical space.

    Args:
        name: axial, coronal or sagittal.
        corner: LPS position of the center of the pixel at the upper left, mm.
        right: LPS direction of the picture's rows.
        down: LPS direction of its columns.
        size: pixels, width and height.
        pixel_mm: edge of a pixel.
        letters: what lies at the left, right, top and bottom.
    """

    name: str
    corner: Points
    right: Points
    down: Points
    size: tuple[int, int]
    pixel_mm: float
    letters: str

    def points(self) -> Points:
        """LPS positions of the pixels, ``(h, w, 3)`` mm."""
        width, height = self.size
        along = np.arange(width)[None, :, None] * self.right
        across = np.arange(height)[:, None, None] * self.down
        return self.corner + self.pixel_mm * (along + across)

    def pixel_of(self, point: Points) -> tuple[float, float]:
        """Pixel (x, y), with fractions, below an LPS point."""
        offset = (point - self.corner) / self.pixel_mm
        return float(offset @ self.right), float(offset @ self.down)

    @property
    def position(self) -> str:
        """Where the plane cuts, in words: anatomical side and millimeters from the scanner's origin."""
        axis = {"axial": 2, "coronal": 1, "sagittal": 0}[self.name]
        value = self.corner[axis]
        return f"{'LPS'[axis] if value >= 0 else 'RAI'[axis]} {abs(value):.1f} mm"


def planes_through(point: Points, box: Box, finest_mm: float) -> list[ViewPlane]:
    """The three planes through an LPS point, cut to a box; pixels no finer than ``finest_mm``."""
    planes = []
    extent = np.maximum(box.high - box.low, finest_mm)
    for name, (right, down, letters) in _ORIENTATIONS.items():
        across, along = np.array(right, dtype=np.float64), np.array(down, dtype=np.float64)
        width, height = extent @ np.abs(across), extent @ np.abs(along)
        pixel = max(finest_mm, float(width) / LONGEST, float(height) / LONGEST)
        size = (max(int(width / pixel) + 1, 2), max(int(height / pixel) + 1, 2))
        corner = np.array(point, dtype=np.float64)
        for direction in (across, along):
            axis = int(np.abs(direction).argmax())
            corner[axis] = box.low[axis] if direction[axis] > 0 else box.high[axis]
        planes.append(
            ViewPlane(name=name, corner=corner, right=across, down=along, size=size, pixel_mm=pixel, letters=letters)
        )
    return planes


def sample(volume: Volume, points: Points, nearest: bool = False) -> Plane2D:
    """Values of a volume at LPS points ``(..., 3)``, trilinear or nearest; beyond its border the border's value."""
    index = torch.from_numpy(volume.grid.to_index(points.reshape(-1, 3)).T.copy()).to(torch.float32)
    mode = "nearest" if nearest else "bilinear"
    found = fields.sample(as_tensor(volume), index.reshape(1, 3, 1, 1, -1), mode, "border")
    return found.reshape(points.shape[:-1]).numpy()
