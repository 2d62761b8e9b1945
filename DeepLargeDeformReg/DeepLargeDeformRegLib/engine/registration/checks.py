"""What is asked of scans and outlines before a registration begins, wherever they come from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...core.errors import BadInputError
from ...core.geometry import ImageGrid
from ...core.images import LabelMap, Pair, Scan
from ...core.sentences import marked as _
from ...core.subjects import the

LONGEST_MM = 2500.0  # of a scan: taller than a patient
LEAST_VOXELS = 4  # of a region and of the transform's grid, along each axis
FINEST = 0.25  # of a voxel: a finer grid of the transform says nothing more, and takes all memory
SHORTEST_MM = 1.0  # of the longest axis: a scan of 300 mm whose file counts meters has 0.3


def check_inputs(pair: Pair, region: LabelMap | None, output_spacing_mm: float | None) -> None:
    """Refuse inputs that no registration can begin with.

    Args:
        pair: scans that hold nothing to align, or are of no patient's size, and empty segmentations are refused.
        region: of interest; an empty one is refused.
        output_spacing_mm: of the transform's grid; None for that of the fixed scan.

    Raises:
        BadInputError: one line that says which input, and what to do.
    """
    for name, scan in (("fixed", pair.fixed), ("moving", pair.moving)):
        _check_scan(name, scan)
    if region is not None and not region.array.any():
        raise BadInputError(_("The region of interest is empty; draw it again or leave it out."))
    if output_spacing_mm is not None:
        _check_output_grid(pair.fixed.grid, output_spacing_mm)


def check_working_region(grid: ImageGrid, drawn: bool) -> None:
    """Refuse a part of the fixed scan that is too small to be registered.

    Args:
        grid: the part.
        drawn: True if the user drew it, False if it is what both scans cover.
    """
    if min(grid.size) >= LEAST_VOXELS:
        return
    size = " x ".join(str(n) for n in grid.size)
    if drawn:
        text = _("The region of interest has only {size} voxels; draw it larger, or leave it out.")
    else:
        text = _("The two scans have only {size} voxels in common; check that both show the same part of the body.")
    raise BadInputError(text.format(size=size))


def _check_output_grid(grid: ImageGrid, spacing_mm: float) -> None:
    """Refuse a grid of the transform that is far finer than the fixed scan's, or has hardly a node."""
    finest = FINEST * min(grid.spacing)
    coarsest = max(*grid.spacing, min(grid.extent) / LEAST_VOXELS)
    if not finest <= spacing_mm <= coarsest:
        text = _(
            "A grid spacing of {spacing:g} mm does not suit the fixed scan; choose one between {finest:.3g} and "
            "{coarsest:.3g} mm."
        )
        raise BadInputError(text.format(spacing=spacing_mm, finest=finest, coarsest=coarsest))


def check_initial(linear: npt.NDArray[np.float64]) -> None:
    """Refuse a linear initial transform (4, 4) that mirrors: no tissue can follow it, and no repair undoes it."""
    if np.linalg.det(linear[:3, :3]) < 0:
        raise BadInputError(
            _(
                "The initial transform mirrors the body; were RAS and LPS mixed up when it was made? Make it anew, "
                "or leave it out."
            )
        )


def _check_scan(name: str, scan: Scan) -> None:
    lowest, highest, said = scan.volume.array.min(), scan.volume.array.max(), the(f"{name} scan", first=True)
    if not (np.isfinite(lowest) and np.isfinite(highest)):  # both hand on what is not finite
        text = _("{scan} contains values that are not numbers; repair or re-export it.")
        raise BadInputError(text.format(scan=said))
    if lowest == highest:
        raise BadInputError(_("{scan} is the same everywhere; it holds nothing to align.").format(scan=said))
    longest = max(scan.volume.grid.extent)
    if not SHORTEST_MM <= longest <= LONGEST_MM:
        text = _(
            "{scan} is {longest:g} mm long, as no patient is; its voxel spacing is wrong, or in another unit than "
            "millimeters: correct it."
        )
        raise BadInputError(text.format(scan=said, longest=longest))
    if scan.labels is not None and not scan.labels.array.any():
        said = the(f"{name} segmentation", first=True)
        raise BadInputError(_("{labels} is empty; choose another one or leave it out.").format(labels=said))
