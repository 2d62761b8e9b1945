"""The command that measures speed counts what operations compute and move."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Volume
from DeepLargeDeformRegLib.engine import fields
from scipy import ndimage

from training.evaluation.cases import Case
from training.evaluation.speed import OperationCounter, Row, _moving_indices, table

FLOAT = 4


def test_a_product_and_its_gradient_are_counted() -> None:
    first, second = torch.rand(10, 20, requires_grad=True), torch.rand(20, 30)
    with OperationCounter() as counter:
        product = first @ second
    assert counter.operations == 2 * 10 * 20 * 30
    assert counter.moved == FLOAT * (200 + 600 + 300)
    with OperationCounter() as counter:
        product.sum().backward()
    assert counter.operations == 2 * 10 * 20 * 30, "the gradient of the first factor alone is wanted"


def test_views_move_nothing_and_a_sampled_image_is_read_at_its_points() -> None:
    image = torch.rand(1, 2, 30, 30, 30)
    with OperationCounter() as counter:
        image.permute(0, 2, 3, 4, 1).reshape(30, 30, 30, 2)[3:5]
    assert counter.moved == 0
    points = torch.rand(1, 1, 1, 5, 3)
    with OperationCounter() as counter:
        F.grid_sample(image, points, align_corners=False)
    assert counter.moved <= FLOAT * 9 * 2 * 5, "eight neighbors and the value itself"


def test_the_reference_warps_to_the_same_scan() -> None:
    grid = ImageGrid.axis_aligned((12, 14, 10), (2.0, 1.5, 3.0), (5.0, -4.0, 7.0))
    array = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=grid.shape), 1).astype(np.float32)
    moving = Volume(array, ImageGrid.axis_aligned((12, 14, 10), (2.0, 1.5, 3.0), (4.0, -5.0, 6.0)))
    field = fields.DisplacementField(torch.rand(1, 3, *grid.shape) * 4 - 2, grid)
    case = Case(name="", preset="any", spacing_mm=1, fixed=moving, moving=moving)
    plain = ndimage.map_coordinates(array, _moving_indices(field, case), order=1, mode="nearest")
    ours = fields.warp(torch.from_numpy(array)[None, None], moving.grid, field, padding="border")[0, 0].numpy()
    np.testing.assert_allclose(ours, plain, atol=1e-4)


def test_table_has_ratios_against_the_references() -> None:
    seconds = {"search": 2.0, "refine": 6.0}
    row: Row = {"case": "a", "preset": "any", "size": "1 x 1 x 1", "seconds": seconds}
    row |= {"memory": 500.0, "warp": 1.0, "plain_warp": 4.0}
    lines = table([row | {"floor": 2.0, "convexadam": 16.0}, row | {"floor": 4.0, "convexadam": None}])
    assert lines[1] == ["a", "any", "1 x 1 x 1", "2.0", "6.0", "8.0", "500", "2.0", "4.0", "0.50", "0.25"]
    assert lines[2][-2] == "-"
    assert len(lines[0]) == len(lines[1])
