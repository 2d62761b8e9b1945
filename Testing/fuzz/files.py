"""Valid files of every kind that the readers know, changed at random: each is read, or refused in one line.

A violation is any other exception, a message of several lines, an image whose values differ although only its voxels
were harmed in a format with a checksum, or the end of the process that reads.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import RegistrationError
from DeepLargeDeformRegLib.core.files import read_label_map, read_landmark_pairs, read_landmarks, read_volume
from DeepLargeDeformRegLib.engine.fields import read_transform

_WORDS = (b"-1", b"0", b"1e30", b"nan", b"99999999999", b"%s%n", b"../x", b"/dev/zero", b"\xff\xfe", b"\0", b"=", b"")
_CHECKSUMS = ("a.nii.gz", "a.nrrd", "a.mha")
_HEADER_BYTES = 1024  # of these files: most of what decides anything
_SCAN = (12, 11, 10)


@dataclass
class Found:
    """Cases and violations by the kind of file."""

    cases: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


def write_valid_files(folder: Path) -> dict[str, Callable[[Path], object]]:
    """One small file of each kind, and what reads it."""
    array = (np.indices(_SCAN).sum(axis=0) * 9 % 700).astype(np.int16)
    image = sitk.GetImageFromArray(array)
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.nii"):
        sitk.WriteImage(image, str(folder / name), useCompression=True)
    raw = sitk.GetImageFromArray(array.astype(np.float32))
    sitk.WriteImage(raw, str(folder / "raw.nrrd"), useCompression=False)
    sitk.WriteImage(raw, str(folder / "raw.mha"), useCompression=False)
    labels = sitk.GetImageFromArray((array > 300).astype(np.uint8))
    for key, value in (("ID", "s"), ("Name", "liver"), ("LabelValue", "1"), ("Layer", "0"), ("Color", "1 0 0")):
        labels.SetMetaData(f"Segment0_{key}", value)
    sitk.WriteImage(labels, str(folder / "a.seg.nrrd"), useCompression=True)
    vectors = np.random.default_rng(0).normal(size=(*_SCAN, 3))
    sitk.WriteImage(sitk.GetImageFromArray(vectors, isVector=True), str(folder / "field.nrrd"))
    spline = sitk.BSplineTransformInitializer(image, [2, 2, 2])
    for name in ("affine.tfm", "affine.mat"):
        sitk.WriteTransform(sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, 0.2, 0.3), str(folder / name))
    sitk.WriteTransform(sitk.CompositeTransform([spline, sitk.AffineTransform(3)]), str(folder / "spline.tfm"))
    sitk.WriteTransform(spline, str(folder / "spline.h5"))
    point = '{"label": "a", "position": [1, 2, 3], "positionStatus": "defined"}'
    (folder / "a.mrk.json").write_text(f'{{"markups": [{{"coordinateSystem": "LPS", "controlPoints": [{point}]}}]}}')
    (folder / "a.fcsv").write_text("# CoordinateSystem = LPS\n1,1,2,3,0,0,0,1,1,1,0,a,,,2,0\n")
    (folder / "a.csv").write_text("label,l,p,s,defined\na,1,2,3,1\nb,4,5,6,1\n")
    (folder / "pairs.csv").write_text("fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\n1,2,3,4,5,6\n")
    (folder / "a.pts").write_text("point\n2\n1 2 3\n4 5 6\n")
    sitk.WriteImage(image[:, :, 5:6], str(folder / "a.dcm"))
    readers: dict[str, Callable[[Path], object]] = dict.fromkeys(
        ("a.nii.gz", "a.nrrd", "a.mha", "a.nii", "raw.nrrd", "raw.mha", "a.dcm"), read_volume
    )
    readers |= {"a.seg.nrrd": read_label_map, "pairs.csv": read_landmark_pairs}
    readers |= dict.fromkeys(("field.nrrd", "affine.tfm", "affine.mat", "spline.tfm", "spline.h5"), read_transform)
    return readers | dict.fromkeys(("a.mrk.json", "a.fcsv", "a.csv", "a.pts"), read_landmarks)


def changed(content: bytes, rng: random.Random) -> bytes:
    """A file after one to five changes: bits, words, cuts, doublings, lines left out; mostly within its header."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 5)):
        end = min(len(data), _HEADER_BYTES) if rng.random() < 0.7 else len(data)
        at = rng.randrange(max(end, 1))
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + rng.randrange(9)] = rng.choice(_WORDS)
        elif kind == 2:
            del data[at : at + rng.choice((1, 8, 200))]
        elif kind == 3:
            data[at:at] = data[at : at + rng.choice((1, 16, 300))]
        elif kind == 4:
            lines = bytes(data[:_HEADER_BYTES]).split(b"\n")
            lines.pop(rng.randrange(len(lines)))
            data[:_HEADER_BYTES] = b"\n".join(lines)
        else:
            del data[at:]
    return bytes(data)


def fuzz(folder: Path, seconds: float, seed: int) -> Found:
    """Try changed files for so many seconds; a folder of its own is needed."""
    rng = random.Random(seed)
    readers = write_valid_files(folder)
    contents = {name: (folder / name).read_bytes() for name in readers}
    # HDF5 and Matlab files are read in child processes, half a second each: they take their turn less often.
    names = [name for name in readers for _ in range(1 if name.endswith((".h5", ".mat")) else 8)]
    found = Found()
    whole = {name: read_volume(folder / name).array for name in _CHECKSUMS}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = rng.choice(names)
        (folder / name).write_bytes(changed(contents[name], rng))
        found.cases[name] += 1
        try:
            value = readers[name](folder / name)
            problem = _silent_change(name, contents[name], folder / name, value, whole)
        except RegistrationError as error:
            problem = "several lines" if "\n" in error.message else ""
        except Exception as error:  # all others are what is looked for
            problem = f"{type(error).__name__}: {error}"
        if problem:
            found.violations.append(f"{name}, seed {seed}, case {sum(found.cases.values())}: {problem}"[:300])
            (folder / f"violation-{len(found.violations)}-{name}").write_bytes((folder / name).read_bytes())
        (folder / name).write_bytes(contents[name])
    return found


def _silent_change(name: str, before: bytes, path: Path, value: object, whole: dict[str, np.ndarray]) -> str:
    """What was read although only the compressed voxels were harmed must be what was there."""
    content = path.read_bytes()
    if name not in whole or content[:600] != before[:600] or content == before:
        return ""
    array = getattr(value, "array", None)
    return "" if array is not None and np.array_equal(array, whole[name]) else "other values, without a word"
