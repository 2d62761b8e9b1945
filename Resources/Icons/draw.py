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
DARK, FIXED, MOVING = "#10243a", "#f2c14e", "#3fa7d6"


def outline(x: float, y: float, size: float, notch: float) -> tuple[np.ndarray, np.ndarray]:
    """The outline of an organ around a point; the larger the notch, the less it is an ellipse."""
    t = np.linspace(0, 2 * np.pi, 300)
    radius = size * (1 + 0.12 * np.cos(t - 2.2) + notch * np.cos(2 * t + 0.6))
    return x + radius * np.cos(t), y + radius * np.sin(t)


def icon() -> plt.Figure:
    """The organ of one scan (blue) and of the other (yellow): bold shapes, as Slicer draws it 16 pixels wide."""
    figure = plt.figure(figsize=(1.28, 1.28), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1, 1), ylim=(-1, 1))
    axes.axis("off")
    tile = FancyBboxPatch(
        (-0.86, -0.86), 1.72, 1.72, boxstyle="round,pad=0.12,rounding_size=0.3", color=DARK, linewidth=0
    )
    axes.add_patch(tile)
    axes.fill(*outline(-0.22, 0.24, 0.52, 0.05), color=MOVING, linewidth=0)
    axes.fill(*outline(0.06, -0.12, 0.57, 0.16), fill=False, edgecolor=FIXED, linewidth=11)
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
