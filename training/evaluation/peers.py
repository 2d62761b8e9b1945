"""Other registration programs, as their users run them, behind one call: none is needed to use or test this project.

Each gets two scans on one grid, as loaded, and returns the field from fixed to moving points in mm on that grid.
Install them with ``pip install .[peers]``; deeds is a program of its own whose folder is given.
"""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Volume
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField

Register = Callable[[Volume, Volume], DisplacementField]


@dataclass(frozen=True)
class Peer:
    """A peer's name, what it needs to be installed, and how it is run."""

    name: str
    module: str
    register: Register

    @property
    def missing(self) -> str | None:
        """A sentence that says what is missing, or None."""
        if importlib.util.find_spec(self.module) is None:
            return f"{self.name} is left out: the package '{self.module}' is not installed (pip install .[peers])."
        return None


def convex_adam(fixed: Volume, moving: Volume) -> DisplacementField:
    """convexAdam (Siebert et al. 2021) with its own default settings on the CPU; displacements come in voxels."""
    from convexAdam.convex_adam_MIND import convex_adam_pt

    voxels = convex_adam_pt(fixed.array, moving.array, dtype=torch.float32, device=torch.device("cpu"))
    # Components along the array's axes (z, y, x), last.
    return _from_array_axes(voxels, fixed.grid)


def elastix(fixed: Volume, moving: Volume) -> DisplacementField:
    """elastix (Klein et al. 2010): its default translation, affine and B-spline parameter maps in a row."""
    import itk

    images = [itk.GetImageFromArray(np.ascontiguousarray(volume.array)) for volume in (fixed, moving)]
    for image, volume in zip(images, (fixed, moving), strict=True):
        image.SetSpacing(volume.grid.spacing)
        image.SetOrigin(volume.grid.origin)
        image.SetDirection(itk.matrix_from_array(volume.grid.direction_matrix))
    parameters = itk.ParameterObject.New()
    for stage in ("translation", "affine", "bspline"):
        parameters.AddParameterMap(parameters.GetDefaultParameterMap(stage))
    _, transform = itk.elastix_registration_method(*images, parameter_object=parameters, log_to_console=False)
    with tempfile.TemporaryDirectory() as folder:  # it writes the field beside whatever runs it otherwise
        result = itk.transformix_deformation_field(images[1], transform, output_directory=folder)
    return _from_vectors(itk.GetArrayFromImage(result), fixed.grid)


def ants(fixed: Volume, moving: Volume) -> DisplacementField:
    """ANTs SyN (Avants et al. 2008) as ``antspyx`` runs it by default: affine by mutual information, then SyN."""
    import ants as antspyx

    images = []
    for volume in (fixed, moving):
        image = antspyx.from_numpy(volume.array.transpose(2, 1, 0).astype(np.float64))
        image.set_spacing(volume.grid.spacing)
        image.set_origin(volume.grid.origin)
        image.set_direction(volume.grid.direction_matrix)
        images.append(image)
    result = antspyx.registration(*images, type_of_transform="SyN")
    with tempfile.TemporaryDirectory() as folder:
        composed = antspyx.apply_transforms(*images, result["fwdtransforms"], compose=folder + "/")
        vectors = sitk.GetArrayFromImage(sitk.ReadImage(composed))
    return _from_vectors(vectors, fixed.grid)


def deeds(folder: Path) -> Register:
    """deedsBCV (Heinrich et al. 2013): the program ``deedsBCV`` of a folder, by default settings, no affine part."""

    def register(fixed: Volume, moving: Volume) -> DisplacementField:
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            plain = ImageGrid.axis_aligned(fixed.grid.size, (1.0, 1.0, 1.0))
            for volume, file in ((fixed, "fixed"), (moving, "moving")):
                sitk.WriteImage(plain.to_image(volume.array), str(work / f"{file}.nii.gz"))
            command = [folder / "deedsBCV", "-F", "fixed.nii.gz", "-M", "moving.nii.gz", "-O", "result"]
            subprocess.run([str(part) for part in command], cwd=work, check=True, capture_output=True)
            return _deeds_field(np.fromfile(work / "result_displacements.dat", np.float32), fixed.grid)

    return register


def _deeds_field(values: np.ndarray, grid: ImageGrid) -> DisplacementField:
    """The control point displacements of deeds, in voxels, on its last lattice of four voxels."""
    lattice = [length // 4 for length in grid.size]
    # Stored component by component; within one, x runs fastest. The first component is y, as its axes are exchanged.
    y, x, z = values.reshape(3, *lattice[::-1])
    coarse = torch.from_numpy(np.stack((x, y, z))[None].copy())
    dense = torch.nn.functional.interpolate(coarse, size=grid.shape, mode="trilinear", align_corners=False)
    return fields.from_voxels(dense, grid)


def _from_array_axes(voxels: np.ndarray, grid: ImageGrid) -> DisplacementField:
    displacement = torch.from_numpy(voxels[..., ::-1].astype(np.float32).copy()).permute(3, 0, 1, 2)[None]
    return fields.from_voxels(displacement, grid)


def _from_vectors(vectors: np.ndarray, grid: ImageGrid) -> DisplacementField:
    displacement = torch.from_numpy(np.asarray(vectors, dtype=np.float32)).permute(3, 0, 1, 2)[None]
    return DisplacementField(displacement, grid)


PEERS = {
    "convexadam": Peer("convexAdam", "convexAdam", convex_adam),
    "elastix": Peer("elastix", "itk", elastix),
    "ants": Peer("ANTs SyN", "ants", ants),
}
