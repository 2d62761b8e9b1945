"""Reading and writing of volumes, label maps and landmarks; those of transforms are in ``engine.fields``.

Every reader either returns valid data or raises one clear line (:class:`~..errors.BadInputError`); every writer
leaves the whole file or none. Positions are LPS, mm. SimpleITK reads and writes the images.
"""

from .common import check_output, written_whole
from .label_maps import LABEL_ENDINGS, read_label_map, write_label_map
from .landmarks import (
    LANDMARK_ENDINGS,
    Landmarks,
    pair_landmarks,
    read_landmark_pairs,
    read_landmarks,
    write_landmark_pairs,
    write_landmarks,
)
from .outputs import check_outputs, folder_to_make
from .together import written_together
from .volumes import VOLUME_ENDINGS, check_same_space, read_volume, write_volume

__all__ = [
    "LABEL_ENDINGS",
    "LANDMARK_ENDINGS",
    "VOLUME_ENDINGS",
    "Landmarks",
    "check_output",
    "check_outputs",
    "check_same_space",
    "folder_to_make",
    "pair_landmarks",
    "read_label_map",
    "read_landmark_pairs",
    "read_landmarks",
    "read_volume",
    "write_label_map",
    "write_landmark_pairs",
    "write_landmarks",
    "write_volume",
    "written_together",
    "written_whole",
]
