"""What the client is told of a job that failed, without a path or a name of the job's files."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from typing import Any

from ..core.errors import RegistrationError, is_out_of_memory
from ..core.sentences import marked as _
from . import protocol

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


def failure(request: protocol.Request, error: Exception) -> protocol.Failure:
    """What the client is told of an exception, without paths or names of the job's files in the detail."""
    subject = None
    if isinstance(error, RegistrationError):
        # The files of a job are the worker's own; people know the scans.
        kind, message, detail, subject = error.kind, error.message_without_file, error.detail, error.subject
    elif is_out_of_memory(error):
        kind = "out_of_memory"
        message = _("The memory ran out; close other programs, choose a coarser setting or the CPU.")
        detail = "".join(traceback.format_exception(error))
    elif isinstance(error, OSError) and error.errno in NO_ROOM:
        kind = "output"
        message = _("The result could not be written: the disk is full or the folder is not writable.")
        detail = "".join(traceback.format_exception(error))
    else:
        kind = "failed"
        message = _("The registration failed for a reason that was not foreseen; the log has the details.")
        detail = "".join(traceback.format_exception(error))
    detail = _without_names(detail, request)
    return protocol.Failure(job=request.job, kind=kind, message=message, detail=detail, subject=subject)


def _without_names(text: str, request: protocol.Request) -> str:
    """The text without the paths of a request, their folders and their base names."""
    names = {request.folder}
    for value in _texts(request.payload):
        if "/" in value or "\\" in value:
            path = Path(value)
            names |= {value, str(path.parent), path.name, path.name.split(".")[0]}
    for name in sorted(names, key=len, reverse=True):
        if len(name) > 1:
            text = text.replace(name, "<file>")
    return text


def _texts(value: Any) -> list[str]:
    """All texts within a payload, however deep."""
    found, left = [], [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            left.extend(item.values())
        elif isinstance(item, list):
            left.extend(item)
    return found
