"""The DIR-Lab data sets 4DCT and COPDgene: raw voxels without a header, and text files of landmarks.

Castillo et al., Phys. Med. Biol. 54 (2009) 1849 and 55 (2010) 305 (4DCT), 58 (2013) 2861 (COPDgene); www.dir-lab.com.
What the files do not say: voxels are 16-bit signed little-endian integers, x fastest, of HU + 1024, with -2000
outside of the scanner's field of view; slices run from head to feet; landmarks are voxel indices from **1**. Here
slices are turned to run from feet to head, so that the grid's axes are LPS, and landmarks with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import check_same_space, read_label_map
from DeepLargeDeformRegLib.core.files.common import read_text
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, LandmarkPairs, Volume

from .subjects import DataSet, Pair, Subject, volume_files

AIR = -1024.0


@dataclass(frozen=True)
class Case:
    """Size (voxels) and spacing (mm) of a case, as published with the data."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def grid(self) -> ImageGrid:
        """The scan's grid, slices from feet to head, first voxel at the origin."""
        return ImageGrid.axis_aligned(self.size, self.spacing)


def _case(x: int, z: int, spacing: float) -> Case:
    return Case((x, x, z), (spacing, spacing, 2.5))


CASES_4DCT: Mapping[int, Case] = {
    1: _case(256, 94, 0.97),
    2: _case(256, 112, 1.16),
    3: _case(256, 104, 1.15),
    4: _case(256, 99, 1.13),
    5: _case(256, 106, 1.10),
    6: _case(512, 128, 0.97),
    7: _case(512, 136, 0.97),
    8: _case(512, 128, 0.97),
    9: _case(512, 128, 0.97),
    10: _case(512, 120, 0.97),
}
CASES_COPDGENE: Mapping[int, Case] = {
    1: _case(512, 121, 0.625),
    2: _case(512, 102, 0.645),
    3: _case(512, 126, 0.652),
    4: _case(512, 126, 0.590),
    5: _case(512, 131, 0.647),
    6: _case(512, 119, 0.633),
    7: _case(512, 112, 0.625),
    8: _case(512, 115, 0.586),
    9: _case(512, 116, 0.664),
    10: _case(512, 135, 0.742),
}


def dirlab_4dct(
    folder: Path,
    fixed: str = "inspiration",
    landmarks: int = 300,
    masks: str = "",
    intensity_offset: float = -1024.0,
    cases: Mapping[int, Case] = CASES_4DCT,
) -> DataSet:
    """DIR-Lab 4DCT: ten patients, each at ten phases T00 (end of inspiration) ... T50 (of expiration) ... T90.

    Subjects are called ``case1_T00``. The extreme phases of each case are the pairs of the split ``test``. File names
    differ between the cases (``case1_T00_s.img``, ``case6_T00.img``, ``Case8Deploy`` ...), so files are found by
    case, phase and kind.

    Args:
        folder: holds the unpacked ``Case1Pack`` ... ; cases that are not there are left out.
        fixed: ``"inspiration"`` or ``"expiration"``.
        landmarks: 300 of the extreme phases or 75 of the sampled ones.
        masks: folder of lung masks called like the subjects (made by yourself: the data set has none), in
            ``folder``, on the grid that this reader gives.
        intensity_offset: added to the stored values to get HU.
        cases: sizes and spacings.

    Raises:
        BadInputError: if no case is found, a landmark file is missing, or a file has not the size of its case.
    """
    kind = r"4D-?75" if landmarks == 75 else r"300"
    if landmarks not in (75, 300):
        raise BadInputError(f"DIR-Lab 4DCT has 300 or 75 landmarks a case, not {landmarks}.")
    return _open(
        folder,
        cases,
        "case",
        {f"T{phase}0": rf"T{phase}0" for phase in range(10)},
        {"inspiration": "T00", "expiration": "T50"},
        lambda state: rf".*{kind}.*{state}.*\.txt",
        fixed,
        masks,
        intensity_offset,
    )


def dirlab_copdgene(
    folder: Path,
    fixed: str = "inspiration",
    masks: str = "",
    intensity_offset: float = -1024.0,
    cases: Mapping[int, Case] = CASES_COPDGENE,
) -> DataSet:
    """DIR-Lab COPDgene: ten patients at full inspiration (``copd1_iBH``) and expiration (``copd1_eBH``).

    All pairs are of the split ``test``. Arguments and errors as for :func:`dirlab_4dct`; the folder holds the
    unpacked ``copd1`` ... with ``copd1_iBHCT.img`` and ``copd1_300_iBH_xyz_r1.txt`` at any depth.
    """
    return _open(
        folder,
        cases,
        "copd",
        {"iBH": "iBH", "eBH": "eBH"},
        {"inspiration": "iBH", "expiration": "eBH"},
        lambda state: rf".*300.*{state}.*\.txt",
        fixed,
        masks,
        intensity_offset,
    )


