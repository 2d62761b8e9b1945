"""All readers and writers under one name, for scripts: those of ``core.files``, and transforms, which need torch."""

from ..core.files import (
    pair_landmarks,
    read_label_map,
    read_landmark_pairs,
    read_landmarks,
    read_volume,
    write_label_map,
    write_landmark_pairs,
    write_landmarks,
    write_volume,
)
from .fields import linear_matrix, read_transform, to_field, write_transform

__all__ = [
    "linear_matrix",
    "pair_landmarks",
    "read_label_map",
    "read_landmark_pairs",
    "read_landmarks",
    "read_transform",
    "read_volume",
    "to_field",
    "write_label_map",
    "write_landmark_pairs",
    "write_landmarks",
    "write_transform",
    "write_volume",
]
