"""Real pairs, registered once and quickly: a small memory makes the engine work on coarse voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core import files, images
from DeepLargeDeformRegLib.core.images import Label, LabelMap, LandmarkPairs, Volume
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine.evaluation import warped_labels
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.metrics import MeasureInput
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, RegistrationResult, register

from training.evaluation import cases as benchmark_cases

MEMORY_MB = 40
LIVER = (Label(value=1, name="liver"),)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A fixed and a moving scan with what is known of them."""

    fixed: Volume
    moving: Volume
    fixed_labels: LabelMap | None
    moving_labels: LabelMap | None
    landmarks: LandmarkPairs | None = None

    def request(self, with_labels: bool, preset: str, model: str | None = "none") -> RegistrationRequest:
        settings = RegistrationSettings(
            preset=preset, model=model, fold_free=True, device="cpu", memory_limit_mb=MEMORY_MB, iterations=30
        )
        pair = self.scans() if with_labels else self.bare().with_landmarks(self.landmarks)
        return RegistrationRequest(pair=pair, settings=settings)

    def bare(self) -> images.Pair:
        """The scans alone."""
        return images.Pair(images.Scan(self.fixed), images.Scan(self.moving))

    def scans(self) -> images.Pair:
        """The scans with all that is known of them."""
        fixed, moving = images.Scan(self.fixed, self.fixed_labels), images.Scan(self.moving, self.moving_labels)
        return images.Pair(fixed, moving).with_landmarks(self.landmarks)


def input_of(field: DisplacementField, pair: images.Pair, guided_by_labels: bool = False) -> MeasureInput:
    """What a map does to a pair, to be measured."""
    labels = warped_labels(pair, field)
    return MeasureInput(field=field, pair=pair, warped_labels=labels, guided_by_labels=guided_by_labels)


@pytest.fixture(scope="session")
def lungs(sample_case: Path) -> Pair:
    return Pair(
        fixed=files.read_volume(sample_case / "fixed.nii.gz"),
        moving=files.read_volume(sample_case / "moving.nii.gz"),
        fixed_labels=files.read_label_map(sample_case / "fixed_mask.nii.gz"),
        moving_labels=files.read_label_map(sample_case / "moving_mask.nii.gz"),
        landmarks=files.read_landmark_pairs(sample_case / "landmarks_lps.csv"),
    )


@pytest.fixture(scope="session")
def abdomens(shared_data: Path) -> Pair:
    """Two patients on voxels of 6 mm; the liver of each."""
    scans = []
    for name, value in (("chaos-01", 1), ("totalsegmentator-example", 5)):
        folder = shared_data / "abdomen-ct" / name
        image, labels = (sitk.ReadImage(str(folder / f"{kind}.nii.gz")) for kind in ("image", "labels"))
        factors = [max(1, round(6 / spacing)) for spacing in image.GetSpacing()]
        volume = Volume.from_image(sitk.BinShrink(image, factors))
        liver = sitk.Resample(labels == value, volume.to_image(), sitk.Transform(), sitk.sitkNearestNeighbor)
        array = sitk.GetArrayFromImage(liver).astype(np.int16)
        scans.append((volume, LabelMap(array, volume.grid, LIVER)))
    (fixed, fixed_labels), (moving, moving_labels) = scans
    return Pair(fixed=fixed, moving=moving, fixed_labels=fixed_labels, moving_labels=moving_labels)


@pytest.fixture(scope="session")
def hippocampi(shared_data: Path) -> Pair:
    """The hippocampus of two people, its head and its tail outlined."""
    return _pair(benchmark_cases.hippocampus(shared_data)[3])


@pytest.fixture(scope="session")
def breathing_liver(shared_data: Path) -> Pair:
    """MR of one person's liver at two breathing states, 20 mm apart."""
    return _pair(benchmark_cases.liver_mr(shared_data)[1])


def _pair(case: benchmark_cases.Case) -> Pair:
    return Pair(
        fixed=case.fixed,
        moving=case.moving,
        fixed_labels=case.fixed_labels,
        moving_labels=case.moving_labels,
        landmarks=case.landmarks,
    )


@pytest.fixture(scope="session")
def registered_lungs(lungs: Pair) -> RegistrationResult:
    return register(lungs.request(with_labels=True, preset="lung-ct"))


@pytest.fixture(scope="session")
def lung_field(registered_lungs: RegistrationResult) -> DisplacementField:
    return registered_lungs.field