def read_raw(path: Path, case: Case, intensity_offset: float = -1024.0) -> Volume:
    """Scan of a raw file, HU, on the case's grid; what lies outside of the field of view is air.

    Raises:
        BadInputError: if the file has not the size that the case's voxels need.
    """
    wanted = 2 * int(np.prod(case.size))
    size = path.stat().st_size
    if size != wanted:
        what = " x ".join(str(n) for n in case.size)
        raise BadInputError(
            f"{path.name} has {size} bytes instead of {wanted} ({what} voxels of 16 bits); it is damaged, still "
            "packed, or of another case."
        )
    stored = np.fromfile(path, dtype="<i2").reshape(case.grid.shape)
    values = stored[::-1].astype(np.float32) + np.float32(intensity_offset)
    return Volume(np.maximum(values, AIR), case.grid)


def read_indices(path: Path, case: Case) -> npt.NDArray[np.float64]:
    """LPS positions (n, 3) mm of a landmark file: voxel indices from 1, x y z, one landmark a line.

    Raises:
        BadInputError: if the file is no such table, or an index is not one of the case.
    """
    rows = [line.replace(",", " ").split()[:3] for line in read_text(path).splitlines() if line.strip()]
    try:
        index = np.array(rows, dtype=np.float64).reshape(-1, 3) - 1
    except ValueError as error:
        raise BadInputError(f"{path.name} is no table of voxel indices x y z.", detail=str(error)) from error
    if np.any(index < -0.5) or np.any(index > np.array(case.size) - 0.5):
        raise BadInputError(f"{path.name} has landmarks outside of the scan; it is of another case.")
    index[:, 2] = case.size[2] - 1 - index[:, 2]
    return case.grid.to_physical(index)


def _open(
    folder: Path,
    cases: Mapping[int, Case],
    prefix: str,
    states: Mapping[str, str],
    extremes: Mapping[str, str],
    landmark_pattern: Callable[[str], str],
    fixed: str,
    masks: str,
    intensity_offset: float,
) -> DataSet:
    if fixed not in extremes:
        raise BadInputError(f"The fixed scan is that of inspiration or expiration, not {fixed!r}.")
    if not folder.is_dir():
        raise BadInputError(f"There is no folder {folder.name}; were the cases downloaded and unpacked?")
    regions = volume_files(folder / masks) if masks else {}
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".img", ".txt")]
    subjects: dict[str, Subject] = {}
    pairs = []
    for number, case in cases.items():
        # Not "case1" within "case10": no digit may follow.
        own = [path for path in files if re.match(rf"{prefix}{number}(?!\d)", path.name, re.IGNORECASE)]
        for state, pattern in states.items():
            image = _one(own, rf".*{pattern}.*\.img")
            if image is not None:
                name = f"{prefix}{number}_{state}"
                region = partial(_mask, regions[name], case) if name in regions else None
                read = partial(read_raw, image, case, intensity_offset)
                subjects[name] = Subject(
                    name=name, read_image=read, read_labels=None, read_mask=region, patient=f"{prefix}{number}"
                )
        ends = [f"{prefix}{number}_{extremes[end]}" for end in (fixed, *(end for end in extremes if end != fixed))]
        if not all(end in subjects for end in ends):
            continue
        points = [_one(own, landmark_pattern(end.rpartition("_")[2])) for end in ends]
        if points[0] is None or points[1] is None:
            raise BadInputError(f"The landmark files of {prefix}{number} are missing; unpack the whole case.")
        read_points = partial(_read_pairs, points[0], points[1], case)
        pairs.append(Pair(subjects[ends[0]], subjects[ends[1]], read_points))
    if not subjects:
        raise BadInputError(f"{folder.name} holds no raw scans called {prefix}1... (*.img), at any depth.")
    return DataSet(subjects, {"test": pairs})


def _one(files: Iterable[Path], pattern: str) -> Path | None:
    """The file of a pattern; of several copies the one whose path is shortest."""
    found = [path for path in files if re.fullmatch(pattern, path.name, re.IGNORECASE)]
    return min(found, key=lambda path: (len(path.parts), len(path.name)), default=None)


def _mask(path: Path, case: Case) -> LabelMap:
    mask = read_label_map(path, what="lung mask")
    check_same_space(mask.grid, case.grid, "lung mask", "scan")
    return mask


def _read_pairs(fixed: Path, moving: Path, case: Case) -> LandmarkPairs:
    return LandmarkPairs(read_indices(fixed, case), read_indices(moving, case))
