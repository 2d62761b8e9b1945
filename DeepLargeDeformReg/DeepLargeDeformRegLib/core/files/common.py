"""What all readers and writers share: file endings, ITK's warnings, outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import BadInputError, OutputError, RegistrationError
from ..sentences import marked as _
from .reasons import NO_ROOM, reason_of
from .together import current_run

PathLike = str | os.PathLike[str]

VOLUME_ENDINGS = (".nrrd", ".nii", ".nii.gz", ".mha")
TEMPORARY_PREFIX = ".unfinished-"
_FULL_BYTES = 1 << 16
_MOST_TEXT_BYTES = 64 << 20  # of landmarks and text transforms
_DOUBLE_ENDINGS = (".nii.gz", ".img.gz", ".seg.nrrd", ".mrk.json")


def ending(path: PathLike) -> str:
    """Lower-case ending of a file name with its dot; ``.nii.gz``, ``.seg.nrrd`` and ``.mrk.json`` count as one."""
    name = Path(path).name.lower()
    return next((double for double in _DOUBLE_ENDINGS if name.endswith(double)), Path(name).suffix)


def check_regular(path: PathLike) -> None:
    """Refuse what is no regular file with content: a missing one, a folder, a pipe that would be waited for forever.

    Raises:
        BadInputError: one line that names the file.
    """
    path = Path(path)
    try:
        exists, regular = path.exists(), path.is_file()
    except (OSError, ValueError) as error:
        raise BadInputError(
            _("{file} cannot be a file's name; check the path.").format(file=path.name[:80]), detail=str(error)
        ) from error
    if not exists:
        raise BadInputError(_("There is no file {file}; check the path.").format(file=path.name))
    if path.is_dir():
        raise BadInputError(_("{file} is a folder; a file is needed here.").format(file=path.name))
    if not regular:
        raise BadInputError(
            _("{file} is a device or a pipe; only regular files are read: save it to one first.").format(
                file=path.name
            )
        )
    if path.stat().st_size == 0:
        raise BadInputError(_("{file} is empty (0 bytes); copy or export it again.").format(file=path.name))


def check_output(path: PathLike, endings: Sequence[str]) -> None:
    """Refuse an output before the work begins rather than after it.

    Raises:
        BadInputError: if the ending is not one of ``endings``, or the path is a folder or a device.
        OutputError: if the name is too long, or the folder does not exist or may not be written to.
    """
    path = Path(path)
    kind = ending(path)
    if kind not in endings:
        raise BadInputError(
            _("{file} cannot be written: its name must end in {endings}.").format(
                file=path.name, endings=", ".join(endings)
            )
        )
    if not path.name.endswith(kind):
        raise BadInputError(
            _(
                "{file} cannot be written: ITK and 3D Slicer know the ending in lower case only; end it in {kind}."
            ).format(file=path.name, kind=kind)
        )
    try:
        exists, regular = os.path.lexists(path) and path.exists(), path.is_file()
        folder = path.absolute().parent
        if path.is_dir():
            raise BadInputError(_("{file} cannot be written: a folder of this name exists.").format(file=path.name))
        if exists and not regular:
            raise BadInputError(
                _("{file} cannot be written: it is a device or a pipe; name a file.").format(file=path.name)
            )
        if not folder.is_dir():
            raise OutputError(
                _("{file} cannot be written: its folder does not exist; create it first.").format(file=path.name)
            )
        if not os.access(folder, os.W_OK):
            raise OutputError(
                _("{file} cannot be written: its folder is read-only for you; choose another one.").format(
                    file=path.name
                )
            )
        os.lstat(path)  # the system says here that a name is too long
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise OutputError(
            _("{file} cannot be written: {reason}; choose another name.").format(
                file=path.name[:40], reason=reason_of(error)
            ),
            str(error),
        ) from error


@contextmanager
def written_whole(path: PathLike, size: int = 0) -> Iterator[Path]:
    """A temporary path beside ``path`` with the same ending, moved onto it when the block ends without an error.

    Within :func:`.together.written_together` it is moved when that block ends, with all others.

    Args:
        path: where the file is to be.
        size: bytes that it will take at least, if known: a disk with less is refused before anything is written.

    Raises:
        OutputError: if the file could not be written; then nothing is left behind and an older file is untouched.
    """
    path, run = Path(path), current_run()
    # A short name: what is added to a long one would make it too long.
    prefix = f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}"
    folder = path.parent if run is None else _existing(path.parent)
    temporary = folder / f"{prefix}{ending(path)}"
    finished = False
    try:
        if run is not None:
            run.announce(folder, prefix)
        if size:
            _reserve(temporary, size)
        yield temporary
        if run is None:
            temporary.replace(path)
        else:
            run.add(temporary, path)
        finished = True
    except RegistrationError:
        raise
    except (OSError, RuntimeError) as error:
        raise OutputError(
            _("{file} could not be written: {reason}.").format(file=path.name, reason=_write_reason(error, folder)),
            detail=str(error),
        ) from error
    finally:
        if not finished:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _existing(folder: Path) -> Path:
    """The folder, or the one that it will be made in: a run that fails makes none."""
    return folder if folder.is_dir() else folder.absolute().parent


def read_text(path: PathLike) -> str:
    """Text of a small file in UTF-8 (with or without a byte order mark).

    Raises:
        BadInputError: if it does not exist, is no regular file, is empty, is not text or is too large.
    """
    path = Path(path)
    check_regular(path)
    if path.stat().st_size > _MOST_TEXT_BYTES:
        raise BadInputError(
            _("{file} is too large ({size:.0f} MB) for such a file.").format(
                file=path.name, size=path.stat().st_size / 2**20
            )
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(
            _("{file} is not a text file in UTF-8; save it again in that encoding.").format(file=path.name),
            detail=str(error),
        ) from error
    except OSError as error:
        raise BadInputError(
            _("{file} could not be read: {reason}.").format(file=path.name, reason=reason_of(error)),
            detail=str(error),
        ) from error
    if not text.strip():
        raise BadInputError(_("{file} is empty.").format(file=path.name))
    return text


def write_text(text: str, path: PathLike) -> None:
    """Write a text file in UTF-8, whole or not at all; what UTF-8 cannot hold becomes a replacement sign."""
    with written_whole(path) as temporary:
        data = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        temporary.write_text(data, encoding="utf-8", newline="\n")


def _reserve(path: Path, size: int) -> None:
    """Raise OSError if the disk (or the user's quota) has no room: HDF5 crashes Python when it meets a full disk."""
    if size > shutil.disk_usage(path.absolute().parent).free:
        raise OSError(errno.ENOSPC, f"{size} bytes are needed")
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("wb") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise


def _write_reason(error: Exception, folder: Path) -> str:
    """ITK tells no reason; while its unfinished file is still there, a full disk shows."""
    with suppress(OSError):
        if isinstance(error, RuntimeError) and shutil.disk_usage(folder.absolute()).free < _FULL_BYTES:
            return _("the disk is full")
    return reason_of(error)
