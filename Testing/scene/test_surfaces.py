"""Surfaces of fixed and propagated segments in 3D: told apart, and not mottled where they coincide."""

from typing import Any

import numpy as np
import pytest


def ball(radius: float, name: str, seed: int) -> Any:
    """A ball as a segmentation, on a grid of 32 voxels a side, its border off by half a voxel here and there."""
    import slicer

    index = np.indices((32, 32, 32)) - 15.5
    border = radius + np.random.default_rng(seed).uniform(-0.5, 0.5, index.shape[1:])
    mask = ((index**2).sum(axis=0) < border**2).astype(np.uint8)
    volume = slicer.util.addVolumeFromArray(mask.astype(np.float32), name=f"{name} grid")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    identifier = node.GetSegmentation().AddEmptySegment("ball", "ball")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volume)
    return node


def shares(application: Any, fixed_radius: float) -> tuple[float, float]:
    """Shares of what is drawn in 3D that have the color of the moving side (orange) and of the fixed one (blue)."""
    import slicer
    from DeepLargeDeformRegLib.scene import layouts, segmentations

    for seed, (radius, name, look) in enumerate(
        zip((fixed_radius, 9.0), ("fixed", "propagated"), layouts.LOOKS, strict=True)
    ):
        segmentations.show_outlines(ball(radius, name, seed), *look)
    layouts.center_3d_views()
    view = slicer.app.layoutManager().threeDWidget(0).threeDView()
    view.mrmlViewNode().SetBoxVisible(False)
    view.mrmlViewNode().SetAxisLabelsVisible(False)
    view.mrmlViewNode().SetBackgroundColor(0.0, 0.0, 0.0)
    view.mrmlViewNode().SetBackgroundColor2(0.0, 0.0, 0.0)
    pixels = view.pixels().astype(int)
    red, blue = pixels[..., 0], pixels[..., 2]
    drawn = pixels.sum(axis=-1) > 30
    assert drawn.sum() > 2000
    # The orange itself has a fifth as much blue as red; with a veil over it, more than a third.
    return (3 * blue < red)[drawn].mean(), (blue > red + 10)[drawn].mean()


def test_surfaces_that_nearly_coincide_do_not_mottle(application: Any) -> None:
    orange, _blue = shares(application, 9.0)
    assert orange > 0.9


@pytest.mark.parametrize("radius", [11.0])
def test_fixed_surface_shows_where_it_reaches_beyond(application: Any, radius: float) -> None:
    orange, blue = shares(application, radius)
    beyond = 1 - (9.0 / radius) ** 2  # of the disk that a ball is in a picture
    assert blue == pytest.approx(beyond, abs=0.1)
    assert orange == pytest.approx(1 - beyond, abs=0.1)
