"""The outputs of a run, checked before it begins: none is an input, none another output, each can be written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import BadInputError, OutputError
from ..sentences import marked as _
from .common import PathLike, check_output
from .headers import files_of

_MOST_INPUT_FILES = 100_000  # of a folder of DICOM files


def check_outputs(outputs: Iterable[tuple[PathLike, Sequence[str]]], inputs: Iterable[PathLike]) -> None:
    """Refuse outputs before the work: names that cannot be written, inputs, and the same file twice.

    Args:
        outputs: paths with the endings that each may have.
        inputs: files and folders that are read, with or without the number of a DICOM series.

    Raises:
        BadInputError: if an output is an input by whatever route (a link, another case, another path), or another
            output.
        OutputError: if it cannot be written.
    """
    read = {key: path for path in inputs for file in _input_files(Path(path)) for key, path in _keys(file, path)}
    written: dict[object, PathLike] = {}
    for path, endings in outputs:
        check_output(path, endings)
        for key, _path in _keys(Path(path), path):
            if key in read:
                raise BadInputError(
                    _("The output {file} would overwrite an input ({input}); choose another name.").format(
                        file=Path(path).name, input=Path(read[key]).name
                    )
                )
            if key in written:
                raise BadInputError(
                    _("Two outputs have the same name, {file}; give each its own.").format(file=Path(path).name)
                )
        written.update(_keys(Path(path), path))


def folder_to_make(path: PathLike, what: str = _("the maps")) -> Path:
    """The folder for several outputs, checked; it is made when they are moved into it.

    Args:
        path: the folder.
        what: the outputs, in messages.

    Raises:
        OutputError: if it cannot be made.
    """
    folder = Path(path)
    with contextlib.suppress(OSError):
        if folder.is_dir():
            return folder
        parent = folder.absolute().parent
        if not os.path.lexists(folder) and parent.is_dir() and os.access(parent, os.W_OK):
            return folder
    raise OutputError(
        _("The folder {folder} for {what} cannot be made; create it first, or choose another one.").format(
            folder=folder.name[:40], what=what
        )
    )


def _input_files(path: Path) -> Iterator[Path]:
    """An input and all files that belong to it: voxels beside a header, slices in a folder."""
    yield path
    stem, mark, number = path.name.rpartition("#")
    folder = path.with_name(stem) if mark and stem and number.isdigit() and not path.exists() else path
    try:
        if folder.is_dir():
            count = 0
            for current, _, names in os.walk(folder):
                for name in names:
                    yield Path(current) / name
                    count += 1
                if count > _MOST_INPUT_FILES:
                    return
        elif folder.is_file():
            yield from files_of(folder)
    except OSError:
        return


def _keys(path: Path, shown: PathLike) -> list[tuple[object, PathLike]]:
    """What tells that two paths are one file: where they lead in any case, and the file itself where it exists."""
    keys: list[object] = []
    with contextlib.suppress(OSError, ValueError):
        keys.append(str(path.resolve()).casefold())
        status = path.stat()
        if status.st_ino:
            keys.append((status.st_dev, status.st_ino))
    return [(key, shown) for key in keys]
