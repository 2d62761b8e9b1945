"""One real job in both directions: its maps, metrics, report and summary tell of the backward run and agree."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.cli.summary import summarize
from DeepLargeDeformRegLib.cli.terminal import Terminal
from DeepLargeDeformRegLib.core import files
from DeepLargeDeformRegLib.core.display import MAPS
from DeepLargeDeformRegLib.core.metrics import Metrics
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import fields, metrics
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.job import EvaluateJob, RegistrationJob, run_evaluate, run_job
from DeepLargeDeformRegLib.engine.metrics.maps import NOT_DEFINED
from DeepLargeDeformRegLib.engine.registration import pipeline
from DeepLargeDeformRegLib.report import write_report


@dataclass(frozen=True)
class Written:
    """What the job wrote, and the backward map that it measured with."""

    folder: Path
    metrics: dict[str, Any]
    forward: DisplacementField
    backward: DisplacementField

    def map(self, name: str) -> np.ndarray:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(self.folder / "maps" / f"{name}.nrrd")))


@pytest.fixture(scope="module")
def written(sample_case: Path, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The lung pair on coarse voxels with few steps: both directions, with the map of uncertainty."""
    folder = tmp_path_factory.mktemp("quality")
    settings = RegistrationSettings(
        preset="lung-ct",
        prealign="translation",
        iterations=8,
        memory_limit_mb=40,
        device="cpu",
        symmetric=True,
        uncertainty=True,
    )
    job = RegistrationJob(
        fixed=str(sample_case / "fixed.nii.gz"),
        moving=str(sample_case / "moving.nii.gz"),
        fixed_segmentation=str(sample_case / "fixed_mask.nii.gz"),
        moving_segmentation=str(sample_case / "moving_mask.nii.gz"),
        settings=settings,
        output_transform=str(folder / "transform.nrrd"),
        output_maps=str(folder / "maps"),
        metrics=str(folder / "metrics.json"),
        report=str(folder / "report.html"),
    )
    runs: list[DisplacementField | None] = []
    find_backward = pipeline._backward

    def watched(*arguments: Any) -> DisplacementField | None:
        runs.append(find_backward(*arguments))
        return runs[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_backward", watched)
        run_job(job, write_report=write_report)
    (backward,) = runs
    assert backward is not None
    forward = fields.to_field(fields.read_transform(folder / "transform.nrrd"), files.read_volume(job.fixed).grid)
    numbers = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return Written(folder, numbers, forward, backward)


def test_the_error_is_that_of_the_backward_run(written: Written) -> None:
    """Followed there and back by SimpleITK's own transforms, from points of the fixed scan."""
    entry = written.metrics["inverse_consistency_mm"]
    assert entry["source"] == "backward run"
    there, back = (_itk(field) for field in (written.forward, written.backward))
    grid = written.forward.grid
    index = np.random.default_rng(0).uniform(0, np.array(grid.size) - 1, (20_000, 3))
    points = grid.to_physical(index)
    landed = np.array([there.TransformPoint(point) for point in points.tolist()])
    inside = written.backward.grid.contains(landed)
    returned = np.array([back.TransformPoint(point) for point in landed[inside].tolist()])
    errors = np.linalg.norm(returned - points[inside], axis=1)
    assert entry["mean"] == pytest.approx(errors.mean(), rel=0.05)
    assert entry["p95"] == pytest.approx(np.percentile(errors, 95), rel=0.05)
    alone = metrics.inverse_consistency(written.forward)
    assert alone.source == "numerical inverse"
    assert alone.mean < 0.5 * entry["mean"], "an inverse of the map itself misses by less than another run"


def test_two_foreign_transforms_are_held_against_each_other(sample_case: Path, tmp_path: Path) -> None:
    """There by 40 mm, back by 42 mm: 2 mm are missing, and the entry says where that is from."""
    for name, length in (("there", 40.0), ("back", -42.0)):
        sitk.WriteTransform(sitk.TranslationTransform(3, (0.0, 0.0, length)), str(tmp_path / f"{name}.tfm"))
    scans = [str(sample_case / f"{name}.nii.gz") for name in ("fixed", "moving")]
    job = EvaluateJob(
        transform=str(tmp_path / "there.tfm"),
        fixed=scans[0],
        moving=scans[1],
        backward_transform=str(tmp_path / "back.tfm"),
    )
    entry = run_evaluate(job).deformation.inverse_consistency_mm
    assert entry.source == "backward run"
    assert entry.mean == pytest.approx(2.0, abs=1e-3)


def _itk(field: DisplacementField) -> sitk.Transform:
    vectors = np.moveaxis(field.displacement[0].numpy(), 0, -1).astype(np.float64)
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.SetSpacing(field.grid.spacing)
    image.SetOrigin(field.grid.origin)
    image.SetDirection(field.grid.direction)
    return sitk.DisplacementFieldTransform(image)


def test_all_maps_are_written_on_the_fixed_grid_and_agree_with_the_numbers(
    written: Written, sample_case: Path
) -> None:
    assert {path.name for path in (written.folder / "maps").iterdir()} == {f"{name}.nrrd" for name in MAPS}
    for name in MAPS:
        values = written.map(name)
        assert values.shape == written.forward.grid.shape
        assert np.isfinite(values).all()
        assert (values != NOT_DEFINED).mean() > 0.2
    lengths = written.forward.displacement.norm(dim=1)[0].numpy()
    assert np.allclose(written.map("displacement_mm"), lengths, atol=1e-3)
    errors = written.map("inverse_consistency_mm")
    mean = errors[errors != NOT_DEFINED].mean()
    assert mean == pytest.approx(written.metrics["inverse_consistency_mm"]["mean"], rel=0.1)
    lung = files.read_label_map(sample_case / "fixed_mask.nii.gz").array > 0
    expected = written.map("uncertainty_mm")
    assert expected[lung].mean() == pytest.approx(written.metrics["uncertainty_mm"]["mean"], rel=0.02)
    assert expected[lung].mean() < 0.9 * expected[~lung].mean(), "what the outlines do not show is not judged"
    similarity = written.map("local_similarity")
    mean = similarity[similarity != NOT_DEFINED].mean()
    assert mean == pytest.approx(written.metrics["similarity"]["local_ncc"]["after"], abs=0.05)


def test_report_and_summary_name_the_backward_run_and_show_the_maps(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    source = re.sub(r"<style>.*?</style>", "", (written.folder / "report.html").read_text("utf-8"), flags=re.S)
    page = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", source)))
    assert "inverse consistency error (backward run)" in page
    assert "Registration in the other direction" in page
    for title in ("Largest expected error", "Largest surface distance"):
        assert title in page
    for picture in ("Expected error", "Local similarity"):
        assert source.count(f"<figcaption>{picture}, ") == 3 * 3
    assert f"{written.metrics['uncertainty_mm']['p95']:.2f}" in page
    assert f"{written.metrics['in_place_percent']:.0f} % of the neighborhoods" in page
    summarize(Metrics.from_json(written.metrics), Terminal())
    shown = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "backward run" in shown
    assert f"{written.metrics['inverse_consistency_mm']['p95']:.3f}" in shown
    assert f"{written.metrics['uncertainty_mm']['mean']:.2f}" in shown
    assert all("at single places it can be worse" in text for text in (page, shown))
