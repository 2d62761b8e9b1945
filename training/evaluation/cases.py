"""The pairs of the benchmark, read from ``shared/data`` beside the repository (or the folder that is given)."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from DeepLargeDeformRegLib.cohort.pairs import CohortPair
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import (
    pair_landmarks,
    read_label_map,
    read_landmark_pairs,
    read_landmarks,
    read_volume,
)
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, LabelMap, LandmarkPairs, Pair, Scan, Volume
from DeepLargeDeformRegLib.core.labels import with_matches
from DeepLargeDeformRegLib.core.presets import find_preset

from ..config import ROOT

DATA = ROOT.parent / "shared" / "data"


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """A pair as it is loaded, its truth, and what every method is given.

    Args:
        name: as in the table.
        preset: ours for it.
        spacing_mm: of the common grid on which peers work.
        window: intensities that peers see, as their users would clip them; None leaves the scan's own.
        guides: True if the labels may guide a registration; otherwise they only measure it.
        align_for_peers: True if peers get the moving scan through our linear alignment, as they do not search for
            scans of two patients that lie decimeters apart.
    """

    name: str
    preset: str
    spacing_mm: float
    fixed: Volume
    moving: Volume
    fixed_labels: LabelMap | None = None
    moving_labels: LabelMap | None = None
    landmarks: LandmarkPairs | None = None
    window: tuple[float, float] | None = None
    guides: bool = False
    align_for_peers: bool = False

    def pair(self, known: bool = True) -> Pair:
        """Both scans, with all that is known of them or alone."""
        if not known:
            return Pair(Scan(self.fixed), Scan(self.moving))
        fixed, moving = Scan(self.fixed, self.fixed_labels), Scan(self.moving, self.moving_labels)
        return Pair(fixed, moving).with_landmarks(self.landmarks)

    def guiding_pair(self) -> Pair:
        """Both scans with what may guide a registration, and nothing else."""
        return self.pair(known=self.guides).with_landmarks(None)


def lung(data: Path) -> list[Case]:
    """The right lung of one patient at two times, 35 mm apart as loaded; without and with its masks as a guide."""
    folder = data / "lung-pair"
    points = np.genfromtxt(folder / "landmarks_lps.csv", delimiter=",", skip_header=1)
    landmarks = LandmarkPairs(points[:, :3], points[:, 3:6], tuple(str(n) for n in range(len(points))))
    fixed, moving = (read_volume(folder / f"{name}.nii.gz") for name in ("fixed", "moving"))
    masks = [_labels(folder / f"{name}_mask.nii.gz", {1: "lung"}) for name in ("fixed", "moving")]
    return [
        Case(
            name=name,
            preset="lung-ct",
            spacing_mm=1.75,
            fixed=fixed,
            moving=moving,
            fixed_labels=masks[0],
            moving_labels=masks[1],
            landmarks=landmarks,
            window=(-1000.0, 600.0),
            guides=guides,
        )
        for name, guides in (("lung", False), ("lung, masks guide", True))
    ]


def liver_mr(data: Path) -> list[Case]:
    """Breathing phases of two volunteers' livers against the end-exhale master."""
    cases = []
    for volunteer, phase in (("18", "cyc_3_10"), ("18", "cyc_1_10"), ("19", "cyc_1_6"), ("19", "cyc_1_9")):
        folder = data / "liver-4dmri" / f"volunteer-{volunteer}"
        points = [
            np.genfromtxt(folder / f"{name}_landmarks_liver.csv", delimiter=",", skip_header=1)[:, -3:]
            for name in ("exhMaster", phase)
        ]
        landmarks = LandmarkPairs(points[0], points[1], tuple(str(n) for n in range(len(points[0]))))
        fixed, moving = (read_volume(folder / f"{name}.nii.gz") for name in ("exhMaster", phase))
        cases.append(
            Case(
                name=f"liver MR {volunteer} {phase}",
                preset="any",
                spacing_mm=2.0,
                fixed=fixed,
                moving=moving,
                landmarks=landmarks,
            )
        )
    return cases


# Folder and value of the liver of the three development patients.
ABDOMENS = {
    "chaos-01": ("abdomen-ct", 1),
    "totalsegmentator-example": ("abdomen-ct", 5),
    "ccth-a01": ("torso-ct", 1),
}


