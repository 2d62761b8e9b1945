"""ITK at arm's length: its warnings are kept and told, and it is given paths that it reads rightly."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from .common import ending
from .streams import GZIP_MAGIC

_logger = logging.getLogger(__name__)
_PLACE = "WARNING: In "


class _Listener(sitk.LoggerBase):
    """Collects what ITK would print."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def DisplayText(self, text: str) -> None:  # noqa: N802 (ITK's name)
        self.texts.append(text)

    DisplayErrorText = DisplayWarningText = DisplayGenericOutputText = DisplayText

    def DisplayDebugText(self, text: str) -> None:  # noqa: N802
        """Debug output stays off."""


@contextmanager
def heard_itk(name: str) -> Iterator[list[str]]:
    """ITK's warnings go into the list that is yielded, and into the log if the block ends without an error.

    Args:
        name: what is read or written, for the log; warnings hold paths, which the log does not repeat.
    """
    listener = _Listener()
    before = listener.SetAsGlobalITKLogger()
    try:
        yield listener.texts
    finally:
        before.SetAsGlobalITKLogger()
    for text in dict.fromkeys(_said(one) for one in listener.texts):
        if text:
            _logger.warning("%s: ITK says: %s", name, text)


@contextmanager
def itk_paths(paths: list[Path]) -> Iterator[list[str]]:
    """The same files under names that ITK reads rightly, as links in a private folder where their own will not do.

    ITK knows endings in lower case only, takes no name that is not Unicode, reads ``scan.nii`` when it is asked for
    ``scan.nii.gz`` beside it, and does not see that a ``scan.nii`` is compressed.
    """
    if all(_is_plain(path) for path in paths):
        yield [str(path) for path in paths]
        return
    with tempfile.TemporaryDirectory(prefix="DeepLargeDeformReg-") as folder:
        links = [Path(folder) / f"{number}{_itk_ending(path)}" for number, path in enumerate(paths)]
        for path, link in zip(paths, links, strict=True):
            _link(path.absolute(), link)
        yield [str(link) for link in links]


@contextmanager
def itk_output(path: Path) -> Iterator[str]:
    """A path for ITK to write to, elsewhere if the folder's name is not Unicode, and then moved to ``path``."""
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="DeepLargeDeformReg-") as folder:
            file = Path(folder) / f"0{ending(path)}"
            yield str(file)
            shutil.copyfile(file, path)
    else:
        yield str(path)


def _itk_ending(path: Path) -> str:
    """The ending by which ITK reads a file rightly: a compressed ``scan.nii`` is one of ``.nii.gz``."""
    kind = ending(path)
    if kind != ".nii":
        return kind
    with path.open("rb") as stream:
        return ".nii.gz" if stream.read(2) == GZIP_MAGIC else kind


def _is_plain(path: Path) -> bool:
    kind, name = ending(path), path.name
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        return False
    if kind in (".mhd", ".nhdr", ".hdr", ".img", ".img.gz"):
        return True  # these name, or stand beside, a second file
    if (kind and not name.endswith(kind)) or kind != _itk_ending(path):
        return False
    if kind != ".nii.gz":
        return True
    stem = name[: -len(kind)]
    return not any(path.with_name(stem + twin).exists() for twin in (".nii", ".NII", ".hdr", ".img"))


def _link(path: Path, link: Path) -> None:
    try:
        link.symlink_to(path)
    except OSError:  # Windows gives the right to make links to administrators
        try:
            os.link(path, link)
        except OSError:
            shutil.copyfile(path, link)


def _said(text: str) -> str:
    """A warning without the place in ITK's source and without the path of a file."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(_PLACE)]
    words = " ".join(lines).split()
    return " ".join("<file>" if "/" in word or "\\" in word else word for word in words)
