"""Headers that name a file with their voxels: it must lie in the header's folder or below."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from ..errors import BadInputError
from ..sentences import marked as _


def voxel_file(header: Path, name: str) -> Path:
    """The regular file that a header names.

    Args:
        header: the header's own path.
        name: what it says, relative to its folder.

    Raises:
        BadInputError: if it is not there, or lies outside of the header's folder: a scan from elsewhere may not have
            any file of this machine read.
    """
    outside = BadInputError(
        _(
            "{file} names a file with its voxels outside of its own folder, which is not read; put both "
            "files into one folder and correct the name in the header."
        ).format(file=header.name)
    )
    parts = PureWindowsPath(name) if "\\" in name else PurePosixPath(name)
    if parts.is_absolute() or parts.drive or ".." in parts.parts:
        raise outside
    missing = BadInputError(
        _("{file} names a file with its voxels that is not there; copy both files together.").format(file=header.name)
    )
    try:
        path = header.parent.joinpath(*parts.parts)
        if not name or not path.is_file():
            raise missing
        if header.parent.resolve() not in path.resolve().parents:
            raise outside
    except (OSError, ValueError) as error:  # too long a name, or one with a zero byte
        raise missing from error
    return path
