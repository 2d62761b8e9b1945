"""Readers of data sets: from the layouts in which they are distributed to subjects and pairs.

``open_data_set("image-label", folder)`` gives a :class:`DataSet`; how to lay out each one is in README.md beside this
file. Subjects read their files when asked and keep nothing, so a data set may be larger than the memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from DeepLargeDeformRegLib.core.errors import BadInputError

from .dirlab import dirlab_4dct, dirlab_copdgene
from .empire10 import empire10
from .folders import class_folders, image_label_folders, subject_folders
from .learn2reg import learn2reg
from .splits import read_names, read_pair_names
from .subjects import DataSet, Pair, Subject
from .tables import table

READERS: dict[str, Callable[..., DataSet]] = {
    "csv": table,
    "dirlab-4dct": dirlab_4dct,
    "dirlab-copdgene": dirlab_copdgene,
    "empire10": empire10,
    "image-label": image_label_folders,
    "learn2reg": learn2reg,
    "subject-folders": subject_folders,
    "totalsegmentator": class_folders,
}


def assignments(texts: Sequence[str] | None) -> dict[str, Any]:
    """A reader's options from ``name=value`` of a command line; whole numbers become numbers, commas make lists.

    Raises:
        BadInputError: if a text has another form.
    """
    result: dict[str, Any] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not sign:
            raise BadInputError(f"{text!r} is not of the form name=value.")
        result[name] = value.split(",") if "," in value else int(value) if value.isdecimal() else value
    return result


def open_data_set(reader: str, folder: str | Path, **options: Any) -> DataSet:
    """Open a data set; its images are read later.

    Args:
        reader: one of :data:`READERS`.
        folder: where the data set lies, or the file of a table.
        options: of the reader, see its function.

    Raises:
        BadInputError: if there is no such reader, an option is unknown, or the data are not there.
    """
    if reader not in READERS:
        raise BadInputError(f"There is no reader {reader!r}; there are {', '.join(sorted(READERS))}.")
    known = list(inspect.signature(READERS[reader]).parameters)[1:]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise BadInputError(f"The reader {reader} has no option {unknown[0]!r}; it has {', '.join(known)}.")
    return READERS[reader](Path(folder), **options)


__all__ = ["READERS", "DataSet", "Pair", "Subject", "assignments", "open_data_set", "read_names", "read_pair_names"]