def abdomen(
    data: Path,
    spacing_mm: float = 3.0,
    guided: tuple[bool, ...] = (False, True),
    patients: Sequence[str] = tuple(ABDOMENS),
) -> list[Case]:
    """All ordered pairs of patients' abdomens; their livers measure, and guide where the name says so."""
    scans: dict[str, Volume] = {}
    livers: dict[str, LabelMap] = {}
    for name in patients:
        source, value = ABDOMENS[name]
        folder = data / source / name
        scans[name] = read_volume(folder / "image.nii.gz")
        livers[name] = _labels(folder / "labels.nii.gz", {value: "liver"})
    cases = []
    for guides in guided:
        for fixed, moving in itertools.permutations(patients, 2):
            name = f"abdomen {fixed} <- {moving}, {spacing_mm:g} mm" + (", livers guide" if guides else "")
            cases.append(
                Case(
                    name=name,
                    preset="liver-ct",
                    spacing_mm=spacing_mm,
                    fixed=scans[fixed],
                    moving=scans[moving],
                    fixed_labels=livers[fixed],
                    moving_labels=livers[moving],
                    window=(-150.0, 250.0),
                    guides=guides,
                    align_for_peers=True,
                )
            )
    return cases


def abdomen_cut(data: Path) -> list[Case]:
    """The same with slices cut off one of the two scans: scans of other patients end elsewhere, too."""
    cuts = (("fixed", "top", 30.0), ("moving", "top", 30.0), ("fixed", "bottom", 60.0), ("moving", "bottom", 100.0))
    cases = []
    for case in abdomen(data, guided=(False,), patients=("chaos-01", "totalsegmentator-example")):
        for side, end, length_mm in cuts:
            names = (side, f"{side}_labels")
            shorter = {name: _without_slices(getattr(case, name), end, length_mm) for name in names}
            cases.append(replace(case, name=f"{case.name}, {side} without {length_mm:g} mm at the {end}", **shorter))
    return cases


def lung_vessels(data: Path) -> list[Case]:
    """Vessel trees of six patients at two breathing states, painted as CT: true motion, intensities of our own."""
    folder = data / "lung-shapes" / "vessel-pairs"
    names = sorted({path.name.split("_")[0] for path in folder.glob("case*_1.nii.gz")})
    if not names:
        raise FileNotFoundError(folder)
    structures = {1: "vessels 1", 2: "vessels 2"}
    window = (-1000.0, 600.0)
    cases = []
    for number, name in enumerate(names):
        first, second = (_labels(folder / f"{name}_{state}.nii.gz", structures) for state in (1, 2))
        fixed, moving = (_painted(labels, 2 * number + state) for state, labels in enumerate((first, second)))
        cases.append(
            Case(
                name=f"lung vessels {name}",
                preset="lung-ct",
                spacing_mm=1.75,
                fixed=fixed,
                moving=moving,
                fixed_labels=first,
                moving_labels=second,
                window=window,
            )
        )
    return cases


def hippocampus(data: Path) -> list[Case]:
    """The test pairs of the hippocampus data set."""
    folder = data / "hippocampus"
    structures = {1: "anterior", 2: "posterior"}
    with (folder / "test_pairs.csv").open(newline="", encoding="utf-8") as file:
        rows = [row[:2] for row in csv.reader(file)][1:]
    cases = []
    for fixed, moving in rows:
        first, second = (read_volume(folder / "images" / f"{name}.nii.gz") for name in (fixed, moving))
        labels = [_labels(folder / "labels" / f"{name}.nii.gz", structures) for name in (fixed, moving)]
        cases.append(
            Case(
                name=f"hippocampus {fixed} <- {moving}",
                preset="mr-hippocampus",
                spacing_mm=1.0,
                fixed=first,
                moving=second,
                fixed_labels=labels[0],
                moving_labels=labels[1],
            )
        )
    return cases


GROUPS: dict[str, Callable[[Path], list[Case]]] = {
    "lung": lung,
    "liver-mr": liver_mr,
    "abdomen": abdomen,
    "abdomen-2mm": lambda data: abdomen(data, 2.0, (False,)),
    "abdomen-cut": abdomen_cut,
    "hippocampus": hippocampus,
    "lung-vessels": lung_vessels,
}


