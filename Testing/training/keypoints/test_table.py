"""Keypoints for a table of pairs: the new table is one to train on, and a second run makes nothing anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.images import LandmarkPairs, Volume
from typer import Typer
from typer.testing import CliRunner

from training.data import open_data_set
from training.keypoints import table


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pairs of noise, of which the second has no keypoints; the matching is made up."""
    folder = tmp_path / "data"
    folder.mkdir()
    noise = np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32)
    for name, factor in (("a", 1), ("b", 2), ("c", -1)):
        sitk.WriteImage(sitk.GetImageFromArray(factor * noise), str(folder / f"{name}.nrrd"))
    (folder / "pairs.csv").write_text(
        "fixed,moving,patient,split\na.nrrd,b.nrrd,one,train\na.nrrd,c.nrrd,two,train\nb.nrrd,a.nrrd,three,validation\n"
    )

    def match(fixed: Volume, moving: Volume, *_: object) -> LandmarkPairs:
        if float((fixed.array * moving.array).sum()) < 0:
            raise BadInputError("Only 3 keypoints could be matched there and back.")
        points = np.arange(30.0).reshape(10, 3)
        return LandmarkPairs(points, points + 1)

    monkeypatch.setattr(table, "match", match)
    return folder / "pairs.csv"


def test_the_new_table_has_the_keypoints_of_all_pairs_that_have_some(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Typer()
    app.command()(table.main)
    output = tmp_path / "out" / "with-keypoints.csv"
    found = CliRunner().invoke(app, [str(pairs), "--output", str(output), "--device", "cpu"])
    assert found.exit_code == 0, found.output
    assert "a, c: Only 3 keypoints" in found.output
    data_set = open_data_set("csv", output)
    (train,), (validation,) = data_set.listed("train"), data_set.listed("validation")
    assert (train.fixed.patient, validation.fixed.name) == ("one", "b")
    keypoints = train.keypoints()
    assert keypoints is not None
    assert np.allclose(keypoints.moving, keypoints.fixed + 1)
    written = output.read_bytes()
    monkeypatch.setattr(table, "_found", lambda pair, *_: pytest.fail(f"{pair.fixed.name} is matched again"))
    (tmp_path / "out" / "keypoints" / "2.csv").write_bytes((tmp_path / "out" / "keypoints" / "1.csv").read_bytes())
    again = CliRunner().invoke(app, [str(pairs), "--output", str(output), "--device", "cpu"])
    assert again.exit_code == 0, again.output
    assert written != output.read_bytes(), "the pair that had none has some now"
    assert len(open_data_set("csv", output).listed("train")) == 2


def test_a_table_of_subjects_is_refused(pairs: Path, tmp_path: Path) -> None:
    subjects = pairs.with_name("subjects.csv")
    subjects.write_text("image\na.nrrd\n")
    with pytest.raises(BadInputError, match="table of subjects"):
        table.find_all(subjects, tmp_path / "new.csv", table.KeypointSettings())
