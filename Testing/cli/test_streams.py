"""Standard output and error that are full, closed or plain ASCII cost lines, never results nor the exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

COMMANDS = {
    "register": ("fixed.nrrd", "moving.nrrd", "--steps", "2", "--prealign", "none", "--output-volume", "warped.nrrd"),
    "evaluate": ("shift.tfm", "fixed.nrrd", "--moving", "moving.nrrd", "--report", "report.html"),
}

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs /dev/full and pipes that a reader closes")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with two blobs 3 mm apart, outlined under a name that ASCII does not have, and the shift."""
    z, y, x = np.mgrid[:24, :24, :24]
    for name, center in (("fixed", 12), ("moving", 15)):
        blob = 100 * np.exp(-((x - center) ** 2 + (y - 12) ** 2 + (z - 12) ** 2) / 40)
        sitk.WriteImage(sitk.GetImageFromArray(blob.astype(np.float32)), str(tmp_path / f"{name}.nrrd"))
        labels = sitk.GetImageFromArray((blob > 40).astype(np.uint8))
        for key, value in (("Name", "Ödem [/b] 肝"), ("LabelValue", "1"), ("Layer", "0"), ("ID", "one")):
            labels.SetMetaData(f"Segment0_{key}", value)
        sitk.WriteImage(labels, str(tmp_path / f"{name}.seg.nrrd"))
    sitk.WriteTransform(sitk.TranslationTransform(3, (3.0, 0.0, 0.0)), str(tmp_path / "shift.tfm"))
    return tmp_path


# Commands show what they show by one class: each kind of stream by the quick command, a registration by the worst.
CASES = [("evaluate", stream) for stream in ("full output", "full output and error", "closed pipes", "ASCII")]


@pytest.mark.parametrize(("name", "stream"), [*CASES, ("register", "closed pipes")])
def test_streams_cost_no_results(scans: Path, name: str, stream: str) -> None:
    outlines = ("--fixed-segmentation", "fixed.seg.nrrd", "--moving-segmentation", "moving.seg.nrrd")
    line = [
        sys.executable,
        "-m",
        "DeepLargeDeformRegLib.cli",
        name,
        *COMMANDS[name],
        *outlines,
        "--metrics",
        "metrics.json",
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"} if stream == "ASCII" else dict(os.environ)
    with Path("/dev/full").open("w", encoding="ascii") as full:
        out = full if stream.startswith("full") else subprocess.PIPE
        errors = full if stream.endswith("error") else subprocess.PIPE
        process = subprocess.Popen(line, cwd=scans, env=environment, stdout=out, stderr=errors)
    if stream == "closed pipes":
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        process.wait(timeout=300)
    else:
        shown, told = process.communicate(timeout=300)
        assert b"Traceback" not in (told or b"")
        assert shown is None or (b"?dem [/b] ?" in shown and shown.isascii())
    assert process.returncode == 0
    assert "Ödem [/b] 肝" in json.loads((scans / "metrics.json").read_text(encoding="utf-8"))["dice"]
    if name == "evaluate":
        assert (scans / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    else:
        assert sitk.ReadImage(str(scans / "warped.nrrd")).GetSize() == (24, 24, 24)
    assert not [path.name for path in scans.iterdir() if path.name.startswith(".")]
