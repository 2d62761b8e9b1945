"""NRRD headers (.nrrd, .nhdr), checked before ITK sees them (http://teem.sourceforge.net/nrrd/format.html)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from ..sentences import marked as _
from .detached import voxel_file
from .streams import VoxelData, damaged

_MOST_HEADER_BYTES = 1 << 22  # hundreds of segments with their names take some 100 kB
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int"), 8),
    **dict.fromkeys(("int64", "int64_t", "ulonglong", "unsigned long long", "unsigned long long int"), 8),
    **dict.fromkeys(("uint64", "uint64_t"), 8),
    "float": 4,
    "double": 8,
}
_MILLIMETERS = {"", "mm", "millimeter", "millimeters", "millimetre", "millimetres", "none", "???"}
_ENCODINGS = {
    "raw": "raw",
    **dict.fromkeys(("txt", "text", "ascii"), "ascii"),
    **dict.fromkeys(("gz", "gzip"), "gzip"),
    **dict.fromkeys(("bz2", "bzip2"), "bzip2"),
}


@dataclass(frozen=True)
class NrrdHeader:
    """Fields in lower case, key/value pairs as they are, and where the header ends."""

    fields: dict[str, str]
    pairs: dict[str, bytes]
    end: int


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Fields and key/value pairs of a header.

    Raises:
        BadInputError: if the file is none, or a field is there twice.
    """
    with path.open("rb") as stream:
        start = stream.read(_MOST_HEADER_BYTES)
    if not start.startswith(b"NRRD000"):
        raise BadInputError(
            _("{file} is not an NRRD file although its name says so; export it again.").format(file=path.name)
        )
    blank = min((at + len(mark) for mark in (b"\n\n", b"\n\r\n") if (at := start.find(mark)) >= 0), default=None)
    if blank is None and len(start) == _MOST_HEADER_BYTES:
        raise damaged(path.name)
    fields: dict[str, str] = {}
    pairs: dict[str, bytes] = {}
    for line in start[:blank].split(b"\n")[1:]:
        stated = line.rstrip(b"\r")
        if not stated or stated.startswith(b"#"):
            continue
        key, colon, value = stated.partition(b":")
        if value.startswith(b"="):
            pairs[key.decode("latin-1")] = value[1:]
            continue
        name = key.decode("latin-1").strip().lower().replace(" ", "")
        if not colon or name in fields:
            raise damaged(path.name)
        fields[name] = value.decode("latin-1").strip()
    return NrrdHeader(fields, pairs, len(start) if blank is None else blank)


def nrrd_voxels(path: Path) -> VoxelData:
    """Voxels of a file whose header has been checked.

    Raises:
        BadInputError: if the header is impossible, or its voxels lie in several files, outside of its folder, or
            nowhere.
    """
    header = read_nrrd_header(path)
    fields = header.fields
    _check_unit(path.name, fields)
    try:
        values = _values(fields)
        size = values * _TYPES[fields["type"].lower()]
        encoding = _ENCODINGS.get(fields["encoding"].lower())
        lines, skip = (int(fields.get(key, "0")) for key in ("lineskip", "byteskip"))
    except (ValueError, KeyError, OverflowError) as error:
        raise damaged(path.name) from error
    if encoding is None or lines != 0 or (skip != 0 and encoding != "raw") or skip < -1:
        raise BadInputError(
            _("{file} stores its voxels in an unusual way, which is not read; save it again.").format(file=path.name)
        )
    name = fields.get("datafile")
    if name is None:
        voxels, offset = path, header.end
    else:
        if name.upper().startswith("LIST") or "%" in name:
            raise BadInputError(
                _("{file} spreads its voxels over many files, which is not read; save it as one file.").format(
                    file=path.name
                )
            )
        voxels, offset = voxel_file(path, name), 0
    if skip > 0:
        offset += skip
    elif skip == -1:
        offset = voxels.stat().st_size - size
        if offset < 0:
            raise damaged(path.name)
    return VoxelData(path=voxels, offset=offset, encoding=encoding, size=values if encoding == "ascii" else size)  # type: ignore[arg-type]


def _check_unit(name: str, fields: dict[str, str]) -> None:
    """Refuse another unit of length than the millimeter, which ITK and Slicer take for millimeters."""
    stated = {unit.strip().lower() for unit in re.findall('"([^"]*)"', fields.get("spaceunits", ""))}
    if other := sorted(stated - _MILLIMETERS):
        raise BadInputError(
            _("{file} states its place in another unit than millimeters ({unit}); save it in millimeters.").format(
                file=name, unit=", ".join(other)
            )
        )


def _values(fields: dict[str, str]) -> int:
    """Count of values; ValueError for a header that contradicts itself."""
    axes = int(fields["dimension"])
    sizes = [int(n) for n in fields["sizes"].split()]
    if not 1 <= axes <= 6 or len(sizes) != axes or min(sizes) < 1:
        raise ValueError("impossible size")
    if "kinds" in fields and len(fields["kinds"].split()) != axes:
        raise ValueError("kinds for other axes")
    for key in ("spacedirections", "spaceorigin", "spacings"):
        text = fields.get(key, "").replace("none", "").replace("(", " ").replace(")", " ").replace(",", " ")
        numbers = np.array(text.split(), dtype=np.float64)
        # NaN is how some writers say that an axis (of vectors, of time) has no spacing.
        if key != "spacings" and not np.isfinite(numbers).all():
            raise ValueError(f"{key} is not finite")
    return math.prod(sizes)
