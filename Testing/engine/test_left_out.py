"""What a mask leaves out does not count: a lesion that one scan alone shows bends no map."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from DeepLargeDeformRegLib.core import files
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Pair, Scan, Volume
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.job import EvaluateJob, RegistrationJob, run_evaluate
from DeepLargeDeformRegLib.engine.job_files import check_job_files
from DeepLargeDeformRegLib.engine.left_out import filled, leave_out
from DeepLargeDeformRegLib.engine.metrics.maps import NOT_DEFINED, on_grid
from DeepLargeDeformRegLib.engine.metrics.similarity import scan_similarity
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, RegistrationResult, register
from DeepLargeDeformRegLib.engine.registration.search import coupled_convex
from scipy.ndimage import binary_dilation, gaussian_filter

GRID = ImageGrid.axis_aligned((36, 32, 30), (3.5, 3.5, 3.5))
CENTER, RADIUS = np.array((59.5, 52.5, 49.0)), 15.0
MOVED = np.array((9.0, -6.0, 3.0))  # mm, as the scan is loaded


def sphere(radius: float = RADIUS, center: npt.NDArray[np.float64] = CENTER) -> npt.NDArray[np.bool_]:
    points = fields.points(GRID)[0].numpy()
    return np.linalg.norm(points - center.reshape(3, 1, 1, 1), axis=0) <= radius


@dataclass(frozen=True)
class Scans:
    """Two scans by the names of a pair's sides, and the true map between them."""

    pair: dict[str, Volume]
    true: DisplacementField

    def error_mm(self, field: DisplacementField, where: npt.NDArray[np.bool_]) -> float:
        """Mean distance of a map from the true one among some voxels."""
        difference = field.displacement - self.true.displacement
        return float(difference.norm(dim=1)[0].numpy()[where].mean())


@pytest.fixture(scope="module")
def scans() -> Scans:
    """A textured scan, and the same moved smoothly."""
    generator = np.random.default_rng(3)
    parts = [gaussian_filter(generator.standard_normal(GRID.shape), width) for width in (1.2, 2.5)]
    texture = sum(40 * part / part.std() for part in parts)
    bumps = np.stack([gaussian_filter(generator.standard_normal(GRID.shape), 8) for _ in range(3)])
    displacement = MOVED.reshape(3, 1, 1, 1) + 4.0 * bumps / np.abs(bumps).max()
    true = DisplacementField(torch.tensor(displacement, dtype=torch.float32)[None], GRID)
    moving = Volume(texture.astype(np.float32), GRID)
    return Scans({"fixed": fields.warp_volume(moving, true, GRID), "moving": moving}, true)


def registered(fixed: Volume, moving: Volume) -> RegistrationResult:
    settings = RegistrationSettings(
        prealign="translation", device="cpu", organs="none", iterations=15, fold_free=False, memory_limit_mb=8
    )
    return register(RegistrationRequest(pair=Pair(Scan(fixed), Scan(moving)), settings=settings))


def marked(mask: npt.NDArray[np.bool_]) -> LabelMap:
    return LabelMap(mask.astype(np.int16), GRID)


@pytest.mark.parametrize("side", ["moving", "fixed"])
def test_a_lesion_in_one_scan_alone_bends_the_map_only_without_its_mask(scans: Scans, side: str) -> None:
    center = CENTER if side == "fixed" else CENTER + MOVED
    lesion = gaussian_filter(sphere(RADIUS, center).astype(float), 0.5)
    mask = marked(sphere(RADIUS + 3, center))
    bright = {name: Volume(one.array * (1 - lesion) + 400 * lesion, GRID) for name, one in scans.pair.items()}
    left, notices = leave_out(bright[side], mask, side)
    assert not notices
    without, with_mask = (registered(**(scans.pair | {side: one})) for one in (bright[side], left))
    inside = sphere(RADIUS)
    # With 30 steps, mm: moving 3.8 and 3.0 without its mask, 1.1 and 0.6 with it; fixed 2.7, 1.8, 0.9 and 0.7.
    for where in (inside, binary_dilation(inside, iterations=4) & ~inside):
        errors = [scans.error_mm(result.field, where) for result in (without, with_mask)]
        assert errors[1] < min(1.6, 0.6 * errors[0])
    assert list(with_mask.metrics.left_out_percent) == [side]
    assert with_mask.metrics.left_out_percent[side] == pytest.approx(100 * mask.mask().mean(), abs=0.1)
    assert without.metrics.left_out_percent == {}
    # Nothing is known there, and nothing is said; deep inside of the sphere in every case.
    local = with_mask.maps["local_similarity"]
    expected = on_grid(with_mask.maps["uncertainty_mm"], GRID, "border").array
    assert (expected[sphere(RADIUS - 6)] == NOT_DEFINED).all()
    assert (expected[~sphere(RADIUS + 15)] > 0).all()
    deep = np.rint(local.grid.to_index(CENTER[None]))[0].astype(int)[::-1]
    assert np.isnan(local.array[tuple(deep)])


