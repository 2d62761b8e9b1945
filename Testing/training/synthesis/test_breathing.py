"""The model of breathing: fits made-up motions exactly, describes what it has not seen, folds nowhere, keeps mass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.geometry import ImageGrid
from DeepLargeDeformRegLib.engine import fields

from training.config import find_config, load_config
from training.pairs.kept import KeptSample
from training.pairs.samples import Sample, Scan
from training.pairs.sources import Synthetic
from training.synthesis import SynthesisSettings, open_pairs, thorax
from training.synthesis.breathing import (
    BreathingModel,
    Correspondences,
    design,
    errors,
    fit_lung,
    fit_subject,
    read_correspondences,
)
from training.synthesis.breathing_report import DATA, left_out
from training.synthesis.breaths import Breath, BreathingSettings, velocity_on
from training.synthesis.draw import Draw
from training.synthesis.lung_maps import MapKind, read_lungs
from training.synthesis.motion import SQUARINGS, Placement
from training.synthesis.scanner import deformed
from training.synthesis.shapes import Shape
from training.synthesis.torso import ScannedPatient

from .conftest import COARSE, PLAIN

LOW, HIGH = np.array([[-120.0, -80, -110], [20, -80, -110]]), np.array([[-20.0, 80, 110], [120, 80, 110]])
REAL = (DATA / "lung-keypoints" / "l2r-lungct", DATA / "lung-mask-pairs")
SETTINGS = BreathingSettings(keypoints="points", masks="masks")


def subject(number: int, size: float, roll: float) -> Correspondences:
    """Points that follow the flow of a velocity that the splines hold: down by ``size``, and a shear by ``roll``."""
    random = np.random.default_rng(number)
    lung = random.integers(2, size=240)
    edges = HIGH[lung] - LOW[lung]
    middle = random.uniform(0.03, 0.97, (240, 3))
    z, y = middle[:, 2], middle[:, 1]
    motion = np.stack([0.02 * size * y, 0.1 * roll * (z - 0.5), -0.15 * size * (1 - z) ** 2], axis=1) * edges
    middle = LOW[lung] + middle * edges
    ends = {"expiration": middle - motion / 2, "inspiration": middle + motion / 2}
    return Correspondences(name=f"case_{number}", lung=lung, low=LOW, high=HIGH, **ends)


@pytest.fixture(scope="module")
def subjects() -> list[Correspondences]:
    random = np.random.default_rng(0)
    return [subject(n, size, roll) for n, (size, roll) in enumerate(random.normal(1, (0.4, 0.8), (4, 2)))]


@pytest.fixture(scope="module")
def model(subjects: list[Correspondences]) -> BreathingModel:
    return BreathingModel.of(subjects)


def test_a_spline_keeps_a_quadratic_motion(subjects: list[Correspondences]) -> None:
    random = np.random.default_rng(1)
    position, other = random.uniform(0, 1, (2, 300, 3))

    def motion(at: np.ndarray) -> np.ndarray:
        return np.stack([at[:, 0] * at[:, 1], at[:, 2] ** 2, 1 - at[:, 0]], axis=1)

    fitted = fit_lung(position, motion(position))
    assert fitted.shape == (3, 8, 8, 8)
    shifted = fit_lung(position, motion(position) + 1.0)
    assert np.allclose(shifted - fitted, 1, atol=1e-6)  # a shift costs nothing
    found = design(other) @ fitted.reshape(3, -1).T
    assert np.abs(found - motion(other)).mean() < 0.05  # of a range of 1


def test_the_flow_takes_expiration_to_inspiration(subjects: list[Correspondences]) -> None:
    for one in subjects:
        still = float(np.linalg.norm(one.motion, axis=1).mean())
        # 1 mm: the midpoint rule over the whole motion, and the spline's smoothness.
        assert errors(fit_subject(one), one) < max(0.06 * still, 0.3)


def test_two_modes_explain_what_varies_in_two_ways(model: BreathingModel, subjects: list[Correspondences]) -> None:
    assert model.modes.shape == (3, 2, 3, 8, 8, 8)
    assert model.explained.sum() == pytest.approx(1)
    assert model.explained[:2].sum() > 0.97
    table = left_out(subjects, (0, 1, 2))
    still, mean, both = (np.mean(table[key]) for key in ("still", "0", "2"))
    assert both < 0.4 * mean
    assert both < 0.25 * still


def test_a_model_needs_two_subjects(subjects: list[Correspondences]) -> None:
    with pytest.raises(BadInputError, match="two subjects"):
        BreathingModel.of(subjects[:1])
    with pytest.raises(BadInputError, match="one of its lungs"):
        fit_subject(replace(subjects[0], lung=np.zeros_like(subjects[0].lung)))


def lungs_and_cavity(grid: ImageGrid) -> tuple[torch.Tensor, torch.Tensor]:
    x, y, z = fields.points(grid)[0]
    inside = ((x.abs() - 70) / 55) ** 2 + (y / 85) ** 2 < 1
    lungs = torch.where(inside & (z.abs() < 110), torch.where(x < 0, 1, 2), 0)
    cavity = ((x / 140) ** 2 + (y / 100) ** 2 < 1) & (z < 115)
    return lungs, cavity


@pytest.mark.parametrize("seed", range(3))
def test_lungs_slide_along_ribs_and_nothing_folds(model: BreathingModel, seed: int) -> None:
    grid = ImageGrid.axis_aligned((48, 36, 40), (8.0, 8.0, 8.0), (-188.0, -140.0, -156.0))
    lungs, cavity = lungs_and_cavity(grid)
    breath = Breath.drawn(model, Draw(seed), SETTINGS)
    velocity = velocity_on(breath.velocity, lungs, cavity, grid)
    flow = fields.exponentiate(velocity, SQUARINGS)
    assert float(fields.jacobian_determinant(flow).min()) > 0
    moved = velocity.displacement[0].norm(dim=0)
    assert float(moved[lungs > 0].mean()) > 1
    far = torch.nn.functional.max_pool3d(cavity[None, None].float(), 5, 1, 2)[0, 0] == 0
    assert float(moved[far].max()) < 0.2 * float(moved[lungs > 0].max())
    there, back = (fields.exponentiate(replace(velocity, displacement=s * velocity.displacement)) for s in (1, -1))
    around = fields.compose(back, there).displacement.norm(dim=1)[0]
    assert float(around[lungs > 0].mean()) < 0.1 * float(moved[lungs > 0].mean()) + 0.1


def test_breaths_go_both_ways_and_beyond(model: BreathingModel) -> None:
    breaths = [Breath.drawn(model, Draw(seed), SETTINGS) for seed in range(40)]
    down = [float((breath.velocity[:, 2] * np.sign(model.mean[:, 2].mean())).mean()) for breath in breaths]
    assert min(down) < 0 < max(down)
    inflations = [breath.inflation for breath in breaths]
    assert 1 / 1.7 - 1e-9 <= min(inflations) < 0.85
    assert 1.15 < max(inflations) <= 1.7 + 1e-9
    one = breaths[0]
    assert np.allclose(one.halves()[0] - one.halves()[1], one.velocity)
    assert one.density()[0] / one.density()[1] == pytest.approx(one.inflation)


def write_subject(folder: Path, name: str, one: Correspondences, shape: Shape) -> None:
    (folder / "masks" / name).mkdir(parents=True)
    (folder / "points").mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(np.minimum(shape.array, 1))
    image.SetSpacing(shape.grid.spacing)
    image.SetOrigin(shape.grid.origin)
    sitk.WriteImage(image, folder / "masks" / name / "labels.nii.gz")
    index = np.hstack([shape.grid.to_index(points) for points in (one.expiration, one.inspiration)])
    np.savetxt(folder / "points" / f"{name}.csv", index, delimiter=",")


def test_pairs_breathe(tmp_path: Path, subjects: list[Correspondences], lungs: list[Shape]) -> None:
    for number, shape in enumerate(lungs):
        write_subject(tmp_path, f"case_{number}", subjects[number], shape)
    read = read_correspondences(tmp_path / "points", tmp_path / "masks")
    assert np.allclose(read[0].motion, subjects[0].motion, atol=0.01)
    assert np.mean(read[0].lung == subjects[0].lung) > 0.99
    settings = SynthesisSettings(
        anatomy="thorax",
        same_patient=1.0,
        patients=2,
        one_lung=0.0,
        scanner=PLAIN,
        breathing=BreathingSettings(keypoints=str(tmp_path / "points"), masks=str(tmp_path / "masks")),
    )
    names = ["masks/case_0/labels", "masks/case_1/labels"]
    pairs = open_pairs(settings, tmp_path, COARSE, (1, 2, 3, 4, 5), names)
    assert pairs.model is not None
    assert pairs.model.subjects == ("case_0", "case_1")
    pair = pairs.pair(3)
    assert pair.field is not None
    assert float(fields.jacobian_determinant(pair.field).min()) > 0
    assert float(pair.fixed.mask.sum()) > 100
    with pytest.raises(BadInputError, match="case_9"):
        read_correspondences(tmp_path / "points", tmp_path / "masks", ["case_9"])


def test_label_maps_tell_lungs_lobes_and_tubes(tmp_path: Path, lungs: list[Shape]) -> None:
    sides = lungs[0].array
    lobes = np.where(sides == 1, 5, np.where(sides == 2, 2, 0)).astype(np.uint8)
    where = np.argwhere(lobes == 5)
    z, y, x = where[len(where) // 2]
    lobes[z, y, x - 1 : x + 2] = 7
    lobes[-1, 20, 30] = 6  # windpipe above the lungs
    (tmp_path / "maps").mkdir()
    image = sitk.GetImageFromArray(lobes)
    image.SetSpacing(lungs[0].grid.spacing)
    sitk.WriteImage(image, tmp_path / "maps" / "one.nii.gz")
    kind = MapKind(lobes=True, vessels=7, airways=6)
    shape = read_lungs(tmp_path, ["maps/one"], {"maps": kind})[0]
    counts = np.bincount(shape.lungs.array.ravel(), minlength=3)
    assert counts[1] == np.count_nonzero(sides == 1)  # the vessel is lung
    assert counts[2] == np.count_nonzero(sides == 2)
    middle = ImageGrid.axis_aligned((32, 24, 24), (12.0, 12.0, 12.0), (-186.0, -138.0, -138.0))
    parts = shape.parts_on(middle, torch.device("cpu"))
    assert parts.lobes is not None
    assert set(parts.lobes.unique().tolist()) == {0, 2, 5}
    assert parts.vessels is not None
    assert 0.3 < float(parts.vessels.sum()) * middle.voxel_volume / (3 * lungs[0].grid.voxel_volume) < 3
    plain = read_lungs(tmp_path, ["maps/one"], {})[0]
    assert plain.parts_on(middle, torch.device("cpu")).lobes is None
    with pytest.raises(BadInputError, match="two"):
        read_lungs(tmp_path, ["maps/two"], {})


def test_real_scans_get_denser_but_their_vessels_do_not() -> None:
    grid = ImageGrid.axis_aligned((24, 24, 24), (8.0, 8.0, 8.0))
    image = torch.full(grid.shape, 40.0)
    labels = torch.zeros(grid.shape, dtype=torch.uint8)
    labels[6:18, 4:20, 2:10], labels[6:18, 4:20, 14:22] = 7, 6
    image[labels > 0] = -800
    image[10:14, 10:14, 4:8] = 50
    image[:, :2] = 700
    patient = thorax.scanned_thorax(ScannedPatient(grid, image, labels, torch.ones(grid.shape, dtype=torch.bool)))
    assert not bool(patient.breathing[:, :2].any())
    assert bool(patient.breathing[2, 12, 6])  # under the lung
    place = fields_place(grid).denser(1.5)
    result = deformed(patient, place, torch.zeros(1))
    assert float(result[8, 6, 4]) == pytest.approx(-700, abs=1)
    assert float(result[12, 12, 6]) == pytest.approx(50, abs=1)
    assert float(result[2, 12, 12]) == pytest.approx(40, abs=1)


def fields_place(grid: ImageGrid) -> Placement:
    return Placement(fields.identity(grid), torch.ones(grid.shape))


def test_kept_pairs_come_back_either_way_round() -> None:
    random = torch.Generator().manual_seed(0)
    scans = [Scan(torch.rand((2, 4, 5, 6), generator=random), torch.ones((1, 4, 5, 6))) for _ in range(2)]
    points = torch.rand((2, 7, 3), generator=random)
    kept = KeptSample.of(Sample(fixed=scans[0], moving=scans[1], fixed_points=points[0], moving_points=points[1]))
    same, turned = kept.sample(turned=False), kept.sample(turned=True)
    assert torch.allclose(same.fixed.image, scans[0].image, atol=1e-3)
    assert torch.equal(turned.fixed.image, same.moving.image)
    assert turned.fixed_points is not None
    assert torch.equal(turned.fixed_points, points[1])


@pytest.mark.skipif(not REAL[1].is_dir(), reason="the correspondences lie beside the repository")
def test_the_configuration_draws_real_lungs_and_scans_that_breathe() -> None:
    config = load_config(find_config(Path("lung-ct-breathing-cpu")))
    options = {**config.data.options, "patients": 2, "real": 0.5}
    config = replace(config, data=replace(config.data, options=options))
    names = [
        "lung-mask-pairs/case_016/labels",
        "lung-mask-pairs/case_018/labels",
        "labelmaps-lobes/medrad-resp2/labels",
    ]
    pairs = Synthetic(config, names, "cpu").pairs
    assert pairs.model is not None
    assert pairs.model.subjects == ("case_016", "case_018")
    for seed in (0, 2):
        pair = pairs.pair(seed)
        assert pair.field is not None
        assert float(fields.jacobian_determinant(pair.field).min()) > 0
        assert float(pair.fixed.mask.sum()) * pairs.grid.voxel_volume > 0.5e6  # mm^3
        assert float((pair.field.displacement[0].norm(dim=0) * pair.fixed.mask[0]).max()) > 3


@pytest.mark.skipif(not REAL[1].is_dir(), reason="the correspondences lie beside the repository")
def test_real_subjects() -> None:
    subjects = read_correspondences(*REAL, ["case_004", "case_016", "case_018"])
    for one in subjects:
        still = float(np.linalg.norm(one.motion, axis=1).mean())
        assert errors(fit_subject(one), one) < 0.45 * still  # measured: 0.18 to 0.25
        assert np.all(one.high[0] - one.low[0] > 90)
        assert one.high[0][0] < one.high[1][0]  # the right lung is right
