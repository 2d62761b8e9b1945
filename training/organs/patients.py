"""Patients to draw training scans of: real CT with some structures known, and painted ones around real label maps."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files.volumes import read_image
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..synthesis.abdomen import paint_abdomen
from ..synthesis.draw import Draw
from ..synthesis.organ_maps import Structure, TorsoLabels, paint_organ_map
from ..synthesis.shapes import Shape, liver_shapes
from ..synthesis.tissues import Tissue
from ..synthesis.torso import Overlay, Patient, ScannedPatient
from .structures import CLASS, organ_of, structure_names, tissue_of

_LABELS = TorsoLabels(liver=CLASS["liver"], lungs=CLASS["lungs"], bone=CLASS["bone"])
_REACH_MM = 90.0  # painted above, below and beside the organs of a label map
_TALLEST_MM = 520.0


@dataclass(frozen=True, eq=False)
class OrganPatient:
    """A patient whose structures are known in part.

    Args:
        name: of the scan or the label map.
        patient: painted or scanned; its labels are classes of :mod:`.structures`.
        known: classes whose voxels are all labelled; the other ones may hide among the voxels without a label.
    """

    name: str
    patient: Patient | ScannedPatient
    known: tuple[int, ...]


@dataclass(frozen=True)
class PatientSource:
    """A patient that is read or painted when it is first needed.

    Args:
        name: of the scan or the label map.
        group: ``scans``, ``organ maps``, ``livers`` or ``others``.
        make: reads or paints it.
    """

    name: str
    group: str
    make: Callable[[Draw], OrganPatient]


def kept_on_disk(source: PatientSource, folder: Path, seed: int) -> PatientSource:
    """The same patient, read from a file where an earlier run has left it: painting one takes seconds.

    Args:
        source: the patient.
        folder: of the files; may be removed at any time.
        seed: of all that is drawn in painting.
    """
    path = folder / f"{source.group.replace(' ', '-')}-{source.name}-{seed}.safetensors"

    def make(draw: Draw) -> OrganPatient:
        if not path.is_file():
            made = source.make(draw)
            folder.mkdir(parents=True, exist_ok=True)
            _write(made, path)
            return made
        return _read(path)

    return replace(source, make=make)


def _write(one: OrganPatient, path: Path) -> None:
    patient = one.patient
    tensors = {key: value.contiguous() for key, value in vars(patient).items() if isinstance(value, Tensor)}
    overlays = patient.overlays if isinstance(patient, Patient) else ()
    tensors |= {f"overlay-{index}": overlay.share.contiguous() for index, overlay in enumerate(overlays)}
    facts = {
        "name": one.name,
        "known": one.known,
        "size": patient.grid.size,
        "spacing": patient.grid.spacing,
        "origin": patient.grid.origin,
        "overlays": [int(overlay.tissue) for overlay in overlays],
    }
    scratch = path.with_suffix(f".{os.getpid()}")  # two runs may paint the same patient at once
    save_file(tensors, scratch, {"facts": json.dumps(facts)})
    scratch.replace(path)


def _read(path: Path) -> OrganPatient:
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - a file is no mapping
    grid = ImageGrid.axis_aligned(facts["size"], facts["spacing"], facts["origin"])
    overlays = tuple(
        Overlay(tensors.pop(f"overlay-{index}"), Tissue(tissue)) for index, tissue in enumerate(facts["overlays"])
    )
    patient: Patient | ScannedPatient
    if "tissues" in tensors:
        patient = Patient(grid=grid, overlays=overlays, **tensors)
    else:
        patient = ScannedPatient(grid=grid, **tensors)
    return OrganPatient(facts["name"], patient, tuple(facts["known"]))


def scan_source(folder: Path, spacing_mm: float, known: Sequence[int], lungs: bool) -> PatientSource:
    """A real CT (``image.nii.gz``, and ``labels.nii.gz`` with ``meta.json`` where there are labels).

    Args:
        folder: of the scan.
        spacing_mm: of the grid that it is kept on.
        known: classes that its label map has everywhere.
        lungs: find the lungs by thresholds, as its label map has none.
    """

    def make(draw: Draw) -> OrganPatient:
        image = sitk.DICOMOrient(sitk.Cast(read_image(folder / "image.nii.gz"), sitk.sitkFloat32), "LPS")
        grid = ImageGrid.from_image(image)
        coarse = _upright(grid, spacing_mm)
        low_pass = [max(0.01, 0.4 * spacing_mm if spacing_mm > 1.3 * s else 0.01) for s in grid.spacing]
        smooth = sitk.SmoothingRecursiveGaussian(image, low_pass)
        values = torch.from_numpy(_resampled(smooth, coarse, sitk.sitkLinear, -1000.0))
        labels = np.zeros(coarse.shape, np.uint8)
        if known:
            names = structure_names(folder / "meta.json")
            source = sitk.DICOMOrient(read_image(folder / "labels.nii.gz"), "LPS")
            found = _resampled(source, coarse, sitk.sitkNearestNeighbor, 0)
            for value, name in names.items():
                labels[found == value] = organ_of(name)
        classes = set(known)
        if lungs:
            from DeepLargeDeformRegLib.engine.anatomy.lungs import find_lungs

            found = find_lungs(values.numpy(), coarse)
            labels[(found > 0) & (labels == 0)] = CLASS["lungs"]
            classes.add(CLASS["lungs"])
        nowhere = torch.zeros(coarse.shape, dtype=torch.bool)
        patient = ScannedPatient(coarse, values, torch.from_numpy(labels), nowhere)
        return OrganPatient(folder.name, patient, tuple(sorted(classes)))

    return PatientSource(folder.name, "scans", make)


def organ_map_source(folder: Path, spacing_mm: float) -> PatientSource:
    """A painted patient around a label map of several organs (``labels.nii.gz``, ``meta.json``)."""

    def make(draw: Draw) -> OrganPatient:
        names = structure_names(folder / "meta.json")
        structures = {value: Structure(tissue_of(name), organ_of(name)) for value, name in names.items()}
        image = sitk.DICOMOrient(sitk.Cast(read_image(folder / "labels.nii.gz"), sitk.sitkUInt8), "LPS")
        organs = [value for value, one in structures.items() if one.label]
        # Where a map has bones it has all that the scan showed, and nothing is painted beyond its ends.
        whole = any(name.startswith("vertebra") for name in names.values())
        grid = _around_organs(image, spacing_mm, organs, 0.0 if whole else _REACH_MM)
        values = _resampled(image, grid, sitk.sitkNearestNeighbor, 0)
        patient = paint_organ_map(draw, torch.from_numpy(values.astype(np.int64)), structures, _LABELS, grid)
        present = {structures[int(v)].label for v in np.unique(values) if int(v) in structures} - {0}
        # Kidneys and spleens that were taken out are absent on purpose: a map of organs knows all four.
        abdominal = {CLASS[name] for name in ("liver", "spleen", "right kidney", "left kidney")}
        return OrganPatient(folder.name, patient, tuple(sorted(present | abdominal | {_LABELS.lungs, _LABELS.bone})))

    return PatientSource(folder.name, "organ maps", make)


def liver_sources(folder: Path, names: Sequence[str], spacing_mm: float) -> list[PatientSource]:
    """Painted patients around livers alone; their other organs are made up and count as unknown."""

    def source(shape: Shape) -> PatientSource:
        def make(draw: Draw) -> OrganPatient:
            # The liver lies to the right of the body's middle.
            grid = _box_around(np.add(shape.grid.center, (45.0, 0.0, 0.0)), spacing_mm, (230.0, 170.0, 190.0))
            segments = shape.on(grid, torch.device("cpu"), range(1, 9))
            patient = paint_abdomen(draw, segments, grid)
            labels = torch.where((patient.labels > 0) & (patient.labels <= 8), CLASS["liver"], 0)
            for label, tissues in (
                (CLASS["lungs"], (Tissue.LUNG,)),
                (CLASS["bone"], (Tissue.BONE, Tissue.MARROW)),
            ):
                for tissue in tissues:
                    labels[patient.tissues == int(tissue)] = label
            known = (CLASS["liver"], CLASS["lungs"], CLASS["bone"])
            return OrganPatient(shape.name, replace(patient, labels=labels.to(torch.uint8)), known)

        return PatientSource(shape.name, "livers", make)

    return [source(shape) for shape in liver_shapes(folder, names)]


def head_source(path: Path, spacing_mm: float) -> PatientSource:
    """A head of random intensities from a label map of the brain: none of the organs is there."""

    def make(draw: Draw) -> OrganPatient:
        image = sitk.DICOMOrient(sitk.Cast(read_image(path), sitk.sitkInt32), "LPS")
        grid = _upright(ImageGrid.from_image(image), spacing_mm)
        values = torch.from_numpy(_resampled(image, grid, sitk.sitkNearestNeighbor, 0).astype(np.int64))
        found, index = torch.unique(values, return_inverse=True)
        table = torch.tensor([draw.uniform(-100, 400) for _ in found])
        table[found == 0] = -1000.0
        labels = torch.zeros(grid.shape, dtype=torch.uint8)
        patient = ScannedPatient(grid, table[index], labels, labels.bool())
        soft = tuple(CLASS[name] for name in ("liver", "spleen", "right kidney", "left kidney", "lungs"))
        return OrganPatient(path.parent.name, patient, soft)

    return PatientSource(path.parent.name, "others", make)


def _upright(grid: ImageGrid, spacing_mm: float) -> ImageGrid:
    """Axis-aligned grid around all voxel centers."""
    low, high = grid.corners.min(axis=0), grid.corners.max(axis=0)
    size = np.ceil((high - low) / spacing_mm).astype(int) + 1
    return ImageGrid.axis_aligned(size.tolist(), (spacing_mm,) * 3, low.tolist())


def _box_around(center: npt.NDArray[np.float64], spacing_mm: float, half_mm: Sequence[float]) -> ImageGrid:
    size = [round(2 * half / spacing_mm) for half in half_mm]
    origin = [float(c) - (n - 1) / 2 * spacing_mm for c, n in zip(center, size, strict=True)]
    return ImageGrid.axis_aligned(size, (spacing_mm,) * 3, origin)


def _around_organs(image: sitk.Image, spacing_mm: float, values: Sequence[int], above_mm: float) -> ImageGrid:
    """The organs' box, wider by what is painted beside them and above and below."""
    grid = ImageGrid.from_image(image)
    inside = np.argwhere(np.isin(sitk.GetArrayViewFromImage(image), values))
    if len(inside) == 0:
        raise BadInputError("A label map for training has no organ that its network shall find.")
    ends = grid.to_physical(np.stack([inside.min(axis=0), inside.max(axis=0)])[:, ::-1])
    reach = np.array([_REACH_MM, _REACH_MM, above_mm])
    low, high = ends.min(axis=0) - reach, ends.max(axis=0) + reach
    tall = max(high[2] - low[2] - _TALLEST_MM, 0.0)  # the legs are of no use
    low[2] += tall
    size = np.ceil((high - low) / spacing_mm).astype(int) + 1
    return ImageGrid.axis_aligned(size.tolist(), (spacing_mm,) * 3, low.tolist())


def _resampled(image: sitk.Image, grid: ImageGrid, interpolator: int, outside: float) -> npt.NDArray:
    reference = grid.to_image(np.zeros(grid.shape, np.uint8))
    return sitk.GetArrayFromImage(sitk.Resample(image, reference, sitk.Transform(), interpolator, outside))