def load_cases(groups: list[str], data: Path = DATA, most: int = 10) -> list[Case]:
    """The first ``most`` cases of each of the named groups.

    Raises:
        BadInputError: if a group does not exist or its data are not there.
    """
    cases: list[Case] = []
    for group in groups:
        if group not in GROUPS:
            raise BadInputError(f"There are no benchmark cases '{group}'; there are {', '.join(GROUPS)}.")
        try:
            cases += GROUPS[group](data)[:most]
        except FileNotFoundError as error:
            raise BadInputError(f"The data of '{group}' are not in the data folder.", str(error)) from error
    return cases


def own_cases(pairs: Sequence[CohortPair], preset: str, spacing_mm: float) -> list[Case]:
    """A user's own pairs; their structures and landmarks measure, and guide no method.

    Args:
        pairs: of a cohort's table.
        preset: ours, for pairs that name none.
        spacing_mm: of the common grid on which peers work.

    Raises:
        BadInputError: if a file cannot be read.
    """
    return [_own_case(pair, preset, spacing_mm) for pair in pairs]


def _own_case(pair: CohortPair, preset: str, spacing_mm: float) -> Case:
    volumes = [read_volume(pair.files[side]) for side in ("fixed", "moving")]
    paths = [pair.files.get(f"{side}_segmentation") for side in ("fixed", "moving")]
    labels = [
        None if path is None else read_label_map(path, volume.grid)
        for path, volume in zip(paths, volumes, strict=True)
    ]
    if labels[0] is not None and labels[1] is not None and pair.match:
        labels[1] = with_matches(labels[0], labels[1], pair.match)
    landmarks = None
    if "landmarks" in pair.files:
        landmarks = read_landmark_pairs(pair.files["landmarks"])
    elif "fixed_landmarks" in pair.files:
        points = [
            read_landmarks(pair.files[f"{side}_landmarks"], volume.grid)
            for side, volume in zip(("fixed", "moving"), volumes, strict=True)
        ]
        landmarks = pair_landmarks(*points)
    chosen = find_preset(pair.preset or preset)
    return Case(
        name=pair.name,
        preset=chosen.name,
        spacing_mm=spacing_mm,
        fixed=volumes[0],
        moving=volumes[1],
        fixed_labels=labels[0],
        moving_labels=labels[1],
        landmarks=landmarks,
        window=chosen.windows[0] if chosen.windows else None,
        align_for_peers=True,
    )


def _painted(vessels: LabelMap, seed: int) -> Volume:
    """Vessels in lungs that reach beyond them a little, within soft tissue; HU, the same for the same seed."""
    random = np.random.default_rng(seed)
    tree = sitk.GetImageFromArray((vessels.array > 0).astype(np.uint8))
    tree.SetSpacing(vessels.grid.spacing)
    reach_mm = 20.0  # between branches
    grown = sitk.SignedMaurerDistanceMap(tree, squaredDistance=False, useImageSpacing=True) < reach_mm
    depth = sitk.SignedMaurerDistanceMap(grown, squaredDistance=False, useImageSpacing=True)
    lungs = sitk.GetArrayViewFromImage(depth) < 6.0 - reach_mm
    air = random.uniform(-890.0, -780.0)
    image = np.where(vessels.array > 0, -250.0, np.where(lungs, air, 40.0)).astype(np.float32)
    smooth = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(image), 1.0)
    noise = random.normal(0.0, 20.0, image.shape)
    return Volume((sitk.GetArrayViewFromImage(smooth) + noise).astype(np.float32), vessels.grid)


def _without_slices(image: Any, end: str, length_mm: float) -> Any:
    """A volume or label map without its last slices at the top or bottom of the body."""
    grid: ImageGrid = image.grid
    count = round(length_mm / grid.spacing[2])
    first = count if (grid.direction_matrix[2, 2] > 0) == (end == "bottom") else 0
    kept = grid.size[2] - count
    return replace(
        image,
        array=image.array[first : first + kept],
        grid=grid.cropped((0, 0, first), (grid.size[0], grid.size[1], kept)),
    )


def _labels(path: Path, structures: dict[int, str]) -> LabelMap:
    volume = read_volume(path)
    array = volume.array.round().astype(np.int16)
    array[~np.isin(array, list(structures))] = 0
    # Values differ between data sets; names are what two of them share.
    return LabelMap(array, volume.grid, tuple(Label(value=value, name=name) for value, name in structures.items()))
