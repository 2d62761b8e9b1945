"""Metrics against analytic cases and against MONAI and SimpleITK on real label maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, LabelMap, LandmarkPairs, Volume
from DeepLargeDeformRegLib.engine import fields, metrics
from DeepLargeDeformRegLib.engine.fields import DisplacementField, warp_labels
from DeepLargeDeformRegLib.engine.metrics import similarity
from DeepLargeDeformRegLib.engine.metrics.worst import largest_error, smallest_determinant
from scipy.ndimage import uniform_filter
from torch import Tensor

from .conftest import Pair, input_of

FINE = ImageGrid.axis_aligned((90, 72, 40), (0.8, 1.0, 1.8), (-36.0, -36.0, -36.0))


def sphere(radius: float, center: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    points = fields.points(FINE, dtype=torch.float64)[0].numpy()
    offset = points - np.array(center).reshape(3, 1, 1, 1)
    return np.linalg.norm(offset, axis=0) <= radius


def test_concentric_spheres() -> None:
    """Surfaces 5 mm apart everywhere, volumes (r/R)^3; voxels are anisotropic, which mm must not notice."""
    first, second = sphere(15), sphere(20)
    found = metrics.surface_distances(first, second, FINE)
    assert found is not None
    assert found.average == pytest.approx(5.0, abs=0.5)
    assert found.hausdorff95 == pytest.approx(5.0, abs=1.0)
    assert found.hausdorff == pytest.approx(5.0, abs=1.6)
    ratio = (15 / 20) ** 3
    assert metrics.dice(first, second) == pytest.approx(2 * ratio / (1 + ratio), abs=0.01)


def test_shifted_spheres() -> None:
    """The farthest points of two equal spheres lie as far apart as their centers; the lens has a formula."""
    radius, shift = 15.0, 7.2  # four voxels of 1.8 mm along z, so that the discrete spheres are equal
    found = metrics.surface_distances(sphere(radius), sphere(radius, (0, 0, shift)), FINE)
    assert found is not None
    assert found.hausdorff == pytest.approx(shift, abs=1e-4)
    farthest = FINE.to_physical(np.array(found.farthest)[::-1])
    # The top of the upper ball, or the bottom of the lower one.
    assert np.linalg.norm(farthest[:2]) < 6  # the cap of a discrete ball is flat
    assert farthest[2] == pytest.approx(radius + shift, abs=2) or farthest[2] == pytest.approx(-radius, abs=2)
    lens = np.pi * (4 * radius + shift) * (2 * radius - shift) ** 2 / 12
    expected = lens / (4 / 3 * np.pi * radius**3)
    assert metrics.dice(sphere(radius), sphere(radius, (0, 0, shift))) == pytest.approx(expected, abs=0.01)


def test_empty_structures_have_no_distance() -> None:
    empty = np.zeros(FINE.shape, dtype=bool)
    assert metrics.surface_distances(sphere(10), empty, FINE) is None
    assert metrics.dice(empty, empty) is None
    assert metrics.dice(sphere(10), empty) == 0.0


def test_volumes_and_their_change() -> None:
    labels = [LabelMap(sphere(r).astype(np.int16), FINE, (Label(value=1, name="ball"),)) for r in (15, 20)]
    table, worst = metrics.label_overlap(labels[0], labels[1], labels[0], labels[1], ((1, 1),))
    ball = table["ball"]
    assert worst is not None
    assert worst.structure == "ball"
    assert ball.volume_ml.fixed == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.01)
    assert ball.volume_ml.warped == ball.volume_ml.fixed
    assert ball.volume_change_percent == pytest.approx(100 * ((20 / 15) ** 3 - 1), rel=0.02)
    assert ball.dice.after == 1.0
    assert ball.hd_mm.after == pytest.approx(0.0, abs=1e-4)


def _as_monai(first: np.ndarray, second: np.ndarray, grid: ImageGrid) -> tuple[float, float, float, float]:
    monai = pytest.importorskip("monai.metrics", reason="the second implementation; it comes with the test extra")
    masks = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (first, second)]
    spacing = grid.spacing[::-1]
    options = {"include_background": True, "spacing": spacing}
    overlap = monai.compute_dice(*masks).item()
    surface = monai.compute_average_surface_distance(*masks, symmetric=True, **options).item()
    hausdorff95 = monai.compute_hausdorff_distance(*masks, percentile=95, **options).item()
    return overlap, surface, hausdorff95, monai.compute_hausdorff_distance(*masks, **options).item()


def _as_itk(first: np.ndarray, second: np.ndarray, grid: ImageGrid) -> tuple[float, float]:
    images = [grid.to_image(mask.astype(np.uint8)) for mask in (first, second)]
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    # LabelContour does not take the border of the scan for a surface; with a rim of background it does.
    contours = [sitk.LabelContour(sitk.ConstantPad(image, (1, 1, 1), (1, 1, 1))) for image in images]
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*contours)
    return overlap.GetDiceCoefficient(), hausdorff.GetHausdorffDistance()


def _compare(first: np.ndarray, second: np.ndarray, grid: ImageGrid) -> None:
    found = metrics.surface_distances(first, second, grid)
    assert found is not None
    overlap, surface, hausdorff95, hausdorff = _as_monai(first, second, grid)
    assert metrics.dice(first, second) == pytest.approx(overlap, abs=1e-3)
    assert found.average == pytest.approx(surface, abs=1e-3)
    assert found.hausdorff95 == pytest.approx(hausdorff95, abs=1e-3)
    assert found.hausdorff == pytest.approx(hausdorff, abs=1e-3)
    itk_overlap, itk_hausdorff = _as_itk(first, second, grid)
    assert metrics.dice(first, second) == pytest.approx(itk_overlap, abs=1e-3)
    assert found.hausdorff == pytest.approx(itk_hausdorff, abs=1e-3)


def test_real_lungs_as_monai_and_simpleitk(lungs: Pair) -> None:
    grid = lungs.fixed.grid
    _compare(lungs.fixed_labels.mask(), warp_labels(lungs.moving_labels, fields.identity(grid), grid).mask(), grid)


def test_real_livers_as_monai_and_simpleitk(abdomens: Pair) -> None:
    grid = abdomens.fixed.grid
    fixed = abdomens.fixed_labels.mask()
    _compare(fixed, np.roll(fixed, (3, -2, 4), axis=(0, 1, 2)), grid)


def test_landmarks_of_a_translation() -> None:
    fixed = np.array([[0.0, 0, 0], [5, 5, 5], [-5, 3, 1]])
    pairs = LandmarkPairs(fixed, fixed + np.array([3.0, 4.0, 0.0]), ("a", "b", "c"))
    matrix = np.eye(4)
    matrix[0, 3] = 3.0
    table = metrics.landmark_metrics(fields.from_affine(matrix, FINE), pairs)
    assert table.before.mean == pytest.approx(5.0)
    assert table.after.p95 == pytest.approx(4.0, abs=1e-5)
    assert table.after.std == pytest.approx(0.0, abs=1e-5)
    assert [row.name for row in table.landmarks] == ["a", "b", "c"]
    assert table.landmarks[1].point_lps == (5.0, 5.0, 5.0)


def test_percentiles() -> None:
    summary = metrics.summarize_errors(np.arange(101, dtype=np.float64))
    assert [getattr(summary, key) for key in ("p25", "p50", "p75", "p95", "max")] == [25, 50, 75, 95, 100]


def test_dice30_is_the_mean_of_the_lowest_three_of_ten() -> None:
    values = [0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.95, 0.85, 0.6, 0.75]
    assert metrics.dice30(values) == pytest.approx(0.2)
    assert metrics.dice30([0.4]) == 0.4
    assert metrics.dice30([]) is None


def test_jacobian_of_a_scaling_and_both_sdlogj() -> None:
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(0, 0.2, (20, 20, 20)))
    found = metrics.jacobian_statistics(values)
    assert found.sdlogj == pytest.approx(np.log(values).std())
    assert found.sdlogj_learn2reg == pytest.approx(np.log(values[2:-2, 2:-2, 2:-2] + 3).std())
    assert found.fold_percent == 0.0
    scaled = fields.jacobian_determinant(fields.from_affine(np.diag([1.2, 1.2, 1.2, 1.0]), FINE))[0, 0].numpy()
    mask = sphere(10)
    inside = metrics.jacobian_statistics(scaled, mask)
    assert inside.min == pytest.approx(1.2**3, abs=1e-4)
    assert inside.p99 == pytest.approx(1.2**3, abs=1e-4)
    assert metrics.jacobian_statistics(scaled, np.zeros_like(mask)).min is None


def test_folds_are_found_with_place_volume_and_structure() -> None:
    array = np.ones(FINE.shape, dtype=np.float32)
    array[5:7, 10:12, 20:23] = -0.5
    array[6, 11, 21] = -2.0
    array[30, 60, 80] = 0.0
    labels = LabelMap((array < -0.1).astype(np.int16), FINE, (Label(value=1, name="liver"),))
    folds, count = metrics.fold_regions(Volume(array, FINE), labels)
    assert count == 2
    assert folds[0].volume_mm3 == pytest.approx(12 * FINE.voxel_volume)
    assert folds[0].worst == -2.0
    assert folds[0].point_lps == pytest.approx(FINE.to_physical((21, 11, 6)).tolist())
    assert [fold.structure for fold in folds] == ["liver", None]


def test_the_deepest_fold_is_listed_however_small_it_is() -> None:
    array = np.ones(FINE.shape, dtype=np.float32)
    for number in range(24):
        array[2, 3 * number : 3 * number + 2, 5 : 7 + number] = -0.1
    array[20, 20, 20] = -3.0
    folds, count = metrics.fold_regions(Volume(array, FINE))
    assert count == 25
    assert len(folds) == 20
    assert min(fold.worst for fold in folds) == -3.0


def test_inverse_consistency_of_maps_that_are_known() -> None:
    """A far translation inverts exactly; a backward map that misses by 2 mm is told to be 2 mm off."""
    there, back = np.eye(4), np.eye(4)
    there[:3, 3], back[:3, 3] = (400, -250, 900), (-400, 250, -902)
    forward = fields.from_affine(there, FINE)
    alone = metrics.inverse_consistency(forward)
    assert alone.source == "numerical inverse"
    assert alone.max < 0.1
    moving_grid = ImageGrid.axis_aligned(FINE.size, FINE.spacing, np.array(FINE.origin) + there[:3, 3])
    both = metrics.inverse_consistency(forward, fields.from_affine(back, moving_grid))
    assert both.source == "backward run"
    assert both.mean == pytest.approx(2.0, abs=1e-3)


def test_similarity_knows_no_gain_and_sees_a_shift(lungs: Pair) -> None:
    grid = lungs.fixed.grid
    identity = fields.identity(grid)
    inverted = Volume(-3.0 * lungs.fixed.array + 100.0, grid)
    assert metrics.scan_similarity(lungs.fixed, inverted, identity).local_ncc == pytest.approx(1.0, abs=1e-3)
    matrix = np.eye(4)
    matrix[2, 3] = 12.0
    moved = metrics.scan_similarity(lungs.fixed, lungs.fixed, fields.from_affine(matrix, grid))
    same = metrics.scan_similarity(lungs.fixed, lungs.fixed, identity)
    assert moved.local_ncc is not None
    assert moved.local_ncc < 0.6
    assert moved.mutual_information is not None
    assert same.mutual_information is not None
    assert moved.mutual_information < 0.7 * same.mutual_information
    assert moved.overlap_percent == pytest.approx(100 * (1 - 12.0 / grid.extent[2]), abs=2.0)


def _plain_correlation(fixed: Tensor, warped: Tensor, covered: Tensor, window: int) -> Tensor:
    """The squared local correlation as it is written in a book, in double precision, with scipy's box filter."""
    weight, images = covered[0, 0].numpy().astype(np.float64), []
    for image in (fixed, warped):
        values = image[0, 0].numpy().astype(np.float64)
        images.append((values - np.average(values, weights=weight)) * weight)

    def mean(values: npt.NDArray) -> npt.NDArray:
        return uniform_filter(values, window, mode="constant") / uniform_filter(weight, window, mode="constant")

    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (mean(image) for image in images)
        variances = [mean(image**2) - mean(image) ** 2 for image in images]
        floors = [0.01 * (image**2).sum() / weight.sum() for image in images]
        squared = (mean(images[0] * images[1]) - first * second) ** 2
        for variance, floor in zip(variances, floors, strict=True):
            squared = squared / np.maximum(variance, floor)
    filled = uniform_filter(weight, window, mode="constant") > 0.5 - 1e-9
    textured = (variances[0] > floors[0]) | (variances[1] > floors[1])
    squared[~(filled & textured & (weight > 0))] = np.nan
    return torch.from_numpy(squared.clip(0, 1))[None, None]


