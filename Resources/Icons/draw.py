"""Draw the icon of the extension and of the module, and the thumbnail of the sample case.

python Resources/Icons/draw.py  (needs matplotlib)
"""

from pathlib import Path

import matplotlib
import numpy as np
import SimpleITK as sitk

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).resolve().parents[2]
MODULE_ICONS = ROOT / "DeepLargeDeformReg" / "Resources" / "Icons"
DARK, FIXED, MOVING, GRID = "#10243a", "#f2c14e", "#3fa7d6", "#ffffff"


def deform(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A large smooth deformation of the plane: a swirl that fades with the distance from the center."""
    radius = np.hypot(x, y)
    angle = 1.15 * np.exp(-((radius / 0.62) ** 2))
    return x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)


def outline() -> tuple[np.ndarray, np.ndarray]:
    """The outline of an organ: a rounded wedge, as a liver in a coronal slice."""
    t = np.linspace(0, 2 * np.pi, 300)
    radius = 0.47 + 0.13 * np.cos(t - 2.6) + 0.07 * np.cos(2 * t + 0.6)
    return radius * np.cos(t), radius * np.sin(t)


def icon() -> plt.Figure:
    """A grid that is deformed, the organ before (blue) and after (yellow)."""
    figure = plt.figure(figsize=(1.28, 1.28), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1, 1), ylim=(-1, 1))
    axes.axis("off")
    tile = FancyBboxPatch(
        (-0.86, -0.86), 1.72, 1.72, boxstyle="round,pad=0.1,rounding_size=0.3", color=DARK, linewidth=0
    )
    axes.add_patch(tile)
    line = np.linspace(-0.8, 0.8, 120)
    for level in np.linspace(-0.8, 0.8, 9):
        for x, y in ((line, np.full_like(line, level)), (np.full_like(line, level), line)):
            axes.plot(*deform(x, y), color=GRID, linewidth=0.55, alpha=0.55)
    x, y = outline()
    axes.fill(x, y, color=MOVING, alpha=0.35, linewidth=0)
    axes.plot(x, y, color=MOVING, linewidth=1.6)
    x, y = deform(x * 1.05, y * 1.05)
    axes.plot(x, y, color=FIXED, linewidth=2.4)
    return figure


def thumbnail() -> plt.Figure:
    """The two scans of the sample case over each other, before registration, in a coronal slice."""
    case = ROOT / "DeepLargeDeformReg" / "DeepLargeDeformRegLib" / "resources" / "sample_case"
    fixed = sitk.ReadImage(str(case / "fixed.nii.gz"), sitk.sitkFloat32)
    moving = sitk.ReadImage(str(case / "moving.nii.gz"), sitk.sitkFloat32)
    moving = sitk.Resample(moving, fixed, sitk.Transform(), sitk.sitkLinear, -1000.0)
    figure = plt.figure(figsize=(2.6, 2.8), dpi=100, facecolor="black")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    layers = []
    for image in (fixed, moving):
        array = sitk.GetArrayFromImage(image)
        coronal = array[::-1, array.shape[1] // 2]
        layers.append(np.clip((coronal + 1000) / 1300, 0, 1))
    picture = np.stack([layers[0], 0.5 * (layers[0] + layers[1]), layers[1]], axis=-1)
    spacing = fixed.GetSpacing()
    axes.imshow(picture, aspect=spacing[2] / spacing[0], interpolation="bilinear")
    return figure


def main() -> None:
    """Write the three pictures."""
    MODULE_ICONS.mkdir(parents=True, exist_ok=True)
    for path in (ROOT / "Resources" / "Icons" / "DeepLargeDeformReg.png", MODULE_ICONS / "DeepLargeDeformReg.png"):
        icon().savefig(path, transparent=True)
    thumbnail().savefig(MODULE_ICONS / "SampleCase.png")


if __name__ == "__main__":
    main()
