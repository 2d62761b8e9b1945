"""The color map of det J: one file for report and scene, readable in gray and by color-blind eyes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from DeepLargeDeformRegLib.report.colors import jacobian_colors, jacobian_points, map_colors
from DeepLargeDeformRegLib.resources import JACOBIAN_COLORS

# Linear RGB as seen with a missing kind of cone (Machado et al., IEEE TVCG 2009, severity 1).
EYES = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
FOLDS = np.linspace(-1.2, 0, 80)
SHRUNK, GROWN = np.linspace(1e-4, 1, 300), np.linspace(1, 5, 300)


def lab(colors: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of sRGB bytes, as those eyes see them."""
    encoded = colors / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = (linear @ eyes.T).clip(0, 1) @ TO_XYZ.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Smallest color difference (CIE76) of any two colors of two sets."""
    return float(np.linalg.norm(one[:, None] - other[None], axis=-1).min())


def test_ends_and_neutral() -> None:
    points = jacobian_points()
    assert points[0, 0] == -1
    assert points[-1, 0] == 5
    assert (np.diff(points[:, 0]) > 0).all()
    neutral = jacobian_colors(np.array([1.0]))[0].astype(int)
    assert np.ptp(neutral) == 0
    assert neutral.min() > 230


@pytest.mark.parametrize("name", EYES)
def test_folds_are_like_nothing_else(name: str) -> None:
    folds, sound = (lab(jacobian_colors(values), EYES[name]) for values in (FOLDS, np.concatenate([SHRUNK, GROWN])))
    assert apart(folds, sound) > 35
    assert sound[:, 0].min() - folds[:, 0].max() > 20


def test_folds_are_unmistakable_in_gray_print() -> None:
    folds, sound = (lab(jacobian_colors(v), np.eye(3))[:, 0] for v in (FOLDS, np.concatenate([SHRUNK, GROWN])))
    assert folds.max() < 6
    assert sound.min() > 33


@pytest.mark.parametrize("name", EYES)
def test_lightness_falls_with_the_distance_from_one(name: str) -> None:
    darker = np.diff(lab(jacobian_colors(SHRUNK[::5]), EYES[name])[:, 0])
    assert (darker > 0).all()
    darker = np.diff(lab(jacobian_colors(GROWN[::5]), EYES[name])[:, 0])
    assert (darker < 0).all()


@pytest.mark.parametrize("name", EYES)
def test_smaller_and_larger_are_told_apart(name: str) -> None:
    smaller = lab(jacobian_colors(np.linspace(0.01, 0.75, 100)), EYES[name])
    larger = lab(jacobian_colors(np.linspace(1.3, 5, 100)), EYES[name])
    assert apart(smaller, larger) > 15


def test_millimeters_brighten_evenly() -> None:
    lightness = lab(map_colors(np.linspace(0, 1, 65)), np.eye(3))[:, 0]
    steps = np.diff(lightness)
    assert steps.min() > 0
    assert steps.max() < 2.5 * steps.mean()


def test_the_colors_spread_where_lungs_and_livers_live() -> None:
    """Half and twice the volume are as far from no change as three quarters of the way to the darkest sound color."""
    lightness = lab(jacobian_colors(np.array([0.01, 0.5, 1.0, 2.0, 5.0])), np.eye(3))[:, 0]
    assert lightness[2] - lightness[1] > 0.7 * (lightness[2] - lightness[0])
    assert lightness[2] - lightness[3] > 0.5 * (lightness[2] - lightness[4])


def test_scene_reads_the_same_file(repository: Path) -> None:
    files = list(repository.glob("DeepLargeDeformReg/**/*colormap*.json"))
    assert files == [JACOBIAN_COLORS]
    scene = repository / "DeepLargeDeformReg/DeepLargeDeformRegLib/scene/color_map.py"
    assert "JACOBIAN_COLORS" in scene.read_text(encoding="utf-8")
