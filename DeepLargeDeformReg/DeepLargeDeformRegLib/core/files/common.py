"""What all readers and writers share: file endings, quiet ITK, outputs that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import SimpleITK as sitk

from ..errors import BadInputError, OutputError, RegistrationError

PathLike = str | os.PathLike[str]

VOLUME_ENDINGS = (".nrrd", ".nii", ".nii.gz", ".mha")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_BYTES = 1 << 16
_DOUBLE_ENDINGS = (".nii.gz", ".seg.nrrd", ".mrk.json")


def ending(path: PathLike) -> str:
    """Lower-case ending of a file name with its dot; ``.nii.gz``, ``.seg.nrrd`` and ``.mrk.json`` count as one."""
    name = Path(path).name.lower()
    return next((double for double in _DOUBLE_ENDINGS if name.endswith(double)), Path(name).suffix)


def check_output(path: PathLike, endings: Sequence[str]) -> None:
    """Refuse an output before the work begins rather than after it.

    Raises:
        BadInputError: if the ending is not one of ``endings`` or the path is a folder.
        OutputError: if the folder does not exist or may not be written to.
    """
    path = Path(path)
    if ending(path) not in endings:
        raise BadInputError(f"{path.name} cannot be written: its name must end in {', '.join(endings)}.")
    if path.is_dir():
        raise BadInputError(f"{path.name} cannot be written: a folder of this name exists.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"{path.name} cannot be written: its folder does not exist; create it first.")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{path.name} cannot be written: its folder is read-only for you; choose another one.")


@contextmanager
def written_whole(path: PathLike, size: int = 0) -> Iterator[Path]:
    """A temporary path beside ``path`` with the same ending, moved onto it when the block ends without an error.

    Args:
        path: where the file is to be.
        size: bytes that it will take at least, if known: a disk with less is refused before anything is written.

    Raises:
        OutputError: if the file could not be written; then nothing is left behind and an older file is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(6)}-{path.name}")
    try:
        if size:
            _reserve(temporary, size)
        yield temporary
        temporary.replace(path)
    except RegistrationError:
        raise
    except (OSError, RuntimeError) as error:
        raise OutputError(
            f"{path.name} could not be written: {_write_reason(error, path)}.", detail=str(error)
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def quiet_itk() -> Iterator[None]:
    """ITK's warnings stay off the terminal: what matters in them is checked and said by this package."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def read_text(path: PathLike) -> str:
    """Text of a small file in UTF-8 (with or without a byte order mark).

    Raises:
        BadInputError: if it does not exist, is empty or is not text.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInputError(f"There is no file {path.name}; check the path.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path.name} is not a text file.", detail=str(error)) from error
    except OSError as error:
        raise BadInputError(f"{path.name} could not be read: {_reason(error)}.", detail=str(error)) from error
    if not text.strip():
        raise BadInputError(f"{path.name} is empty.")
    return text


def write_text(text: str, path: PathLike) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


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
            if error.errno in _NO_ROOM:
                raise


def _write_reason(error: Exception, path: Path) -> str:
    """ITK tells no reason; while its unfinished file is still there, a full disk shows."""
    with suppress(OSError):
        if isinstance(error, RuntimeError) and shutil.disk_usage(path.absolute().parent).free < _FULL_BYTES:
            return "the disk is full"
    return _reason(error)


def _reason(error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number in _NO_ROOM:
        return "the disk is full"
    if isinstance(error, PermissionError):
        return "access is denied, or another program holds the file open"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the disk may be full or the folder not writable"
