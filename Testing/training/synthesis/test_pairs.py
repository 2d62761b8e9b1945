"""Pairs: the same from the same seed, true maps that fit images, labels and points, labels that fit images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.image
import pytest
import torch
from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.engine import fields
from typer import Typer
from typer.testing import CliRunner

from training.schema import build
from training.synthesis import (
    SynthesisSettings,
    SyntheticPair,
    SyntheticPairs,
    abdomen,
    open_pairs,
    preview,
    structures_of,
    thorax,
)
from training.synthesis.draw import Draw
from training.synthesis.motion import true_field
from training.synthesis.pairs import mirror
from training.synthesis.scanner import deformed
from training.synthesis.shapes import RealScan, Shape, breathing_motions
from training.synthesis.tissues import attenuation
from training.synthesis.torso import Patient

from .conftest import COARSE, GRID, PLAIN

LIVER, LUNGS = abdomen.STRUCTURES["liver"], thorax.STRUCTURES["lungs"]
ABDOMEN = SynthesisSettings(anatomy="abdomen", same_patient=1.0, patients=3, strength=(1.0, 1.0))
THORAX = SynthesisSettings(anatomy="thorax", same_patient=1.0, patients=3, one_lung=0.0, strength=(1.0, 1.0))


@pytest.fixture(scope="module")
def abdomens(livers: list[Shape]) -> SyntheticPairs:
    return SyntheticPairs(livers, replace(ABDOMEN, scanner=PLAIN, same_phase=1.0), GRID, (LIVER, 10, 11, 12))


@pytest.fixture(scope="module")
def thoraxes(lungs: list[Shape]) -> SyntheticPairs:
    return SyntheticPairs(lungs, replace(THORAX, scanner=PLAIN, same_phase=1.0), GRID, (1, 2, 3, 4, 5))


def error(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().sum() / (first + second).sum())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("anatomy", ["abdomens", "thoraxes"])
def test_the_true_field_maps_fixed_to_moving(anatomy: str, seed: int, request: pytest.FixtureRequest) -> None:
    pair: SyntheticPair = request.getfixturevalue(anatomy).pair(seed)
    assert pair.field is not None
    assert float(fields.jacobian_determinant(pair.field).min()) > 0
    labels = fields.warp(pair.moving.labels[None], pair.grid, pair.field)[0]
    before, after = error(pair.fixed.mask, pair.moving.mask), error(pair.fixed.labels, labels)
    assert before > 0.08
    assert after < 0.4 * before
    assert after < 0.08
    assert pair.fixed_points is not None
    assert pair.moving_points is not None
    assert torch.allclose(fields.transform_points(pair.field, pair.fixed_points), pair.moving_points)


def test_images_follow_the_true_field(abdomens: SyntheticPairs, thoraxes: SyntheticPairs) -> None:
    for pairs in (abdomens, thoraxes):
        draw = Draw(4)
        patient, table = pairs.patient(0), attenuation(draw, "portal")
        motions = [pairs._motion(draw, patient, pairs.settings.motion, breathes=True) for _ in range(2)]
        placed = [motion.on(pairs.grid) for motion in motions]
        same = [replace(place, volume=torch.ones_like(place.volume)) for place in placed]  # no change of density
        fixed, moving = (deformed(patient, place, table) for place in same)
        truth = true_field(placed[0], motions[1])
        warped = fields.warp(moving[None, None], pairs.grid, truth, padding="border")[0, 0]
        inside = fields.warp(torch.ones_like(moving)[None, None], pairs.grid, truth)[0, 0] > 0
        before, after = ((image - fixed)[inside].abs().mean() for image in (moving, warped))
        assert float(after) < 0.4 * float(before)


def test_points_lie_in_the_organ(thoraxes: SyntheticPairs) -> None:
    pair = thoraxes.pair(0)
    assert pair.fixed_points is not None
    assert pair.moving_points is not None
    for points, scan in ((pair.fixed_points, pair.fixed), (pair.moving_points, pair.moving)):
        index = torch.from_numpy(pair.grid.to_index(points.numpy())).float().T.reshape(1, 3, 1, 1, -1)
        share = fields.sample(scan.mask[None], index).flatten()
        assert float((share > 0.2).float().mean()) > 0.93


def test_same_seed_same_pair(livers: list[Shape]) -> None:
    settings = replace(ABDOMEN, same_patient=0.5)
    first, second = (SyntheticPairs(livers, settings, COARSE, (LIVER,)) for _ in range(2))
    second.pair(5)  # what was drawn before does not matter
    kinds = set()
    for seed in range(4):
        one, other = first.pair(seed), second.pair(seed)
        kinds.add(one.same_patient)
        assert torch.equal(one.fixed.image, other.fixed.image)
        assert torch.equal(one.moving.image, other.moving.image)
        assert torch.equal(one.moving.labels, other.moving.labels)
        assert one.same_patient == other.same_patient
    assert not torch.equal(first.pair(0).fixed.image, first.pair(1).fixed.image)
    assert kinds == {True, False}
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    drawn = [source.draw(generator) for source, generator in zip((first, second), generators, strict=True)]
    assert torch.equal(drawn[0].fixed.image, drawn[1].fixed.image)


def test_labels_fit_images(abdomens: SyntheticPairs, thoraxes: SyntheticPairs) -> None:
    pair = abdomens.pair(1)
    liver = pair.fixed.image[pair.fixed.labels[:1] > 0.99]
    assert -20 < float(liver.median()) < 160
    assert float(liver.quantile(0.9) - liver.quantile(0.1)) < 120
    pair = thoraxes.pair(1)
    for scan in (pair.fixed, pair.moving):
        assert torch.allclose(scan.labels.sum(dim=0, keepdim=True), scan.mask, atol=1e-5)
        assert -1000 < float(scan.image[scan.mask > 0.99].median()) < -500
    outside = pair.fixed.image[(pair.fixed.mask < 0.01) & (pair.fixed.image > -400)]
    assert -150 < float(outside.median()) < 100


def test_compressed_lungs_are_denser(thoraxes: SyntheticPairs) -> None:
    ratios = []
    for seed in range(3):
        pair = thoraxes.pair(seed)
        masses = [float(((s.image + 1000) * (s.mask > 0.5)).sum()) for s in (pair.fixed, pair.moving)]
        volumes = [float(s.mask.sum()) for s in (pair.fixed, pair.moving)]
        # Of one and the same lung each scan gives about the same mass, whatever its volume.
        ratios.append((masses[0] / masses[1], volumes[0] / volumes[1]))
    assert max(abs(v - 1) for _, v in ratios) > 0.05
    for mass, volume in ratios:
        assert abs(mass - 1) < 0.15 + 0.5 * abs(volume - 1)


def test_two_patients_have_no_true_field(livers: list[Shape]) -> None:
    pairs = SyntheticPairs(livers, replace(ABDOMEN, same_patient=0.0), COARSE, (LIVER, 1))
    pair = pairs.pair(0)
    assert not pair.same_patient
    assert pair.fixed_points is None
    assert pair.fixed.labels.shape == (2, *COARSE.shape)
    assert not torch.equal(pair.fixed.labels, pair.moving.labels)


def test_mirrored_patients_keep_left_and_right(abdomens: SyntheticPairs, lungs: list[Shape]) -> None:
    patient = abdomens.patient(0)
    other = mirror(patient, abdomen.EXCHANGED)
    right, left = abdomen.STRUCTURES["right kidney"], abdomen.STRUCTURES["left kidney"]
    assert torch.equal(other.labels == right, (patient.labels == left).flip(2))
    assert torch.equal(other.labels == LIVER, (patient.labels == LIVER).flip(2))
    assert torch.equal(other.tissues, patient.tissues.flip(2))
    twice = mirror(other, abdomen.EXCHANGED)
    assert torch.equal(twice.labels, patient.labels)
    flipped = lungs[0].mirrored({1: 2})
    center = flipped.array.shape[2] // 2
    assert set(flipped.array[:, :, : center - 4].ravel()) == {0, 1}  # the right lung stays at the right
    assert (flipped.array > 0).sum() == (lungs[0].array > 0).sum()


def test_fields_of_view_cut_images_and_not_labels(livers: list[Shape]) -> None:
    scanner = replace(PLAIN, cut=1.0, largest_cut=0.5)
    full = SyntheticPairs(livers, replace(ABDOMEN, scanner=PLAIN), COARSE, (LIVER,))
    cut = SyntheticPairs(livers, replace(ABDOMEN, scanner=scanner), COARSE, (LIVER,))
    shares = []
    for seed in range(4):
        one, other = full.pair(seed), cut.pair(seed)
        assert torch.equal(one.fixed.labels, other.fixed.labels)
        shares.append(float(((other.fixed.image == -1000) & (one.fixed.image > -990)).float().mean()))
    assert max(shares) > 0.05


def test_noise_and_phases_differ_between_scans(livers: list[Shape]) -> None:
    noisy = SyntheticPairs(livers, replace(ABDOMEN, same_phase=0.0), COARSE, (LIVER,))
    drawn = [noisy.pair(seed).fixed for seed in range(4)]
    levels = [float(scan.image[scan.mask > 0.99].median()) for scan in drawn]
    assert max(levels) - min(levels) > 15


def test_bad_wishes_are_refused(livers: list[Shape]) -> None:
    with pytest.raises(BadInputError, match="not of 'brain'"):
        SynthesisSettings(anatomy="brain")
    with pytest.raises(BadInputError, match="no structure 99; it has 1 liver segment 1"):
        SyntheticPairs(livers, ABDOMEN, GRID, (99,))
    with pytest.raises(BadInputError, match="two patients"):
        SyntheticPairs(livers[:1], replace(ABDOMEN, same_patient=0.5), GRID, (LIVER,))


def test_from_the_label_maps_of_real_livers(shared_data: Path) -> None:
    names = ["LiTS-0", "3Dircadb-10"]
    pairs = open_pairs(ABDOMEN, shared_data / "liver-segments", GRID, range(1, 10), names)
    pair = pairs.pair(0)
    volume = float(pair.fixed.labels[8].sum()) * GRID.voxel_volume / 1000
    assert 700 < volume < 3000
    assert torch.allclose(pair.fixed.labels[:8].sum(dim=0), pair.fixed.labels[8], atol=1e-5)
    with pytest.raises(BadInputError, match="LiTS-28 cannot be used for synthesis"):
        open_pairs(ABDOMEN, shared_data / "liver-segments", GRID, (9,), ["LiTS-28", "LiTS-0"])


def test_from_real_lungs_and_their_breathing(shared_data: Path) -> None:
    folder = shared_data / "lung-shapes" / "copdgene-masks-landmarks"
    pairs = open_pairs(replace(THORAX, real_breathing=1.0), folder, GRID, (7, 6), ["case01_insp_mask"])
    assert len(pairs.breathing) == 1  # of the named cases alone: others are validated on
    assert breathing_motions(folder, ["somebody_mask"]) == []
    pair = pairs.pair(0)
    right, left = (float(share.sum()) for share in pair.fixed.labels)
    assert right > left  # in nine of ten people
    assert pair.field is not None
    assert float(fields.jacobian_determinant(pair.field).min()) > 0


def test_every_structure_has_a_name() -> None:
    for anatomy in ("abdomen", "thorax"):
        values = list(structures_of(anatomy).values())
        assert len(values) == len(set(values))


def test_a_kept_patient_is_not_painted_again(livers: list[Shape]) -> None:
    pairs = SyntheticPairs(livers, ABDOMEN, COARSE, (LIVER,))
    first = pairs.patient(1)
    assert pairs.patient(1) is first


@pytest.mark.parametrize("patients", [2, 5])
def test_no_more_patients_are_painted_than_are_kept(
    livers: list[Shape], patients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(ABDOMEN, same_patient=0.0, patients=patients, kept=patients)
    pairs = SyntheticPairs(livers, settings, COARSE, (LIVER,))
    painted = pairs.patient(0)
    drawn: list[int] = []

    def patient(index: int) -> Patient:
        drawn.append(index)
        return painted

    monkeypatch.setattr(pairs, "patient", patient)
    for seed in range(12):
        pairs.pair(seed)
    assert set(drawn) == set(range(patients))
    assert all((first - second) % len(livers) for first, second in zip(drawn[::2], drawn[1::2], strict=True))


def test_real_scans_are_deformed_into_pairs(livers: list[Shape], shared_data: Path) -> None:
    folder = "abdomen-ct/totalsegmentator-example"
    structures = {5: LIVER, 1: abdomen.STRUCTURES["spleen"]}
    real = RealScan(f"{folder}/image.nii.gz", f"{folder}/labels.nii.gz", structures)
    settings = replace(ABDOMEN, real_scans=(real,), real=1.0, scanner=PLAIN)
    pair = SyntheticPairs(livers, settings, GRID, (LIVER, 10, 1), root=shared_data).pair(0)
    assert pair.field is not None
    volume = float(pair.fixed.labels[0].sum()) * GRID.voxel_volume / 1000
    assert volume == pytest.approx(1126, rel=0.35)  # ml, as its label map has, but for the deformation
    assert float(pair.fixed.labels[2].sum()) == 0  # its segments are not known
    assert float(pair.fixed.image[pair.fixed.mask > 0.99].median()) == pytest.approx(46, abs=15)
    warped = fields.warp(pair.moving.mask[None], pair.grid, pair.field)[0]
    assert error(pair.fixed.mask, warped) < 0.5 * error(pair.fixed.mask, pair.moving.mask)
    with pytest.raises(BadInputError, match="none of the labels"):
        SyntheticPairs(
            livers, replace(settings, real_scans=(replace(real, structures={200: 9}),)), GRID, (9,), root=shared_data
        )


def test_preview_is_a_picture(shared_data: Path, tmp_path: Path) -> None:
    app = Typer()
    app.command()(preview.main)
    folder = str(shared_data / "lung-shapes" / "copdgene-masks-landmarks")
    scan = str(shared_data / "lung-pair" / "fixed.nii.gz")
    output = tmp_path / "preview.png"
    wishes = [
        "--output",
        str(output),
        "--count",
        "1",
        "--spacing",
        "8",
        "--name",
        "case02_exp_mask",
        "--name",
        "case03_insp_mask",
        "--real",
        scan,
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, ["thorax", folder, *wishes])
    assert result.exit_code == 0, result.output
    height, width, _ = matplotlib.image.imread(output).shape
    assert width > 1000
    assert height > 250
    result = CliRunner().invoke(app, ["abdomen", str(tmp_path / "nowhere"), "--output", str(output)])
    assert result.exit_code == 2
    assert "no folder nowhere" in result.output


def test_settings_come_from_a_configuration() -> None:
    options = {
        "anatomy": "abdomen",
        "motion": {"shift_mm": 20.0},
        "real_scans": [{"image": "a.nii.gz", "labels": "b.nii.gz", "structures": {5: 9}}],
    }
    settings = build(SynthesisSettings, options, "data.options")
    assert settings.motion.shift_mm == 20
    assert settings.real_scans[0].structures == {5: 9}


def test_crops_to_one_lung(lungs: list[Shape]) -> None:
    settings = replace(THORAX, scanner=PLAIN, one_lung=1.0)
    pairs = SyntheticPairs(lungs, settings, GRID, (6, 7))
    sides = set()
    for seed in range(5):
        pair = pairs.pair(seed)
        present = [[bool(share.sum() > 20) for share in scan.labels] for scan in (pair.fixed, pair.moving)]
        assert present[0] == present[1]  # both scans show the same lung, and that alone
        assert sum(present[0]) == 1
        sides.add(present[0].index(True))
        for scan in (pair.fixed, pair.moving):
            columns = torch.nonzero((scan.image[0] > -990).any(dim=0).any(dim=0)).flatten()
            middle = float(columns[0] + columns[-1]) / 2
            assert abs(middle - (GRID.size[0] - 1) / 2) < 6
            assert len(columns) < 0.6 * GRID.size[0]
        assert pair.field is not None
        warped = fields.warp(pair.moving.mask[None], pair.grid, pair.field)[0]
        assert error(pair.fixed.mask, warped) < 0.12
    assert sides == {0, 1}


def test_strength_says_how_far(livers: list[Shape]) -> None:
    moved = []
    for strength in (0.1, 1.0):
        settings = replace(ABDOMEN, strength=(strength, strength), scanner=PLAIN, sliding=0.0)
        pair = SyntheticPairs(livers, settings, GRID, (LIVER,)).pair(2)
        assert pair.fixed_points is not None
        assert pair.moving_points is not None
        moved.append(float((pair.moving_points - pair.fixed_points).norm(dim=1).mean()))
    assert 4 < moved[1] / moved[0] < 20
