"""The benchmark's own parts: what is measured, the common grid, and peers that are not installed."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files import read_volume
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.core.images import Label, LabelMap, LandmarkPairs
from DeepLargeDeformRegLib.core.settings import RegistrationSettings
from DeepLargeDeformRegLib.core.tables import comma_separated, markdown
from DeepLargeDeformRegLib.engine import fields
from DeepLargeDeformRegLib.engine.fields import DisplacementField, as_tensor
from DeepLargeDeformRegLib.engine.registration.pipeline import RegistrationRequest, RegistrationResult, register

from training.evaluation import benchmark
from training.evaluation.benchmark import COLUMNS, common_grid, exact_table, measure, run, table
from training.evaluation.cases import Case, load_cases
from training.evaluation.peers import PEERS, Peer, _deeds_field, _from_array_axes


@pytest.fixture
def case(sample_case: Path) -> Case:
    """The sample pair at a fourth of its resolution, each scan labeled by its brighter half."""
    fixed, moving = (_quarter(read_volume(sample_case / f"{name}.nii.gz")) for name in ("fixed", "moving"))
    labels = [
        LabelMap((scan.array > -500).astype(np.int16), scan.grid, (Label(value=1, name="dense"),))
        for scan in (fixed, moving)
    ]
    points = np.array([fixed.grid.center, np.array(fixed.grid.center) + 10])
    landmarks = LandmarkPairs(points, points + np.array([3.0, 4.0, 0.0]), ("a", "b"))
    return Case(
        name="sample",
        preset="lung-ct",
        spacing_mm=8.0,
        fixed=fixed,
        moving=moving,
        fixed_labels=labels[0],
        moving_labels=labels[1],
        landmarks=landmarks,
    )


def _quarter(volume):  # type: ignore[no-untyped-def]
    pooled = torch.nn.functional.avg_pool3d(as_tensor(volume), 4)
    return dataclasses.replace(volume, array=pooled[0, 0].numpy(), grid=volume.grid.coarser(4))


def test_landmarks_that_a_field_hits_have_no_error(case: Case) -> None:
    shift = torch.tensor([3.0, 4.0, 0.0]).reshape(1, 3, 1, 1, 1)
    known = DisplacementField(shift.expand(1, 3, *case.fixed.grid.shape), case.fixed.grid)
    assert measure(case, known)["tre_mm"] == pytest.approx(0.0, abs=1e-4)
    missed = measure(case, fields.identity(case.fixed.grid))
    assert missed["tre_mm"] == pytest.approx(5.0)
    assert missed["fold_percent"] == 0.0


def test_common_grid_covers_both_scans(case: Case) -> None:
    grid = common_grid(case)
    for scan in (case.fixed, case.moving):
        index = grid.to_index(scan.grid.corners)
        assert (index >= -1e-6).all()
        assert (index <= np.array(grid.size) - 1 + 1e-6).all()


def _with(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> list[RegistrationSettings]:
    """Let the benchmark register with other settings, to be quick; returns those that it asked for."""
    asked = []

    def quick(request: RegistrationRequest) -> RegistrationResult:
        asked.append(request.settings)
        return register(dataclasses.replace(request, settings=dataclasses.replace(request.settings, **settings)))

    monkeypatch.setattr(benchmark, "register", quick)
    return asked


def test_ours_improves_on_the_scans_as_loaded(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    _with(monkeypatch, iterations=3, prealign="translation")
    ours, loaded = run(case, "ours"), run(case, "as loaded")
    assert ours["dice"] > loaded["dice"]
    assert ours["fold_percent"] == 0.0
    assert ours["seconds"] > 0
    assert f"| {ours['dice']:.3f} |" in markdown(table([ours, loaded]))
    assert markdown(table([ours])).count("|") == 3 * (len(COLUMNS) + 1)


def test_a_model_can_be_named_besides_the_presets_own(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _with(monkeypatch, prealign="none")
    assert "error" not in run(case, "network alone+liver-ct")
    run(case, "pre-alignment alone")
    assert [settings.model for settings in asked] == ["liver-ct", "none"]
    assert "no-such-model" in run(case, "ours+no-such-model")["error"]


def test_peers_that_cannot_search_far_get_our_linear_alignment(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    unmoved = dataclasses.replace(PEERS["convexadam"], register=lambda fixed, moving: fields.identity(fixed.grid))
    monkeypatch.setitem(PEERS, "convexadam", unmoved)
    aligned = dataclasses.replace(case, align_for_peers=True)
    ours, theirs = run(aligned, "pre-alignment alone"), run(aligned, "convexadam")
    assert theirs["dice"] == pytest.approx(ours["dice"], abs=0.01)
    assert theirs["dice"] > run(case, "convexadam")["dice"]


def test_the_table_as_csv(case: Case) -> None:
    rows = [run(case, "as loaded"), {"case": "a, b", "method": "x", "error": "failed"}]
    read = list(csv.DictReader(io.StringIO(comma_separated(exact_table(rows)))))
    assert float(read[0]["dice"]) == rows[0]["dice"]
    assert (read[1]["case"], read[1]["error"], read[1]["dice"]) == ("a, b", "failed", "")


def test_a_peer_that_is_not_installed_says_so() -> None:
    nobody = Peer("Nobody", "no_such_package", lambda fixed, moving: fields.identity(fixed.grid))
    assert nobody.missing == (
        "Nobody is left out: the package 'no_such_package' is not installed (pip install .[peers])."
    )


def test_a_peer_that_fails_is_a_row_of_the_table(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fixed, moving):  # type: ignore[no-untyped-def]
        raise RuntimeError("out of luck")

    monkeypatch.setitem(PEERS, "convexadam", dataclasses.replace(PEERS["convexadam"], register=fail))
    row = run(case, "convexadam")
    assert row["error"] == "RuntimeError: out of luck"
    assert "out of luck" in markdown(table([row]))


def test_peers_displacements_are_brought_to_millimeters() -> None:
    grid = ImageGrid.axis_aligned((8, 12, 16), (1.0, 2.0, 3.0))
    by_array = np.zeros((16, 12, 8, 3))
    by_array[..., 0] = 1.0  # along z
    assert _from_array_axes(by_array, grid).displacement[0, :, 5, 5, 5].tolist() == [0.0, 0.0, 3.0]
    stored = np.zeros((3, 4, 3, 2), np.float32)
    stored[0] = 1.0  # deeds stores y first
    assert _deeds_field(stored.ravel(), grid).displacement[0, :, 5, 5, 5].tolist() == [0.0, 2.0, 0.0]


def test_convex_adam_finds_a_shift(case: Case) -> None:
    if importlib.util.find_spec("convexAdam") is None:
        pytest.skip("convexAdam is not installed: pip install .[peers]")
    field = PEERS["convexadam"].register(case.fixed, case.fixed)
    assert float(field.displacement.norm(dim=1).mean()) < float(min(case.fixed.grid.spacing))


def test_missing_groups_and_data_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no benchmark cases 'brain'"):
        load_cases(["brain"])
    with pytest.raises(BadInputError):
        load_cases(["lung"], tmp_path)


def test_vessel_trees_are_painted_as_lungs(tmp_path: Path) -> None:
    folder = tmp_path / "lung-shapes" / "vessel-pairs"
    folder.mkdir(parents=True)
    tree = np.zeros((60, 60, 60), np.uint8)
    tree[20:40, 28:32, 28:32] = 1
    tree[28:32, 20:40, 28:32] = 2
    for state in (1, 2):
        sitk.WriteImage(sitk.GetImageFromArray(np.roll(tree, 5 * state, axis=0)), folder / f"case001_{state}.nii.gz")
    (case,) = load_cases(["lung-vessels"], tmp_path)
    (again,) = load_cases(["lung-vessels"], tmp_path)
    assert np.array_equal(case.fixed.array, again.fixed.array)
    assert case.fixed_labels is not None
    vessels = case.fixed_labels.array > 0
    closer, near = (scipy.ndimage.binary_dilation(vessels, iterations=reach) for reach in (2, 3))
    assert np.median(case.fixed.array[near & ~closer]) < -700 < np.median(case.fixed.array[vessels]) < 0
    assert abs(case.fixed.array[:5].mean() - 40) < 5