def test_the_search_passes_by_what_does_not_count() -> None:
    """All cells moved by two cells along x, a block apart that seems to stay: its neighbors fill it."""
    grid = ImageGrid.axis_aligned((20, 16, 16), (4.0, 4.0, 4.0))
    features = torch.rand(1, 12, *grid.shape, generator=torch.Generator().manual_seed(0))
    fixed, moving = features, torch.roll(features, 2, dims=4)
    block = (..., slice(5, 11), slice(5, 11), slice(7, 13))
    counts = torch.ones(1, 1, *grid.shape)
    counts[block] = 0
    true = torch.tensor((8.0, 0.0, 0.0)).reshape(3, 1, 1, 1)
    spoiled = torch.where(counts > 0, fixed, moving)
    errors = []
    for counted in (None, (counts, torch.ones_like(counts))):
        found = coupled_convex(spoiled, moving, grid, 3, counted=counted)
        errors.append(float((found.displacement[0] - true)[block].norm(dim=0).mean()))
    everywhere = coupled_convex(fixed, moving, grid, 3, counted=(torch.ones_like(counts), torch.ones_like(counts)))
    plain = coupled_convex(fixed, moving, grid, 3)
    assert torch.allclose(everywhere.displacement, plain.displacement, atol=1e-4)
    assert errors[1] < 1.0 < 2.0 < errors[0]  # measured 0.0 and 3.4


def test_a_filling_continues_what_is_around_it() -> None:
    points = fields.points(GRID)[0].numpy()
    ramp = Volume((points[0] + 0.5 * points[2]).astype(np.float32), GRID)
    mask = sphere()
    spoiled = Volume(np.where(mask, 5000.0, ramp.array), GRID, ~mask)
    mended = filled(spoiled)
    assert np.array_equal(mended.array[~mask], ramp.array[~mask])
    assert np.abs(mended.array - ramp.array)[mask].max() < 3.0  # of 32; measured 1.7
    assert filled(ramp) is ramp
    assert spoiled.array.max() == 5000.0


def test_what_is_left_out_is_not_compared(scans: Scans) -> None:
    fixed = scans.pair["fixed"]
    mask = sphere(24.0)
    other = np.random.default_rng(0).standard_normal(GRID.shape).astype(np.float32)
    spoiled = Volume(np.where(mask, 40 * other, fixed.array), GRID)
    here = fields.identity(GRID)
    for first, second in ((fixed, replace(spoiled, counted=~mask)), (replace(spoiled, counted=~mask), fixed)):
        assert scan_similarity(first, second, here).local_ncc == pytest.approx(1.0, abs=1e-4)
        assert scan_similarity(first, second, here).overlap_percent == 100.0
    assert (scan_similarity(fixed, spoiled, here).local_ncc or 0) < 0.95


def test_masks_that_leave_nothing_or_nothing_out(scans: Scans) -> None:
    fixed = scans.pair["fixed"]
    with pytest.raises(BadInputError, match="fixed mask marks the whole scan"):
        leave_out(fixed, marked(np.ones(GRID.shape, bool)), "fixed")
    with pytest.raises(BadInputError, match="moving mask is empty"):
        leave_out(fixed, marked(np.zeros(GRID.shape, bool)), "moving")
    far = ImageGrid.axis_aligned((4, 4, 4), (3.0, 3.0, 3.0), (900.0, 0.0, 0.0))
    same, notices = leave_out(fixed, LabelMap(np.ones((4, 4, 4), np.int16), far), "fixed")
    assert same is fixed
    assert "does not overlap the fixed scan" in notices[0]
    # As of elastix or ANTs: marked is what shall count.
    most, notices = leave_out(fixed, marked(~sphere(24.0)), "fixed")
    assert most.counted is not None
    assert "invert it" in notices[0]
    # On voxels of its own, as a mask that Slicer has cropped.
    small = ImageGrid.axis_aligned((10, 10, 10), (1.5, 1.5, 1.5), tuple((CENTER - 7.5).tolist()))
    part, notices = leave_out(fixed, LabelMap(np.ones((10, 10, 10), np.int16), small), "fixed")
    assert part.counted is not None
    assert not notices
    assert np.count_nonzero(~part.counted) == pytest.approx(15**3 / 3.5**3, rel=0.6)


def test_a_job_reads_masks_and_tells_how_much_they_leave_out(scans: Scans, tmp_path: Path) -> None:
    names = {name: str(tmp_path / f"{name}.nrrd") for name in ("fixed", "moving", "stent", "far")}
    for name, volume in scans.pair.items():
        files.write_volume(volume, names[name])
    files.write_label_map(marked(sphere(24.0)), names["stent"])
    far = ImageGrid.axis_aligned((4, 4, 4), (3.0, 3.0, 3.0), (900.0, 0.0, 0.0))
    files.write_label_map(LabelMap(np.ones((4, 4, 4), np.int16), far), names["far"])
    transform = str(tmp_path / "t.nrrd")
    fields.write_transform(scans.true, transform)
    job = {
        "transform": transform,
        "fixed": names["fixed"],
        "moving": names["moving"],
        "metrics": str(tmp_path / "m.json"),
    }
    measured = run_evaluate(EvaluateJob.from_json(job | {"fixed_mask": names["stent"], "moving_mask": names["far"]}))
    assert measured.left_out_percent == {"fixed": pytest.approx(100 * sphere(24.0).mean(), abs=0.01)}
    assert any("moving mask does not overlap" in warning for warning in measured.warnings)
    assert "stent" not in (tmp_path / "m.json").read_text(encoding="utf-8")
    with pytest.raises(BadInputError, match="would overwrite an input"):
        check_job_files(RegistrationJob("a.nrrd", "b.nrrd", moving_mask=names["far"], output_volume=names["far"]))
