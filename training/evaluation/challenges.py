"""Displacement fields of a cohort, written as a challenge reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine.fields import DisplacementField

from ..data import Pair
from . import empire10, learn2reg

CHALLENGES = ("learn2reg", "empire10")


@dataclass(frozen=True)
class FieldExport:
    """Where fields are written, and for whom.

    Args:
        challenge: of :data:`CHALLENGES`.
        folder: for all pairs' fields.

    Raises:
        BadInputError: if there is no such challenge.
    """

    challenge: str
    folder: Path

    def __post_init__(self) -> None:
        if self.challenge not in CHALLENGES:
            raise BadInputError(f"Fields can be written for {', '.join(CHALLENGES)}, not for {self.challenge!r}.")

    def check(self, pairs: Sequence[Pair]) -> None:
        """Refuse pairs whose fields the challenge could not read, before any is registered.

        Raises:
            BadInputError: if the scans of a pair differ in size, or are not called as the challenge calls them.
        """
        if self.challenge == "learn2reg":
            learn2reg.check_sizes(pairs)
        else:
            for pair in pairs:
                empire10.folder_name(pair.fixed.name)

    def write(self, field: DisplacementField, pair: Pair, fixed: ImageGrid, moving: ImageGrid) -> None:
        """Write the field of one pair.

        Args:
            field: fixed to moving, mm, on any grid.
            pair: whose names the file takes.
            fixed: grid of the fixed scan.
            moving: grid of the moving scan.

        Raises:
            OutputError: if a file cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.challenge == "learn2reg":
            path = self.folder / learn2reg.file_name(pair.fixed.name, pair.moving.name)
            learn2reg.write_field(learn2reg.voxel_field(field, fixed, moving), path)
        else:
            folder = self.folder / empire10.folder_name(pair.fixed.name)
            empire10.write_fields(empire10.millimeters(field, fixed, moving), fixed, folder)
