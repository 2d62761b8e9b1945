"""Scans of a training that lie on the disk, mapped into memory: a cohort may be larger than the memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from DeepLargeDeformRegLib.core.errors import OutputError
from torch import Tensor

from .samples import PackedScan


class DiskScans:
    """Moves scans from memory into files of a folder.

    The files have no names, or lose them at once: whatever ends the process, the system frees their room. What was
    read lately stays in the system's own cache as far as memory allows.

    Args:
        folder: on a fast disk of this machine, with room for all scans; it is made if there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def moved(self, scan: PackedScan) -> PackedScan:
        """The same scan with its voxels on the disk.

        Raises:
            OutputError: if the disk has no room for it.
        """
        present = {name: value for name, value in vars(scan).items() if value is not None}
        return PackedScan(**{name: self._mapped(value) for name, value in present.items()})

    def _mapped(self, values: Tensor) -> Tensor:
        array = values.numpy()
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(np.ascontiguousarray(array).data)
                file.flush()
                # Mapped copy-on-write: torch takes no memory that it may not write to, and nothing is written.
                mapped = np.memmap(file, dtype=array.dtype, mode="c", shape=array.shape)
        except OSError as error:
            raise OutputError(
                f"The scans of the training do not fit into {self.folder.name}, which --on-disk names; choose a "
                "folder with more room.",
                str(error),
            ) from error
        return torch.from_numpy(mapped)
