"""Slicer's own storage nodes read what is written here, and what they write is read here."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from DeepLargeDeformRegLib.core.files import read_label_map, read_landmarks, write_label_map, write_landmarks
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, LabelMap, Volume
from DeepLargeDeformRegLib.engine.fields import (
    DisplacementField,
    as_tensor,
    read_transform,
    to_field,
    transform_points,
    warp,
    write_transform,
)

from .conftest import FIELD_FILES, inner_points

RAS = np.array([-1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def slicer() -> ModuleType:
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")
    try:
        import slicer
    except ImportError as error:
        pytest.skip(f"needs slicer-core (pip install slicer-core) and the system library libosmesa6: {error}")
    return slicer


@pytest.fixture
def scene(slicer: ModuleType) -> Any:
    return slicer.vtkMRMLScene()


def add(scene: Any, kind: Any) -> Any:
    node = kind()
    scene.AddNode(node)
    return node


def load(scene: Any, node: Any, storage: Any, path: Path) -> Any:
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    return node


@pytest.mark.parametrize("name", FIELD_FILES)
def test_slicer_maps_points_as_the_engine(
    tmp_path: Path, slicer: ModuleType, scene: Any, smooth_field: DisplacementField, name: str
) -> None:
    write_transform(smooth_field, tmp_path / name)
    node, storage = add(scene, slicer.vtkMRMLTransformNode), add(scene, slicer.vtkMRMLTransformStorageNode)
    transform = load(scene, node, storage, tmp_path / name).GetTransformFromParent()
    transform.SetInterpolationModeToLinear()
    positions = inner_points(smooth_field.grid)
    ours = transform_points(smooth_field, torch.from_numpy(positions)).numpy()
    theirs = np.array([transform.TransformPoint(point) for point in (positions * RAS).tolist()]) * RAS
    assert np.abs(ours - theirs).max() < 1e-3 * smooth_field.displacement.abs().max()


@pytest.mark.parametrize("name", ["f.h5", "f.nrrd", "f.nii.gz"])
def test_slicer_resamples_the_scan_as_the_engine(
    tmp_path: Path, slicer: ModuleType, scene: Any, smooth_field: DisplacementField, moving: Volume, name: str
) -> None:
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    write_transform(smooth_field, tmp_path / name)
    node, storage = add(scene, slicer.vtkMRMLTransformNode), add(scene, slicer.vtkMRMLTransformStorageNode)
    from_parent = load(scene, node, storage, tmp_path / name).GetTransformFromParent()
    from_parent.SetInterpolationModeToLinear()

    image = vtk.vtkImageData()
    image.SetDimensions(*moving.grid.size)
    image.GetPointData().SetScalars(numpy_to_vtk(moving.array.ravel(), deep=True))
    # Output voxel -> fixed point (RAS) -> moving point (RAS) -> moving voxel.
    chain = vtk.vtkGeneralTransform()
    chain.PostMultiply()
    chain.Concatenate(matrix(np.diag([*RAS, 1]) @ smooth_field.grid.index_to_physical))
    chain.Concatenate(from_parent)
    chain.Concatenate(matrix(moving.grid.physical_to_index @ np.diag([*RAS, 1])))
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    reslice.SetResliceTransform(chain)
    reslice.SetInterpolationModeToLinear()
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(*(v for n in smooth_field.grid.size for v in (0, n - 1)))
    reslice.Update()
    theirs = vtk_to_numpy(reslice.GetOutput().GetPointData().GetScalars()).reshape(smooth_field.grid.shape)
    ours = warp(as_tensor(moving), moving.grid, smooth_field)[0, 0].numpy()
    assert np.abs(ours - theirs).max() < 1e-3 * np.ptp(moving.array)


def matrix(values: np.ndarray) -> Any:
    import vtk

    result = vtk.vtkMatrix4x4()
    result.DeepCopy(values.ravel().tolist())
    return result


def test_transform_that_slicer_writes_is_read(
    tmp_path: Path, slicer: ModuleType, scene: Any, smooth_field: DisplacementField
) -> None:
    write_transform(smooth_field, tmp_path / "f.nrrd")
    node, storage = add(scene, slicer.vtkMRMLTransformNode), add(scene, slicer.vtkMRMLTransformStorageNode)
    load(scene, node, storage, tmp_path / "f.nrrd")
    for name in ("s.h5", "s.nrrd", "s.nii.gz"):
        storage.SetFileName(str(tmp_path / name))
        assert storage.WriteData(node) == 1
        back = to_field(read_transform(tmp_path / name), smooth_field.grid)
        torch.testing.assert_close(back.displacement, smooth_field.displacement, atol=1e-3, rtol=0)


def test_slicer_reads_the_segmentation(
    tmp_path: Path, slicer: ModuleType, scene: Any, oblique_grid: ImageGrid
) -> None:
    import vtk

    array = np.zeros(oblique_grid.shape, dtype=np.int16)
    array[2:9, 3:15, 4:12] = 1
    array[10:14, 5:20, 2:9] = 7
    entry = (
        "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
        "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
    )
    labels = (
        Label(value=1, name='Liver, "left"', color=(0.8, 0.4, 0.2), terminology=entry),
        Label(value=7, name="Läsion 2"),
    )
    write_label_map(LabelMap(array, oblique_grid, labels), tmp_path / "a.seg.nrrd")

    node, storage = add(scene, slicer.vtkMRMLSegmentationNode), add(scene, slicer.vtkMRMLSegmentationStorageNode)
    segmentation = load(scene, node, storage, tmp_path / "a.seg.nrrd").GetSegmentation()
    segments = [segmentation.GetNthSegment(i) for i in range(segmentation.GetNumberOfSegments())]
    assert [(one.GetName(), one.GetLabelValue()) for one in segments] == [('Liver, "left"', 1), ("Läsion 2", 7)]
    np.testing.assert_allclose(segments[0].GetColor(), (0.8, 0.4, 0.2))
    terminology = vtk.reference("")
    assert segments[0].GetTag("TerminologyEntry", terminology)
    assert terminology.get() == entry

    # Slicer crops to the segments when it saves; read back it is the same label map on the scan's grid.
    storage.SetFileName(str(tmp_path / "b.seg.nrrd"))
    assert storage.WriteData(node) == 1
    back = read_label_map(tmp_path / "b.seg.nrrd", oblique_grid)
    np.testing.assert_array_equal(back.array, array)
    assert [(one.name, one.value) for one in back.labels] == [('Liver, "left"', 1), ("Läsion 2", 7)]
    assert back.labels[0].terminology == entry


def test_overlapping_segments_that_slicer_writes(
    tmp_path: Path, slicer: ModuleType, scene: Any, oblique_grid: ImageGrid
) -> None:
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    array = np.zeros(oblique_grid.shape, dtype=np.int16)
    array[2:12, 2:15, 2:12] = 1
    write_label_map(LabelMap(array, oblique_grid, (Label(value=1, name="liver"),)), tmp_path / "a.seg.nrrd")
    node, storage = add(scene, slicer.vtkMRMLSegmentationNode), add(scene, slicer.vtkMRMLSegmentationStorageNode)
    segmentation = load(scene, node, storage, tmp_path / "a.seg.nrrd").GetSegmentation()
    tumor = np.zeros(oblique_grid.shape, dtype=np.uint8)
    tumor[4:7, 5:9, 6:15] = 1
    image = slicer.vtkOrientedImageData()
    image.DeepCopy(segmentation.GetNthSegment(0).GetRepresentation("Binary labelmap"))
    image.GetPointData().SetScalars(numpy_to_vtk(tumor.ravel(), deep=True))
    segment = slicer.vtkSegment()
    segment.SetName("tumor")
    segment.AddRepresentation("Binary labelmap", image)
    segmentation.AddSegment(segment)
    storage.SetFileName(str(tmp_path / "b.seg.nrrd"))
    assert storage.WriteData(node) == 1

    notes: list[str] = []
    back = read_label_map(tmp_path / "b.seg.nrrd", oblique_grid, notes.append)
    masks = {one.name: back.mask(one.value) for one in back.labels}
    np.testing.assert_array_equal(masks["tumor"], tumor == 1)
    np.testing.assert_array_equal(masks["liver"], array == 1)
    assert f"tumor and liver ({int((tumor * array).sum())} voxels)" in notes[0]

    # Written again, the layers are Slicer's own: it finds both segments whole.
    write_label_map(back, tmp_path / "c.seg.nrrd")
    again, storage = add(scene, slicer.vtkMRMLSegmentationNode), add(scene, slicer.vtkMRMLSegmentationStorageNode)
    segmentation = load(scene, again, storage, tmp_path / "c.seg.nrrd").GetSegmentation()
    voxels = {}
    for index in range(segmentation.GetNumberOfSegments()):
        one = slicer.vtkOrientedImageData()
        identifier = segmentation.GetNthSegmentID(index)
        again.GetBinaryLabelmapRepresentation(identifier, one)
        values = vtk_to_numpy(one.GetPointData().GetScalars())
        voxels[segmentation.GetNthSegment(index).GetName()] = int(np.count_nonzero(values))
    assert voxels == {"liver": int(array.sum()), "tumor": int(tumor.sum())}


@pytest.mark.parametrize("kind", ["Json", "Fiducial"])
def test_landmarks_of_slicer(tmp_path: Path, slicer: ModuleType, scene: Any, kind: str) -> None:
    import vtk

    name = "a.mrk.json" if kind == "Json" else "a.fcsv"
    points, names = np.array([[1.0, 2.0, 3.5], [-4.0, 5.0, -1344.25]]), ('vessel, "b"', "Spitze ä")
    write_landmarks(points, tmp_path / name, names)
    scene.AddNode(slicer.vtkMRMLSelectionNode())
    node = add(scene, slicer.vtkMRMLMarkupsFiducialNode)
    storage = add(scene, getattr(slicer, f"vtkMRMLMarkups{kind}StorageNode"))
    load(scene, node, storage, tmp_path / name)
    assert tuple(node.GetNthControlPointLabel(i) for i in range(2)) == names
    np.testing.assert_allclose([node.GetNthControlPointPosition(i) for i in range(2)], points * RAS)

    node.AddControlPoint(vtk.vtkVector3d(7, 8, 9), "third")
    storage.SetFileName(str(tmp_path / f"b{name[1:]}"))
    assert storage.WriteData(node) == 1
    back = read_landmarks(tmp_path / f"b{name[1:]}")
    np.testing.assert_allclose(back.points, [*points, (-7, -8, 9)])
    assert back.names == (*names, "third")
