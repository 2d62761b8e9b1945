"""Small pairs of scans for real registrations in the worker's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk


def write_pair(folder: Path, size: int = 48, spacing: float = 4.0, shift_mm: float = 6.0) -> dict[str, str]:
    """Two textured spheres, the moving one shifted along x; the entries ``fixed`` and ``moving`` of a job."""
    position = (np.indices((size,) * 3) - size / 2) * spacing
    texture = np.random.default_rng(3).normal(0.0, 8.0, (size,) * 3)
    entries = {}
    for name, shift in (("fixed", 0.0), ("moving", shift_mm)):
        distance = np.sqrt(position[0] ** 2 + position[1] ** 2 + (position[2] - shift) ** 2)
        array = 100.0 / (1.0 + np.exp((distance - size * spacing / 4) / spacing)) + texture
        image = sitk.GetImageFromArray(array.astype(np.float32))
        image.SetSpacing((spacing,) * 3)
        path = folder / f"{name}.nrrd"
        sitk.WriteImage(image, str(path))
        entries[name] = str(path)
    return entries
