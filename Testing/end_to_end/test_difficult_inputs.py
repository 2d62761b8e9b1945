"""Scans and segmentations that do not lie as a programmer would like them to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.resources import SAMPLE_CASE

from . import cases, resampling
from .conftest import Small
from .test_interruptions import nodes_of_scene


def linear_transform(matrix: np.ndarray, name: str) -> Any:
    """A linear transform node that takes a volume under it to the world (RAS)."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def turned(angle: float, shift: tuple[float, float, float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = shift
    return matrix


def center_of(volume: Any) -> np.ndarray:
    """Center of a volume in the world, RAS."""
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    return np.array(bounds).reshape(3, 2).mean(axis=1)


def add_segmentation(name: str, volume: Any, masks: dict[str, np.ndarray]) -> Any:
    """A segmentation with masks on the grid of a volume; an empty mask leaves an empty segment."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for segment, mask in masks.items():
        identifier = node.GetSegmentation().AddEmptySegment("", segment)
        if mask.any():
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, identifier, volume)
    return node


def air(volume: Any) -> np.ndarray:
    """The aerated lung of a crop."""
    import slicer

    return slicer.util.arrayFromVolume(volume) < -700


def test_volumes_under_linear_transforms(small: Small) -> None:
    """Each scan is taken where it stands in the world, and the transform leads from there to there."""
    plain = small.register()
    assert plain.error is None, plain.error
    start = center_of(small.fixed)
    end = np.array(plain.result.get("transform").GetTransformFromParent().TransformPoint(start))
    matrices = {"fixed": turned(0.0, (10.0, -20.0, 5.0)), "moving": turned(0.3, (60.0, 30.0, -40.0))}
    for side, matrix in matrices.items():
        getattr(small, side).SetAndObserveTransformNodeID(linear_transform(matrix, f"{side} parent").GetID())
    run = small.register()
    assert run.error is None, run.error
    transform, warped = run.result.get("transform"), run.result.get("warped")
    resampling.assert_slicer_agrees(small.moving, warped, transform)
    expected = matrices["moving"] @ np.append(end, 1.0)
    found = transform.GetTransformFromParent().TransformPoint((matrices["fixed"] @ np.append(start, 1.0))[:3])
    # The second one has a turn to find besides, so the two registrations are not the same.
    np.testing.assert_allclose(found, expected[:3], atol=4.0)


def test_apply_keeps_the_transform_above_a_volume(small: Small) -> None:
    parent = linear_transform(turned(0.1, (15.0, 5.0, -8.0)), "parent")
    small.moving.SetAndObserveTransformNodeID(parent.GetID())
    run = small.register()
    assert run.error is None, run.error
    small.widget.ui.applySelector.check(small.moving)
    small.widget.ui.applyButton.click()
    transform = run.result.get("transform")
    assert small.moving.GetParentTransformNode() is parent
    assert parent.GetParentTransformNode() is transform
    assert small.widget.ui.exportLabel.text == "Under the transform: moving."
    parent.SetAndObserveTransformNodeID(None)
    resampling.assert_slicer_agrees(small.moving, run.result.get("warped"), transform)


def test_moving_volume_under_a_deformation(small: Small) -> None:
    """A second registration on top of the first takes the moving volume as it is shown, and finds little to do."""
    import slicer

    first = small.register()
    assert first.error is None, first.error
    small.moving.SetAndObserveTransformNodeID(first.result.get("transform").GetID())
    run = small.register()
    assert run.error is None, run.error
    fixed = slicer.util.arrayFromVolume(small.fixed).astype(float)
    once, twice = (slicer.util.arrayFromVolume(done.result.get("warped")) for done in (first, run))
    inner = (slice(6, -6),) * 3
    assert np.abs(twice - fixed)[inner].mean() < 1.2 * np.abs(once - fixed)[inner].mean()
    found = run.result.get("transform").GetTransformFromParent().TransformPoint(center_of(small.fixed))
    assert np.linalg.norm(found - center_of(small.fixed)) < 5.0


def test_oblique_and_anisotropic_volumes(small: Small, tmp_path: Path) -> None:
    import slicer

    nodes = {}
    for name, angles, spacing in (
        ("fixed", (0.3, -0.2, 0.4), (1.1, 1.7, 4.0)),
        ("moving", (-0.2, 0.25, 0.1), (2.4, 1.2, 3.1)),
    ):
        path = getattr(small, name).GetStorageNode().GetFileName()
        image = sitk.ReadImage(path)
        center = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
        direction = np.array(sitk.Euler3DTransform((0, 0, 0), *angles).GetMatrix()).reshape(3, 3)
        size = np.array([44, 40, 20])
        origin = center - direction @ (np.array(spacing) * (size - 1) / 2)
        oblique = sitk.Resample(
            image, size.tolist(), sitk.Transform(), sitk.sitkLinear, origin, spacing, direction.ravel(), -900
        )
        sitk.WriteImage(oblique, str(tmp_path / f"{name}-oblique.nrrd"))
        nodes[name] = slicer.util.loadVolume(str(tmp_path / f"{name}-oblique.nrrd"))
    cases.select(small.widget, {f"{name}Volume": node for name, node in nodes.items()})
    run = small.register()
    assert run.error is None, run.error
    fixed, warped = nodes["fixed"], run.result.get("warped")
    resampling.assert_slicer_agrees(nodes["moving"], warped, run.result.get("transform"))
    geometry = [slicer.util.arrayFromVTKMatrix(matrix_of(node)) for node in (fixed, warped)]
    np.testing.assert_allclose(geometry[0], geometry[1], atol=1e-4)


def matrix_of(volume: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def test_segmentations_with_another_geometry(small: Small) -> None:
    """Segments drawn on other grids, which also reach beyond the scan, count where the scan is."""
    import slicer

    case = cases.lung_pair(SAMPLE_CASE)
    whole = {}
    for side in ("fixed", "moving"):
        volume = slicer.util.loadVolume(str(getattr(case, side).image), {"name": f"whole {side}"})
        mask = cases.array_of_labels(getattr(case, side))
        whole[f"{side}Segmentation"] = add_segmentation(f"{side} lung", volume, {"lung": mask})
    cases.select(small.widget, whole)
    run = small.register()
    assert run.error is None, run.error
    moving = whole["movingSegmentation"]
    identifier = moving.GetSegmentation().GetNthSegmentID(0)
    labels = slicer.util.arrayFromSegmentBinaryLabelmap(moving, identifier, small.moving)
    voxels = resampling.voxels_in_moving(small.fixed, small.moving, run.result.get("transform"))
    expected, undecided = resampling.nearest_labels(labels, voxels)
    propagated = run.result.get("segmentation")
    found = slicer.util.arrayFromSegmentBinaryLabelmap(propagated, identifier, small.fixed)
    assert expected.sum() > 1000
    assert (found == expected)[~undecided].all()
    assert run.result.metrics.structures["lung"].dice.after > 0.9


def test_empty_segment_is_named_and_the_rest_is_used(small: Small) -> None:
    nothing = np.zeros(air(small.fixed).shape, dtype=bool)
    masks = {side: {"air": air(getattr(small, side)), "nothing": nothing} for side in ("fixed", "moving")}
    nodes = {
        f"{side}Segmentation": add_segmentation(f"{side} segments", getattr(small, side), mask)
        for side, mask in masks.items()
    }
    cases.select(small.widget, nodes)
    run = small.register()
    assert run.error is None, run.error
    assert list(run.result.metrics.structures) == ["air"]
    assert "nothing of fixed segments has no voxel" in small.widget.ui.logText.plainText


@pytest.mark.parametrize("what", ["empty", "elsewhere", "without segments"])
def test_useless_segmentation_is_refused_with_a_sentence(small: Small, what: str) -> None:

    if what == "elsewhere":
        node = add_segmentation("stray", small.fixed, {"air": air(small.fixed)})
        node.SetAndObserveTransformNodeID(linear_transform(turned(0.0, (500.0, 0.0, 0.0)), "away").GetID())
    else:
        masks = {} if what == "without segments" else {"air": np.zeros(air(small.fixed).shape)}
        node = add_segmentation("stray", small.fixed, masks)
    cases.select(small.widget, {"fixedSegmentation": node})
    before = nodes_of_scene()
    small.widget.ui.registerButton.click()
    assert small.widget.run is None
    assert "stray" in small.widget.ui.statusLabel.text
    assert "segment" in small.widget.ui.statusLabel.text
    assert small.widget.ui.registerButton.text == "Register"
    assert nodes_of_scene() == before


@pytest.mark.parametrize("what", ["constant", "not a number"])
def test_volume_without_content_is_refused_with_a_sentence(small: Small, what: str) -> None:
    import slicer

    voxels = slicer.util.arrayFromVolume(small.moving)
    if what == "constant":
        slicer.util.updateVolumeFromArray(small.moving, np.zeros_like(voxels))
    else:
        broken = voxels.astype(np.float32)
        broken[5, 5, 5] = np.nan
        slicer.util.updateVolumeFromArray(small.moving, broken)
    run = small.register()
    assert run.error.kind == "bad_input"
    assert small.widget.ui.statusLabel.text.startswith("The moving scan ")


def test_both_directions_and_uncertainty_by_script(small: Small) -> None:
    """All that the panel can do, without it: maps come into the scene, a backward run measures consistency."""
    import slicer

    said: list[tuple[str, float]] = []
    settings = {"preset": "any", "iterations": 2, "prealign": "translation", "symmetric": True, "uncertainty": True}
    result = small.widget.logic.register(
        small.fixed,
        small.moving,
        settings=settings,
        wanted={"maps", "parts", "warped"},
        progress=lambda stage, fraction, message, seconds: said.append((stage, fraction)),
    )
    assert result.metrics.deformation.inverse_consistency_mm.source == "backward run"
    uncertainty = slicer.util.arrayFromVolume(result.get("uncertainty_mm"))
    # The numbers leave out what the moving scan does not show.
    assert uncertainty.max() >= 0.95 * result.metrics.uncertainty_mm.max
    assert uncertainty.mean() == pytest.approx(result.metrics.uncertainty_mm.mean, rel=0.5)
    assert result.get("linear").GetParentTransformNode() is result.get("deformable")
    assert result.get("table") is result.get("report") is None
    assert result.get_all("charts") == []
    fractions = [fraction for _stage, fraction in said]
    assert fractions == sorted(fractions)
    assert "refine" in dict(said)
    with pytest.raises(ValueError, match="Unknown output: picture"):
        small.widget.logic.register(small.fixed, small.moving, wanted={"picture"})


def test_scripts_are_told_what_is_missing(small: Small) -> None:
    from DeepLargeDeformRegLib.scene.errors import SceneError

    register = small.widget.logic.register
    with pytest.raises(SceneError, match="fixed volume"):
        register(None, small.moving)
    with pytest.raises(SceneError, match="moving volume"):
        register(small.fixed, None)
    with pytest.raises(SceneError, match="same volume"):
        register(small.fixed, small.fixed)
