"""Transform files before ITK reads them: what they are, whether they are whole, and which way they map.

ITK aborts on some damaged ones, reads the first of several without a word, and does not know the classes of 3D Slicer
for inverse and thin-plate transforms, nor the matrices of FSL. Here each is named.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BadInputError
from ..sentences import marked as _
from .common import ending, read_text
from .nifti import read_nifti_header
from .nrrd import read_nrrd_header

NIFTYREG_KINDS = {
    0: _("deformation field"),
    1: _("displacement field"),
    2: _("grid of spline control points"),
    3: _("velocity field"),
    4: _("velocity field"),
    5: _("grid of velocity control points"),
    6: _("grid of spline control points"),
}
_CLASS = re.compile(r"^(\w+?)_(?:double|float)_(\d+)_(\d+)$")
_ITK_TEXT = "#Insight Transform File"
_LPS = ("left-posterior-superior", "lps")
_LINEAR_KINDS = {
    **dict.fromkeys(("AffineTransform", "MatrixOffsetTransformBase"), 12),
    **{"TranslationTransform": 3, "ScaleTransform": 3, "ScaleLogarithmicTransform": 3, "IdentityTransform": 0},
    **{"Euler3DTransform": 6, "VersorTransform": 3, "VersorRigid3DTransform": 6, "QuaternionRigidTransform": 7},
    **{"Similarity3DTransform": 7, "ScaleVersor3DTransform": 9, "ScaleSkewVersor3DTransform": 15},
}
_GRID_KINDS = ("BSplineTransform", "DisplacementFieldTransform")
_KNOWN_KINDS = (*_LINEAR_KINDS, *_GRID_KINDS, "CompositeTransform")
_MOST_WORD = 400  # digits of a number


@dataclass(frozen=True)
class TextTransform:
    """One transform of a text file: class (``AffineTransform``), dimension, parameters and fixed parameters."""

    kind: str
    dimension: int
    parameters: tuple[float, ...]
    fixed: tuple[float, ...]


def check_text_transform(path: Path) -> bool:
    """Check an ITK text file (.tfm, .txt): one transform or a composite, each part complete.

    Returns:
        True if it holds a class whose numbers are not checked here, so that ITK must be expected to abort on it.

    Raises:
        BadInputError: if it is no such file, is damaged, or holds several transforms that are not one composite.
    """
    text = read_text(path)
    if not text.lstrip().startswith(_ITK_TEXT):
        raise _other_text(path.name, text)
    entries: list[dict[str, str]] = []
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if line.startswith("#") or not colon:
            continue
        if key.strip() == "Transform":
            entries.append({})
        if entries:
            entries[-1].setdefault(key.strip(), value)
    try:
        found = [_text_transform(path.name, entry) for entry in entries]
    except (ValueError, KeyError, OverflowError) as error:
        raise BadInputError(
            _("{file} is damaged: a transform in it is incomplete.").format(file=path.name), detail=str(error)
        ) from error
    if not found:
        raise BadInputError(_("{file} is damaged or holds no ITK transform.").format(file=path.name))
    if len(found) > 1 and found[0].kind != "CompositeTransform":
        raise several(path.name, len(found))
    return any(one.kind not in _KNOWN_KINDS for one in found)


def several(name: str, count: int | None = None) -> BadInputError:
    """The refusal of a list of transforms: nothing says in which order they are meant."""
    number = "several" if count is None else str(count)
    return BadInputError(
        _(
            "{name} holds {number} transforms one after another, whose order is not stated; combine them "
            "into one (in 3D Slicer: harden, or save a composite) and use that."
        ).format(name=name, number=number)
    )


def refuse_by_content(path: Path, detail: str) -> BadInputError:
    """The refusal of a file that ITK could not read, by what its bytes say that it is."""
    data = path.read_bytes()
    if any(mark in data for mark in (b"InverseBSpline", b"InverseDisplacementField", b"InverseThinPlate")):
        return _of_slicer(path.name, "inverse")
    if b"ThinPlateSpline" in data:
        return _of_slicer(path.name, "thin-plate spline")
    return BadInputError(_("{file} is damaged or holds no ITK transform.").format(file=path.name), detail=detail)


def check_field_direction(path: Path) -> int | None:
    """Refuse a displacement field whose file says that it maps another way than ITK's, from fixed to moving points.

    Returns:
        the kind of field of NiftyReg (0: positions, 1: displacements, in RAS) or None for a field as ITK has it.

    Raises:
        BadInputError: for the other direction, other axes, or a grid of control points.
    """
    kind = ending(path)
    if kind in (".nrrd", ".nhdr"):
        _check_nrrd_field(path)
    elif kind in (".nii", ".nii.gz"):
        _code, name, parameter = read_nifti_header(path).intent
        if name.startswith("NREG_TRANS"):
            number = int(parameter) if math.isfinite(parameter) else -1
            if number not in (0, 1):
                what = NIFTYREG_KINDS.get(number, _("transform"))
                raise BadInputError(
                    _(
                        "{file} is a {what} of NiftyReg; make a deformation field of it first (reg_transform -def)."
                    ).format(file=path.name, what=what)
                )
            return number
    return None


def _check_nrrd_field(path: Path) -> None:
    header = read_nrrd_header(path)
    kind = header.pairs.get("displacement field type", b"resampling").decode("latin-1").strip().lower()
    if kind != "resampling":
        raise BadInputError(
            _(
                "{file} maps the other way (from moving to fixed points: its displacement field type is "
                "'{kind}'); in 3D Slicer, invert the transform and save it again."
            ).format(file=path.name, kind=kind)
        )
    space = header.fields.get("space", "").lower()
    if space not in _LPS:
        raise BadInputError(
            _(
                "{file} is a displacement field in the space '{space}'; only LPS is read: save it again with "
                "3D Slicer or ITK."
            ).format(file=path.name, space=space or "unknown")
        )
    frame = header.fields.get("measurementframe")
    if frame is not None:
        numbers = re.findall(r"[-+0-9.eE]+", frame)
        try:
            matrix = np.array(numbers, dtype=np.float64).reshape(3, 3)
        except ValueError:
            matrix = np.zeros((3, 3))
        if not np.allclose(matrix, np.eye(3), atol=1e-4):
            raise BadInputError(
                _(
                    "{file} states its vectors along axes of its own (measurement frame); save the field in LPS."
                ).format(file=path.name)
            )


def _text_transform(name: str, entry: dict[str, str]) -> TextTransform:
    match = _CLASS.match(entry["Transform"].strip())
    if match is None:
        raise ValueError("no class of a transform")
    kind, dimension = match.group(1), int(match.group(2))
    if "Inverse" in kind:
        raise _of_slicer(name, "inverse")
    if "ThinPlateSpline" in kind or kind.endswith("KernelTransform"):
        raise _of_slicer(name, "thin-plate spline")
    if kind == "CompositeTransform":
        return TextTransform(kind, dimension, (), ())
    parameters, fixed = (_numbers(entry[key]) for key in ("Parameters", "FixedParameters"))
    if not np.isfinite([*parameters, *fixed]).all():
        raise BadInputError(
            _("{name} contains numbers that are not finite; the transform cannot be used.").format(name=name)
        )
    if dimension == 3:
        _check_counts(kind, parameters, fixed)
    return TextTransform(kind, dimension, parameters, fixed)


def _numbers(text: str) -> tuple[float, ...]:
    words = text.split()
    if any(len(word) > _MOST_WORD for word in words):
        raise ValueError("a number of too many digits")
    return tuple(float(word) for word in words)


def _check_counts(kind: str, parameters: tuple[float, ...], fixed: tuple[float, ...]) -> None:
    """Refuse grids that do not fit their parameters: ITK allocates whatever size a header states."""
    if kind in _LINEAR_KINDS and len(parameters) != _LINEAR_KINDS[kind]:
        raise ValueError("another count of parameters than its class has")
    if kind not in _GRID_KINDS:
        return
    sizes = [int(number) for number in fixed[:3]]
    if len(fixed) < 18 or min(sizes) < 1 or math.prod(sizes) * 3 != len(parameters):
        raise ValueError("a grid of another size than its parameters")
    if not np.isfinite(fixed).all() or min(fixed[6:9]) <= 0:
        raise ValueError("a grid without extent")


def _of_slicer(name: str, kind: str) -> BadInputError:
    what = _("an inverse transform") if kind == "inverse" else _("a thin-plate spline transform")
    return BadInputError(
        _(
            "{name} holds {what} of 3D Slicer, which ITK does not know; in Slicer's Transforms module "
            "convert it to a grid transform and save that."
        ).format(name=name, what=what)
    )


def _other_text(name: str, text: str) -> BadInputError:
    if "(Transform " in text:
        return BadInputError(
            _(
                "{name} holds transform parameters of elastix; export the deformation field as an image "
                "instead (transformix -def all)."
            ).format(name=name)
        )
    words = text.split()
    try:
        rows = np.array(words, dtype=np.float64)
    except ValueError:
        rows = np.zeros(0)
    if rows.size in (12, 16):
        return BadInputError(
            _(
                "{name} is a plain matrix, as FSL (FLIRT) and other programs write it in conventions of "
                "their own; convert it to an ITK transform, for FSL with c3d_affine_tool -fsl2ras -oitk."
            ).format(name=name)
        )
    return BadInputError(_("{name} is damaged or holds no ITK transform.").format(name=name))
