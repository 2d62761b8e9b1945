"""Why the system refused a file, in words."""

from __future__ import annotations

import errno

from ..sentences import marked as _

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def reason_of(error: Exception) -> str:
    """Why the system refused a file, as far as it says so; no reason is invented."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EFBIG:
        return _("it is larger than the disk or your quota allows")
    if number in NO_ROOM:
        return _("the disk is full")
    if number == errno.ENAMETOOLONG:
        return _("its name is too long for this disk")
    if isinstance(error, PermissionError):
        return _("access is denied, or another program holds the file open")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _("the system gives no reason; see whether the disk has room and the folder can be written to")