def test_the_similarity_shown_is_that_of_plain_formulas(lungs: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = (2.0, -1.5, 1.0)
    grid = lungs.fixed.grid.planes(50, 36)
    fixed, field = Volume(lungs.fixed.array[50:86], grid), fields.from_affine(matrix, grid)
    fast, _ = similarity.similarity_metrics(fixed, lungs.fixed, field)
    monkeypatch.setattr(similarity, "_local_correlation", _plain_correlation)
    plain, _ = similarity.similarity_metrics(fixed, lungs.fixed, field)
    assert plain.local_ncc.after is not None
    assert 5 < (plain.in_place_percent or 0) < 95
    assert fast.local_ncc.after == pytest.approx(plain.local_ncc.after, abs=1e-4), "three digits are shown"
    assert fast.in_place_percent == pytest.approx(plain.in_place_percent, abs=0.02), "one digit is shown"


def test_neighborhoods_are_in_place_where_they_fit_best(lungs: Pair) -> None:
    """A scan on itself is in place everywhere, in negative too; 6 mm beside hardly anywhere, along each axis."""
    grid = lungs.fixed.grid
    negative = Volume(-lungs.fixed.array, grid)
    assert metrics.in_place_percent(lungs.fixed, negative, fields.identity(grid)) == 100.0
    for axis in range(3):
        matrix = np.eye(4)
        matrix[axis, 3] = 6.0
        beside = metrics.in_place_percent(lungs.fixed, lungs.fixed, fields.from_affine(matrix, grid))
        assert beside is not None
        assert beside < 5
    matrix[0, 3] = 5000.0
    assert metrics.in_place_percent(lungs.fixed, lungs.fixed, fields.from_affine(matrix, grid)) is None


def test_scans_that_do_not_meet_have_no_similarity(lungs: Pair) -> None:
    matrix = np.eye(4)
    matrix[0, 3] = 5000.0
    apart = metrics.scan_similarity(lungs.fixed, lungs.moving, fields.from_affine(matrix, lungs.fixed.grid))
    assert apart.local_ncc is None
    assert apart.mutual_information is None
    assert apart.overlap_percent == 0.0


def test_displacement_of_other_spacing_is_measured_too(lungs: Pair) -> None:
    coarse = lungs.fixed.grid.with_spacing(6.0)
    field = DisplacementField(torch.ones((1, 3, *coarse.shape)), coarse)
    found = metrics.measure(input_of(field, lungs.scans())).metrics
    assert found.deformation.jacobian_in_mask.max == pytest.approx(1.0, abs=1e-5)


def test_the_worst_places_are_named_though_all_is_within_the_limits() -> None:
    """The voxel with the smallest det J and the one with the largest expected error, each with its structure."""
    labels = LabelMap(sphere(15).astype(np.int16), FINE, (Label(value=1, name="ball"),))
    values = np.full(FINE.shape, 0.9, dtype=np.float32)
    spot = tuple(size // 2 for size in FINE.shape)
    values[spot] = 0.6
    values[0, 0, 0] = 0.1  # outside of the structures
    point = FINE.to_physical(spot[::-1]).tolist()
    place = smallest_determinant(Volume(values, FINE), labels.mask(), labels)
    assert (place.measure, place.structure) == ("jacobian_in_mask.min", "ball")
    assert place.value == pytest.approx(0.6)
    assert place.point_lps == pytest.approx(point)
    everywhere = smallest_determinant(Volume(values, FINE), None, None)
    assert (everywhere.measure, everywhere.value) == ("jacobian.min", pytest.approx(0.1))
    errors = np.where(values == values[spot], 3.0, 1.0).astype(np.float32)
    errors[1, 1, 1] = np.nan
    found = largest_error(Volume(errors, FINE), labels.mask(), labels)
    assert found is not None
    assert (found.value, found.point_lps) == (3.0, pytest.approx(point))
    assert largest_error(Volume(errors, FINE), np.zeros_like(labels.mask()), labels) is None
