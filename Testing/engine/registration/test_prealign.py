"""Pre-alignment finds where scans lie, however they were loaded: known maps of the sample scan must come back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import read_label_map, read_volume
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import LabelMap, Volume
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.anatomy.structures import Structures
from DeepLargeDeformRegLib.engine.fields import as_tensor, warp_labels
from DeepLargeDeformRegLib.engine.registration.prealign import prealign
from scipy.ndimage import gaussian_filter

WINDOWS = ((-1000.0, 600.0),)
AIR = -1000.0


@pytest.fixture(scope="module")
def scan(sample_case: Path) -> Volume:
    """The fixed sample scan at half its resolution."""
    volume = read_volume(sample_case / "fixed.nii.gz")
    return Volume(F.avg_pool3d(as_tensor(volume), 2)[0, 0].numpy(), volume.grid.coarser(2))


def moved(volume: Volume, matrix: npt.NDArray[np.float64], grid: ImageGrid | None = None) -> Volume:
    """The scan of the body after it was moved by a map, on a grid that holds all of it or a given one."""
    corners = np.c_[volume.grid.corners, np.ones(8)] @ matrix.T
    if grid is None:
        low, high = corners[:, :3].min(axis=0), corners[:, :3].max(axis=0)
        spacing = volume.grid.spacing
        size = (np.ceil((high - low) / spacing) + 1).astype(int)
        grid = ImageGrid.axis_aligned(size.tolist(), spacing, low.tolist())
    back = fields.from_affine(np.linalg.inv(matrix), grid)
    return Volume(fields.warp(as_tensor(volume), volume.grid, back, fill=AIR)[0, 0].numpy(), grid)


def error_mm(volume: Volume, found: npt.NDArray[np.float64], true: npt.NDArray[np.float64]) -> float:
    """Largest distance of the two maps within the middle half of the scan."""
    middle = np.array(volume.grid.center)
    points = np.c_[middle + (volume.grid.corners - middle) / 2, np.ones(8)]
    return float(np.linalg.norm((points @ (found - true).T)[:, :3], axis=1).max())


def rigid(angle_degrees: float, shift_mm: tuple[float, float, float], center: npt.ArrayLike) -> npt.NDArray:
    transform = sitk.Euler3DTransform(np.asarray(center, dtype=float).tolist())
    transform.SetRotation(0.0, 0.0, float(np.deg2rad(angle_degrees)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix[:3, 3] = np.array(transform.TransformPoint((0.0, 0.0, 0.0))) + shift_mm
    return matrix


def test_an_offset_of_decimeters(scan: Volume) -> None:
    true = rigid(0.0, (110.0, -90.0, 240.0), scan.grid.center)
    before = scan.array.copy()
    found = prealign(scan, moved(scan, true), WINDOWS, "rigid")
    assert np.array_equal(before, scan.array)
    assert error_mm(scan, found, true) < 4.0


def test_a_rotated_and_larger_body(scan: Volume) -> None:
    true = rigid(10.0, (30.0, 0.0, 50.0), scan.grid.center)
    true[:3, :3] *= 1.08
    true[:3, 3] -= 0.08 * np.array(scan.grid.center)
    found = prealign(scan, moved(scan, true), WINDOWS, "affine")
    assert error_mm(scan, found, true) < 8.0


def test_half_of_the_body_is_covered(scan: Volume) -> None:
    true = rigid(0.0, (-60.0, 40.0, 100.0), scan.grid.center)
    whole = moved(scan, true)
    width, height, depth = whole.grid.size
    lower = whole.grid.cropped((0, 0, 0), (width, height, depth // 2))
    half = Volume(np.ascontiguousarray(whole.array[: depth // 2]), lower)
    for fixed, moving, expected in ((scan, half, true), (half, scan, np.linalg.inv(true))):
        found = prealign(fixed, moving, WINDOWS, "rigid")
        assert error_mm(fixed, found, expected) < 6.0


def test_axes_stored_in_another_order_and_direction(scan: Volume) -> None:
    image = sitk.PermuteAxes(sitk.Flip(scan.to_image(), (True, False, True)), (2, 0, 1))
    found = prealign(scan, Volume.from_image(image), WINDOWS, "rigid")
    assert error_mm(scan, found, np.eye(4)) < 3.0


def test_a_table_in_one_field_of_view(scan: Volume) -> None:
    """Twice the field of view, with a table of 4 cm below the body."""
    true = rigid(0.0, (20.0, 30.0, -70.0), scan.grid.center)
    half = [length // 2 for length in scan.grid.size]
    around = scan.grid.padded(half, half)
    low = np.array(around.origin) + true[:3, 3]
    larger = moved(scan, true, ImageGrid.axis_aligned(around.size, around.spacing, low.tolist()))
    below = round(larger.array.shape[1] * 0.8)
    larger.array[:, below : below + round(40 / larger.grid.spacing[1]), :] = 100.0
    found = prealign(scan, larger, WINDOWS, "rigid")
    assert error_mm(scan, found, true) < 6.0


@pytest.mark.parametrize("edge_mm", [10.0, 500.0])
def test_a_box_of_a_centimeter_is_aligned_as_one_of_half_a_meter(edge_mm: float) -> None:
    # With lengths of a trunk nothing of 10 mm was found: "nothing in common".
    size = 32
    grid = ImageGrid.axis_aligned((size,) * 3, (edge_mm / size,) * 3)
    texture = gaussian_filter(np.random.default_rng(0).standard_normal(grid.shape), 2.5)
    image = 500 * (texture / texture.std()).astype(np.float32)
    moving = Volume(image, dataclasses.replace(grid, origin=(0.2 * edge_mm, -0.1 * edge_mm, 3 * edge_mm)))
    found = prealign(Volume(image, grid), moving, ((-1000.0, 1000.0),), "rigid")
    true = np.eye(4)
    true[:3, 3] = moving.grid.origin
    assert error_mm(moving, found, true) < 0.02 * edge_mm


def test_scans_without_anything_in_common_are_refused() -> None:
    grid = ImageGrid.axis_aligned((16, 16, 16), (4.0, 4.0, 4.0))
    empty = Volume(np.full(grid.shape, AIR, dtype=np.float32), grid)
    with pytest.raises(BadInputError, match="nothing in common"):
        prealign(empty, empty, WINDOWS)


def test_livers_of_two_patients_whose_scans_end_at_different_heights(shared_data: Path) -> None:
    # With the three best shifts of each window as the only candidates this pair ended with a Dice of 0.12.
    cut = 10  # slices of 3 mm at the top
    low, high = -1000.0, 600.0
    scans, livers = [], []
    for name, value in (("totalsegmentator-example", 5), ("chaos-01", 1)):
        volume = read_volume(shared_data / "abdomen-ct" / name / "image.nii.gz")
        labels = read_label_map(shared_data / "abdomen-ct" / name / "labels.nii.gz", volume.grid)
        scans.append(Volume(volume.array.clip(low, high), volume.grid))
        livers.append(LabelMap((labels.array == value).astype(np.int16), volume.grid))
    whole = scans[0].grid
    assert whole.direction_matrix[2, 2] > 0
    short = whole.cropped((0, 0, 0), (*whole.size[:2], whole.size[2] - cut))
    found = prealign(Volume(scans[0].array[:-cut], short), scans[1], ((-150.0, 250.0), (low, high)))
    fixed = livers[0].array[:-cut] > 0
    warped = warp_labels(livers[1], fields.from_affine(found, short), short).array > 0
    assert 2 * (warped & fixed).sum() > 0.4 * (warped.sum() + fixed.sum())


def test_an_organ_that_the_moving_scan_cuts_is_not_stretched() -> None:
    # A fifth of the organ lies above the moving scan. Dice of all of it would pull the rest over it, by 3.3 mm.
    grid = ImageGrid.axis_aligned((40, 40, 40), (5.0, 5.0, 5.0))
    texture = gaussian_filter(np.random.default_rng(0).normal(size=grid.shape), 2).astype(np.float32)
    z, y, x = np.indices(grid.shape)
    organ = (((x - 19) / 12) ** 2 + ((y - 19) / 10) ** 2 + ((z - 19) / 13) ** 2 < 1).astype(np.float32)
    fixed = Volume(1000 * texture + 60 * organ, grid)
    kept = 26
    moving = Volume(fixed.array[:kept], grid.cropped((0, 0, 0), (40, 40, kept)))
    structures = [
        Structures(torch.from_numpy(organ[None, None, : scan.grid.size[2]]), scan.grid, (1.0,))
        for scan in (fixed, moving)
    ]
    found = prealign(fixed, moving, ((-150.0, 250.0),), structures=(structures[0], structures[1]))
    assert error_mm(fixed, found, np.eye(4)) < 1.5
