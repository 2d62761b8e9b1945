"""What is asked of scans and outlines before a registration begins, wherever they come from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...core.errors import BadInputError
from ...core.images import LabelMap, Pair, Scan
from ...core.sentences import marked as _
from ...core.subjects import the

LONGEST_MM = 2500.0  # of a scan: taller than a patient
SHORTEST_MM = 1.0  # of the longest axis: a scan of 300 mm whose file counts meters has 0.3


def check_scans(pair: Pair) -> None:
    """Refuse scans that hold nothing to align, or are of no patient's size, and empty segmentations.

    Raises:
        BadInputError: one line that names the scan.
    """
    for name, scan in (("fixed", pair.fixed), ("moving", pair.moving)):
        _check_scan(name, scan)


def check_region(region: LabelMap | None) -> None:
    """Refuse an empty region of interest."""
    if region is not None and not region.array.any():
        raise BadInputError(_("The region of interest is empty; draw it again or leave it out."))


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
