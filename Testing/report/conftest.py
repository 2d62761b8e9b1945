"""Reports to look at: of two real registrations, made once a session, and of a small phantom."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, LabelMap, LandmarkPairs, Pair, Scan, Volume
from DeepLargeDeformRegLib.core.metrics import Metrics
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.evaluation import Evaluation
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.job import RegistrationJob, run_job
from DeepLargeDeformRegLib.report import write_report

from Testing.report.browser import Page, browser_page, chromium


@dataclass(frozen=True)
class Written:
    """A report, the metrics that were written beside it, and the transform."""

    report: Path
    metrics: dict[str, Any]
    transform: Path


def register(folder: Path, **files: Any) -> Written:
    """Register through the engine, with few steps of refinement: the report is what is looked at."""
    report, metrics, transform = (folder / name for name in ("report.html", "metrics.json", "transform.nrrd"))
    job = RegistrationJob(report=str(report), metrics=str(metrics), output_transform=str(transform), **files)
    run_job(job, write_report=write_report)
    return Written(report, json.loads(metrics.read_text(encoding="utf-8")), transform)


@pytest.fixture(scope="session")
def lung(sample_case: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The real lung pair."""
    return register(
        tmp_path_factory.mktemp("lung"),
        fixed=str(sample_case / "fixed.nii.gz"),
        moving=str(sample_case / "moving.nii.gz"),
        fixed_segmentation=str(sample_case / "fixed_mask.nii.gz"),
        moving_segmentation=str(sample_case / "moving_mask.nii.gz"),
        landmarks=str(sample_case / "landmarks_lps.csv"),
        settings=RegistrationSettings(preset="lung-ct", iterations=3, memory_limit_mb=40),
    )


@pytest.fixture(scope="session")
def abdomen(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Two real patients' abdomens, with the liver outlined in both."""
    cases = shared_data / "abdomen-ct"
    folder = tmp_path_factory.mktemp("abdomen")
    labels = sitk.ReadImage(str(cases / "totalsegmentator-example" / "labels.nii.gz"))
    sitk.WriteImage(sitk.Cast(labels == 5, sitk.sitkUInt8), str(folder / "liver.nii.gz"))
    return register(
        folder,
        fixed=str(cases / "chaos-01" / "image.nii.gz"),
        moving=str(cases / "totalsegmentator-example" / "image.nii.gz"),
        fixed_segmentation=str(cases / "chaos-01" / "labels.nii.gz"),
        moving_segmentation=str(folder / "liver.nii.gz"),
        settings=RegistrationSettings(preset="liver-ct", iterations=3, memory_limit_mb=40),
    )


@pytest.fixture(params=["lung", "abdomen"])
def written(request: pytest.FixtureRequest) -> Written:
    """Each of the real reports."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of a real browser."""
    if chromium() is None:
        pytest.skip("needs Chromium, which is not on this machine (Debian and Ubuntu: apt install chromium)")
    with browser_page() as opened:
        yield opened


@dataclass(frozen=True, eq=False)
class Phantom:
    """A made-up registration whose every number is known."""

    result: Evaluation

    def with_metrics(self, metrics: dict[str, Any]) -> Phantom:
        """The same with other metrics."""
        return Phantom(replace(self.result, metrics=Metrics.from_json(metrics)))


BUMP = np.array([9.0, -6.0, 12.0])  # LPS mm: where the phantom's map deforms most


@pytest.fixture
def phantom() -> Phantom:
    """A ball in noise, 2 mm voxels around the origin; the map is the identity but for a bump and a fold at BUMP."""
    grid = ImageGrid.axis_aligned((40, 36, 32), (2.0, 2.0, 2.0), (-39.0, -35.0, -31.0))
    points = fields.points(grid)[0].numpy()
    ball = (np.linalg.norm(points, axis=0) < 26).astype(np.int16)
    noisy = np.random.default_rng(1).normal(0, 10, grid.shape) + 100 * ball
    offset = points - BUMP[:, None, None, None]
    bump = 12 * np.exp(-(offset**2).sum(axis=0) / (2 * 5.0**2))
    displacement = torch.zeros(1, 3, *grid.shape)
    displacement[0, 0] = torch.from_numpy(bump.astype(np.float32))
    field = DisplacementField(displacement, grid)
    determinant = fields.jacobian_determinant(field)[0, 0].numpy()
    assert determinant.min() < 0
    labels = LabelMap(ball, grid, (Label(value=1, name="ball"),))
    volume = Volume(noisy.astype(np.float32), grid)
    landmarks = LandmarkPairs(np.array([[0.0, 0, 0], BUMP]), np.array([[1.0, 0, 0], BUMP]))
    scan = Scan(volume, labels)
    pair = Pair(scan, scan).with_landmarks(landmarks)
    return Phantom(Evaluation(pair=pair, field=field, warped=scan, maps={}, metrics=Metrics()))
