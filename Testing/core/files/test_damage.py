"""Damaged files of every format, integers and floats, compressed and not, are refused, never read as noise."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError, MemoryExhaustedError
from DeepLargeDeformRegLib.core.files import read_volume

from .conftest import SFORM, write_meta, write_nifti, write_nrrd

COMPRESSED = ("a.nii.gz", "a.nrrd", "a.mha")
KINDS = (np.float32, np.int16)


@pytest.fixture
def scan() -> sitk.Image:
    """Values that compress, so that a changed byte of the stream changes many voxels."""
    array = (np.indices((20, 22, 24)).sum(axis=0) * 7 % 900).astype(np.int16)
    return sitk.GetImageFromArray(array)


def write_compressed(path: Path, scan: sitk.Image, kind: type) -> bytes:
    image = sitk.Cast(scan, sitk.sitkFloat32 if kind is np.float32 else sitk.sitkInt16)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("harm", ["one bit", "zeros", "cut", "checksum"])
def test_damaged_stream_is_refused(tmp_path: Path, scan: sitk.Image, name: str, kind: type, harm: str) -> None:
    path = tmp_path / name
    content = bytearray(write_compressed(path, scan, kind))
    np.testing.assert_array_equal(read_volume(path).array, sitk.GetArrayFromImage(scan))
    middle = len(content) * 2 // 3
    if harm == "one bit":
        content[middle] ^= 16
    elif harm == "zeros":
        content[middle:] = bytes(len(content) - middle)
    elif harm == "cut":
        del content[middle:]
    else:
        content[-6] ^= 1  # within the checksum of gzip, or of zlib (Adler-32)
        if name.endswith(".mha"):
            content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="damaged"):
        read_volume(path)


@pytest.mark.parametrize("kind", [("short", "<i2"), ("float", "<f4")])
def test_nrrd_streams(tmp_path: Path, kind: tuple[str, str]) -> None:
    array = np.arange(12 * 11 * 10, dtype=kind[1])
    header = f"type: {kind[0]}\ndimension: 3\nsizes: 12 11 10\nencoding: gzip\nendian: little\n\n"
    for data, whole in ((gzip.compress(array.tobytes()), True), (gzip.compress(array[:-7].tobytes()), False)):
        (tmp_path / "a.nrrd").write_bytes(f"NRRD0004\n{header}".encode() + data)
        if whole:
            np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array.ravel(), array)
        else:
            with pytest.raises(BadInputError, match="damaged"):
                read_volume(tmp_path / "a.nrrd")


@pytest.mark.parametrize("change", [-40, 40])
@pytest.mark.parametrize("name", ["a.nii", "a.nrrd", "a.mha", "a.mhd", "a.hdr", "a.nhdr"])
def test_size_that_does_not_fit_is_refused(tmp_path: Path, voxels: np.ndarray, name: str, change: int) -> None:
    def write(data: bytes) -> None:
        if name == "a.nii":
            write_nifti(tmp_path / name, data)
        elif name == "a.nrrd":
            write_nrrd(tmp_path / name, data)
        elif name == "a.mha":
            write_meta(tmp_path / name, data)
        elif name == "a.mhd":
            write_meta(tmp_path / name, b"", data_file="a.raw")
            (tmp_path / "a.raw").write_bytes(data)
        elif name == "a.nhdr":
            write_nrrd(tmp_path / name, b"", extra="data file: a.raw\n")
            (tmp_path / "a.raw").write_bytes(data)
        else:
            write_pair(tmp_path, data)

    write(voxels.tobytes())
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, voxels)
    write(voxels.tobytes()[:change] if change < 0 else voxels.tobytes() + bytes(change))
    with pytest.raises(BadInputError, match="damaged"):
        read_volume(tmp_path / name)


def write_pair(folder: Path, data: bytes) -> None:
    """A NIfTI pair a.hdr and a.img."""
    write_nifti(folder / "whole.nii", data)
    content = bytearray((folder / "whole.nii").read_bytes())
    (folder / "whole.nii").unlink()
    content[344:348] = b"ni1\0"
    content[108:112] = bytes(4)
    (folder / "a.hdr").write_bytes(content[:348])
    (folder / "a.img").write_bytes(data)


def test_pair_is_read_from_either_file_or_refused(tmp_path: Path, voxels: np.ndarray) -> None:
    write_pair(tmp_path, voxels.tobytes())
    for name in ("a.hdr", "a.img"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, voxels)
    (tmp_path / "a.img.gz").write_bytes(gzip.compress(voxels.tobytes()))
    with pytest.raises(BadInputError, match="could belong to"):
        read_volume(tmp_path / "a.hdr")
    for name in ("a.img", "a.img.gz"):
        (tmp_path / name).unlink()
    with pytest.raises(BadInputError, match="not there"):
        read_volume(tmp_path / "a.hdr")
    (tmp_path / "b.img").write_bytes(voxels.tobytes())
    with pytest.raises(BadInputError, match=r"b\.hdr beside it"):
        read_volume(tmp_path / "b.img")


@pytest.mark.parametrize("kind", [("<f4", (16, 32)), ("<i2", (4, 16))])
def test_compressed_file_beside_its_namesake_gets_its_own_voxels(tmp_path: Path, kind: tuple) -> None:
    own = np.arange(12 * 11 * 10).astype(kind[0])
    write_nifti(tmp_path / "a.nii.gz", own.tobytes(), datatype=kind[1])
    write_nifti(tmp_path / "a.nii", own[::-1].tobytes(), datatype=kind[1])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array.ravel(), own)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array.ravel(), own[::-1])


def test_compressed_meta_without_its_size_is_refused(tmp_path: Path, voxels: np.ndarray) -> None:
    data = zlib.compress(voxels.tobytes())
    write_meta(tmp_path / "a.mha", data)
    text = (tmp_path / "a.mha").read_bytes().replace(b"CompressedData = False", b"CompressedData = True")
    (tmp_path / "a.mha").write_bytes(text)
    with pytest.raises(BadInputError, match="CompressedDataSize"):
        read_volume(tmp_path / "a.mha")
    stated = text.replace(b"CompressedData = True", b"CompressedData = True\nCompressedDataSize = %d" % len(data))
    (tmp_path / "a.mha").write_bytes(stated)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mha").array, voxels)


@pytest.mark.parametrize("place", ["a.raw", "raw/a.raw", "raw/more/a.raw"])
def test_voxels_within_the_folder_and_below(tmp_path: Path, voxels: np.ndarray, place: str) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(voxels.tobytes())
    write_meta(tmp_path / "a.mhd", b"", data_file=place)
    write_nrrd(tmp_path / "a.nhdr", b"", extra=f"data file: {place}\n")
    for name in ("a.mhd", "a.nhdr"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, voxels)


@pytest.mark.parametrize(
    "place", ["../a.raw", "/etc/passwd", "/dev/zero", "link.raw", "x" * 300, "%03d.raw 1 9 1", "LIST"]
)
def test_voxels_from_elsewhere_are_refused(tmp_path: Path, voxels: np.ndarray, place: str) -> None:
    (tmp_path / "a.raw").write_bytes(voxels.tobytes())
    folder = tmp_path / "case"
    folder.mkdir()
    (folder / "link.raw").symlink_to(tmp_path / "a.raw")
    write_meta(folder / "a.mhd", b"", data_file=place)
    write_nrrd(folder / "a.nhdr", b"", extra=f"data file: {place}\n")
    for name in ("a.mhd", "a.nhdr"):
        with pytest.raises(BadInputError, match=r"outside of its own folder|not there|many files"):
            read_volume(folder / name)


@pytest.mark.parametrize("lines", ["NDims = -1", "NDims = 100", "NDims = 1000000", "DimSize = 99999 99999 99999"])
def test_meta_header_that_itk_aborts_on_is_refused(tmp_path: Path, voxels: np.ndarray, lines: str) -> None:
    write_meta(tmp_path / "a.mha", voxels.tobytes())
    key = lines.split(" ")[0]
    content = (tmp_path / "a.mha").read_bytes().split(b"\n")
    changed = [lines.encode() if line.startswith(key.encode() + b" ") else line for line in content]
    (tmp_path / "a.mha").write_bytes(b"\n".join(changed))
    with pytest.raises(BadInputError, match="damaged"):
        read_volume(tmp_path / "a.mha")


def test_image_larger_than_memory_is_refused_with_both_numbers(tmp_path: Path) -> None:
    """The stream could hold it (zeros compress by a thousand), the machine could not: nothing is allocated."""
    write_nifti(tmp_path / "a.nii", b"", size=(30000, 30000, 3000), datatype=(4, 16))
    with (tmp_path / "a.nii").open("r+b") as stream:
        stream.truncate(352 + 2 * 30000 * 30000 * 3000)  # a hole: it takes no room on the disk
    with pytest.raises(MemoryExhaustedError, match=r"asks for .* GB, and .* GB are free"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nrrd", "a.mha", "a.dcm"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(BadInputError, match="only regular files"):
            read_volume(tmp_path / name)
    with pytest.raises(BadInputError, match="no DICOM images"):
        read_volume(tmp_path)


def test_name_that_is_not_unicode(tmp_path: Path, voxels: np.ndarray) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    folder.mkdir()
    write_nifti(folder / "a.nii.gz", voxels.tobytes())
    np.testing.assert_array_equal(read_volume(folder / "a.nii.gz").array, voxels)
    with pytest.raises(BadInputError) as caught:
        read_volume(folder / os.fsdecode(b"M\xfcller\x1b[31m.nrrd"))
    assert caught.value.message.startswith("There is no file M\ufffdller [31m.nrrd")


@pytest.mark.parametrize(
    ("name", "write"),
    [("a.NII.GZ", write_nifti), ("a.MHA", write_meta), ("a.NRRD", write_nrrd), ("a.Nii", write_nifti)],
)
def test_ending_in_upper_case_is_read(
    tmp_path: Path, voxels: np.ndarray, name: str, write: Callable[[Path, bytes], None]
) -> None:
    write(tmp_path / "lower", voxels.tobytes())
    content = (tmp_path / "lower").read_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("GZ") else content)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, voxels)


def test_compressed_nifti_without_gz_in_its_name_is_read(tmp_path: Path, voxels: np.ndarray) -> None:
    write_nifti(tmp_path / "plain.nii", voxels.tobytes())
    (tmp_path / "a.nii").write_bytes(gzip.compress((tmp_path / "plain.nii").read_bytes()))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array, voxels)


def test_geometry_survives_the_way_around_the_namesake(tmp_path: Path, voxels: np.ndarray) -> None:
    write_nifti(tmp_path / "a.nii.gz", voxels.tobytes())
    alone = read_volume(tmp_path / "a.nii.gz").grid
    write_nifti(tmp_path / "a.nii", voxels.tobytes(), spacing=(3, 2, 2.5), sform=((3, 0, 0, 0), *SFORM[1:]))
    assert read_volume(tmp_path / "a.nii.gz").grid == alone
