"""What a Slicer segmentation (.seg.nrrd) says of its segments: layer, value, name, color and terminology.

The keys are those of Slicer's developer guide, "Segmentation labelmap file format".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInputError
from ..images import Label
from ..sentences import marked as _
from ..text import name_of, printable
from .common import ending
from .headers import NRRD_ENDINGS
from .nrrd import read_nrrd_header

_SEGMENT_KEY = re.compile(r"Segment([0-9]{1,6})_(ID|Name|LabelValue)$")
_MOST_VALUE = 2**31 - 1


@dataclass(frozen=True)
class Segment:
    """A segment: the layer (component) of the file and the value there, and what it is called."""

    layer: int
    stored_value: int
    label: Label


def read_segments(path: Path) -> list[Segment]:
    """Segments that the header of a file lists; none for any other image.

    Raises:
        BadInputError: if an entry is damaged, or the file holds no binary label map.
    """
    if ending(path) not in NRRD_ENDINGS:
        return []
    header = read_nrrd_header(path)
    pairs = {key: _unescaped(value) for key, value in header.pairs.items()}
    indices = sorted({int(match.group(1)) for match in map(_SEGMENT_KEY.match, pairs) if match})
    if not indices:
        return []
    for key in ("Segmentation_MasterRepresentation", "Segmentation_SourceRepresentation"):
        kind = name_of(pairs.get(key, b"Binary labelmap"))
        if kind.lower() != "binary labelmap":
            raise BadInputError(
                _("{file} holds a {kind}; export it as a binary label map from Slicer.").format(
                    file=path.name, kind=kind.lower()
                )
            )
    sizes = header.fields.get("sizes", "").split()
    layers = int(sizes[0]) if len(sizes) == 4 else 1
    return [_segment(path.name, pairs, index, layers) for index in indices]


def _segment(name: str, pairs: dict[str, bytes], index: int, layers: int) -> Segment:
    def get(key: str, default: str) -> bytes:
        return pairs.get(f"Segment{index}_{key}", default.encode())

    # Slicer before 4.11 had one component per segment, and no key for layer and value.
    layer = _number(get("Layer", str(index) if layers > 1 else "0"))
    value = _number(get("LabelValue", "1"))
    if layer is None or not 0 <= layer < layers or value is None or not 1 <= value <= _MOST_VALUE:
        raise BadInputError(
            _(
                "{name}: the header of segment {index} is damaged (its LabelValue or Layer is no number that "
                "can be); save it again in Slicer."
            ).format(name=name, index=index + 1)
        )
    tags = dict(tag.partition(":")[::2] for tag in printable(get("Tags", "").decode("utf-8", "replace")).split("|"))
    label = Label(
        value=value,
        name=name_of(get("Name", "") or get("ID", f"label {value}")),
        color=_color(get("Color", "")),
        terminology=tags.get("TerminologyEntry") or None,
    )
    return Segment(layer, value, label)


def _unescaped(value: bytes) -> bytes:
    r"""NRRD writes line ends in values as ``\n`` and backslashes as ``\\``."""
    return value.replace(b"\\\\", b"\0").replace(b"\\n", b"\n").replace(b"\0", b"\\").strip(b"\r")


def _number(text: bytes) -> int | None:
    return int(text) if re.fullmatch(rb"\s*[0-9]{1,10}\s*", text) else None


def _color(text: bytes) -> tuple[float, float, float] | None:
    try:
        red, green, blue = (min(max(float(part), 0.0), 1.0) for part in text.split())
    except ValueError:
        return None
    return (red, green, blue)
