"""The scans of the EMPIRE10 challenge (Murphy et al., IEEE TMI 2011), as they are distributed.

``scans/01_Fixed.mhd`` and ``scans/01_Moving.mhd`` to ``30_...``, lung masks of the same names in ``lungMasks``. There
are no landmarks to have: the challenge measures displacement fields itself, see ``evaluation/empire10.py``.
"""

from __future__ import annotations

import re
from pathlib import Path

from DeepLargeDeformRegLib.core.errors import BadInputError

from .subjects import DataSet, Pair, Subject, subject_of_files, volume_files

_ENDINGS = (".mhd", ".mha", ".nii.gz", ".nrrd")
_NAME = re.compile(r"(\d+)_(Fixed|Moving)", re.IGNORECASE)


def empire10(folder: Path, scans: str = "scans", masks: str = "lungMasks") -> DataSet:
    """Pairs of chest CTs of one patient each; all are of the split ``test``.

    Args:
        folder: the challenge's data.
        scans: its folder of scans.
        masks: its folder of lung masks, which is not needed.

    Raises:
        BadInputError: if there is no pair, or a scan without its partner.
    """
    files = volume_files(folder / scans, _ENDINGS)
    regions = volume_files(folder / masks, _ENDINGS) if (folder / masks).is_dir() else {}
    subjects: dict[str, Subject] = {}
    sides: dict[str, dict[str, Subject]] = {}
    for name, path in files.items():
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        number, side = found[1], found[2].lower()
        subjects[name] = subject_of_files(name, path, mask=regions.get(name), patient=number)
        sides.setdefault(number, {})[side] = subjects[name]
    if not sides:
        raise BadInputError(f"{folder.name}/{scans} holds no scans called 01_Fixed and 01_Moving.")
    for number, pair in sides.items():
        if len(pair) < 2:
            raise BadInputError(f"The pair {number} of {folder.name}/{scans} has one scan only; was it copied whole?")
    return DataSet(subjects, {"test": [Pair(pair["fixed"], pair["moving"]) for pair in sides.values()]})
