"""Outputs appear whole or not at all: full disks, interruptions and wrong names leave no half-written file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from DeepLargeDeformRegLib.core.errors import BadInputError, OutputError
from DeepLargeDeformRegLib.core.files import check_output, written_whole

# A limit on the size of files makes every writer meet a real "no more space" from the operating system.
WRITE_ON_A_FULL_DISK = """
import resource, signal, sys
import numpy as np, torch
from DeepLargeDeformRegLib.core.errors import OutputError
from DeepLargeDeformRegLib.engine.fields import DisplacementField
from DeepLargeDeformRegLib.engine.fields import write_transform
from DeepLargeDeformRegLib.core.files import write_label_map, write_landmarks, write_volume
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, LabelMap, Volume

grid = ImageGrid.axis_aligned((40, 40, 40), (1, 1, 1))
rng = np.random.default_rng(0)
noise = rng.normal(size=(3, *grid.shape)).astype(np.float32)
labels = LabelMap(rng.integers(0, 20000, grid.shape).astype(np.int16), grid, (Label(value=1, name="noise"),))
field = DisplacementField(torch.from_numpy(noise)[None], grid)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))
writers = {
    "v.nrrd": (write_volume, Volume(noise[0], grid)), "v.nii": (write_volume, Volume(noise[0], grid)),
    "v.nii.gz": (write_volume, Volume(noise[0], grid)), "v.mha": (write_volume, Volume(noise[0], grid)),
    "l.seg.nrrd": (write_label_map, labels), "l.nii.gz": (write_label_map, labels),
    "t.h5": (write_transform, field), "t.tfm": (write_transform, field), "t.nrrd": (write_transform, field),
    "t.nii.gz": (write_transform, field), "t.nii": (write_transform, field),
    "p.mrk.json": (write_landmarks, noise[0, :, :, :3].reshape(-1, 3)),
}
for name, (write, content) in writers.items():
    try:
        write(content, name)
    except OutputError as error:
        print(name, error.message, sep="|")
    else:
        print(name, "written", sep="|")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the limit on file sizes of POSIX systems")
def test_full_disk_leaves_nothing_and_says_so(tmp_path: Path, repository: Path) -> None:
    older = tmp_path / "v.nii.gz"
    older.write_bytes(b"an older result")
    environment = {**os.environ, "PYTHONPATH": str(repository / "DeepLargeDeformReg"), "OMP_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-c", WRITE_ON_A_FULL_DISK], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    lines = [line.split("|") for line in child.stdout.splitlines() if "|" in line]
    assert len(lines) == 12
    for name, message in lines:
        assert message.startswith(f"{name} could not be written"), message
        assert "disk" in message
    assert [one.name for one in tmp_path.iterdir()] == ["v.nii.gz"]
    assert older.read_bytes() == b"an older result"


def test_more_than_the_disk_holds_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="disk is full"), written_whole(tmp_path / "a.h5", size=1 << 60):
        raise AssertionError("nothing may be written")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), MemoryError(), BadInputError("no")])
def test_interruption_leaves_the_older_file(tmp_path: Path, interruption: BaseException) -> None:
    (tmp_path / "a.csv").write_text("older")
    with pytest.raises(type(interruption)), written_whole(tmp_path / "a.csv") as temporary:
        _write_and_fail(temporary, interruption)
    assert [one.name for one in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "older"


def _write_and_fail(path: Path, error: BaseException) -> None:
    path.write_text("half")
    raise error


def test_temporary_file_keeps_the_ending(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.seg.nrrd") as temporary:
        assert temporary.name.endswith(".seg.nrrd")
        assert temporary.parent == tmp_path
        temporary.write_text("x")
    assert [one.name for one in tmp_path.iterdir()] == ["a.seg.nrrd"]


def test_output_is_checked_before_the_work(tmp_path: Path) -> None:
    check_output(tmp_path / "A.nii.gz", (".nii.gz",))
    with pytest.raises(BadInputError, match="lower case"):  # ITK writes no NIfTI under this name
        check_output(tmp_path / "A.NII.GZ", (".nii.gz",))
    with pytest.raises(OutputError, match="name is too long"):
        check_output(tmp_path / ("a" * 300 + ".nrrd"), (".nrrd",))
    (tmp_path / "folder.nrrd").mkdir()
    with pytest.raises(BadInputError, match="a folder of this name"):
        check_output(tmp_path / "folder.nrrd", (".nrrd",))
    with pytest.raises(BadInputError, match=r"must end in \.nrrd, \.mha"):
        check_output(tmp_path / "a.nii", (".nrrd", ".mha"))
    with pytest.raises(OutputError, match="folder does not exist"):
        check_output(tmp_path / "missing" / "a.nrrd", (".nrrd",))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the administrator may write everywhere")
def test_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="read-only"):
        check_output(tmp_path / "a.nrrd", (".nrrd",))
