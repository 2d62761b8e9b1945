"""Which files a job reads and which it writes, checked before the work begins."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core import files
from ..core.display import MAPS
from ..core.errors import CancelledError, RegistrationError
from ..core.files.dicom_objects import REGISTRATION, SEGMENTATION
from ..core.sentences import marked as _
from . import fields

_logger = logging.getLogger(__name__)

JSON_ENDINGS = (".json",)
REPORT_ENDINGS = (".html",)

_INPUTS = (
    *("fixed", "moving", "transform", "reference", "volume", "segmentation", "fixed_segmentation", "region"),
    *("moving_segmentation", "landmarks", "fixed_landmarks", "moving_landmarks", "initial_transform"),
    *("backward_transform", "fixed_mask", "moving_mask"),
)
_ENDINGS = {
    "output_transform": fields.TRANSFORM_ENDINGS,
    "output_inverse": fields.TRANSFORM_ENDINGS,
    "output_volume": files.VOLUME_ENDINGS,
    "output_segmentation": files.LABEL_ENDINGS,
    "output_jacobian": files.VOLUME_ENDINGS,
    "output_uncertainty": files.VOLUME_ENDINGS,
    "output_fixed_organs": files.LABEL_ENDINGS,
    "output_moving_organs": files.LABEL_ENDINGS,
    "output_warped_organs": files.LABEL_ENDINGS,
    "report": REPORT_ENDINGS,
    "metrics": JSON_ENDINGS,
}


def check_job_files(job: Any) -> None:
    """Refuse a job whose outputs cannot be written, are inputs, or are one file.

    Args:
        job: of any kind of :mod:`.job`; entries that it does not have count as not given.

    Raises:
        BadInputError: for names that cannot be.
        OutputError: for places that cannot be written to.
    """
    outputs = [(path, endings) for key, endings in _ENDINGS.items() if (path := getattr(job, key, None))]
    folder = getattr(job, "output_maps", None)
    if folder:
        maps = [(path, files.VOLUME_ENDINGS) for path in map_paths(folder).values()]
        outputs += maps if Path(folder).is_dir() else []  # a folder that is yet to be made holds no input
    objects = getattr(job, "output_dicom", None)
    if objects and files.folder_to_make(objects, _("the DICOM objects")).is_dir():
        outputs += [(str(Path(objects) / name), (".dcm",)) for name in (REGISTRATION, SEGMENTATION)]
    files.check_outputs(outputs, [path for key in _INPUTS if (path := getattr(job, key, None))])


def map_paths(folder: str) -> dict[str, str]:
    """Where each map goes; the folder need not be there."""
    place = files.folder_to_make(folder)
    return {name: str(place / f"{name}.nrrd") for name in MAPS}


def report_problem(write: Callable[[], None]) -> str | None:
    """Write the report; what went wrong in a sentence, since a picture that fails must not cost the results.

    Args:
        write: writes it.

    Raises:
        CancelledError: if the user cancelled.
    """
    try:
        write()
    except (CancelledError, MemoryError):
        raise
    except RegistrationError as error:
        return _("{problem} All other results are complete.").format(problem=error.message)
    except Exception as error:  # whatever a library for pictures or pages raises
        _logger.exception("the report could not be written")
        return _("The report could not be written ({error}); all other results are complete.").format(
            error=type(error).__name__
        )
    return None
