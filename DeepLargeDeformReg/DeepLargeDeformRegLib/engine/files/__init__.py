"""Reading and writing of volumes, label maps, landmarks and transforms.

Every reader either returns valid data or raises one clear line (:class:`~..errors.BadInputError`); every writer
leaves the whole file or none. Positions are LPS, mm. SimpleITK does the reading and writing of images and transforms.
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
from .transforms import (
    TRANSFORM_ENDINGS,
    linear_matrix,
    linear_transform,
    read_transform,
    to_field,
    to_sitk,
    write_transform,
)
from .volumes import VOLUME_ENDINGS, check_same_space, read_volume, write_volume

__all__ = [
    "LABEL_ENDINGS",
    "LANDMARK_ENDINGS",
    "TRANSFORM_ENDINGS",
    "VOLUME_ENDINGS",
    "Landmarks",
    "check_output",
    "check_same_space",
    "linear_matrix",
    "linear_transform",
    "pair_landmarks",
    "read_label_map",
    "read_landmark_pairs",
    "read_landmarks",
    "read_transform",
    "read_volume",
    "to_field",
    "to_sitk",
    "write_label_map",
    "write_landmark_pairs",
    "write_landmarks",
    "write_transform",
    "write_volume",
    "written_whole",
]
