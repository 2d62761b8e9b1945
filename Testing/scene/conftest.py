"""Small scans with a field between them, in a real scene, and a finished job of theirs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.metrics import Metrics

from Testing.slicer_app.fixtures import application  # noqa: F401

METRICS = {
    "dice": {"Liver": {"before": 0.6, "after": 0.95}, "Spleen": {"before": 0.5, "after": None}},
    "tre_mm": {"before": {"mean": 8.0, "max": 15.0}, "after": {"mean": 1.2, "max": 3.0}},
    "jacobian": {"min": 0.4, "max": 2.1, "fold_percent": 0.0, "sdlogj": 0.08},
    "verdict": {"level": "look", "title": "Look here", "reasons": [{"text": "one <fold>", "severity": "look"}]},
    "folds": [{"volume_mm3": 12.0, "worst": -0.3, "point_lps": [1.0, -2.0, 3.0], "structure": "Liver"}],
    "model": "none",
}


def oblique_image(size: tuple[int, int, int], seed: int = 0) -> sitk.Image:
    """A smooth anisotropic volume whose axes are turned about two axes."""
    noise = sitk.GetImageFromArray(np.random.default_rng(seed).normal(size=size[::-1]).astype(np.float32))
    image = sitk.SmoothingRecursiveGaussian(noise, 2.0) * 1000
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3)
    image.SetSpacing((1.5, 1.2, 2.5))
    image.SetOrigin((-20.0, 35.0, 100.0))
    image.SetDirection(turn.GetMatrix())
    return image


@pytest.fixture
def fixed_image() -> sitk.Image:
    return oblique_image((24, 26, 18))


@pytest.fixture
def moving_image() -> sitk.Image:
    """Another grid than the fixed one, covering more than the field can reach."""
    image = oblique_image((44, 46, 34), seed=1)
    image.SetOrigin((-36.0, 20.0, 80.0))
    return image


@pytest.fixture
def field(fixed_image: sitk.Image) -> sitk.Image:
    """A smooth displacement field on the fixed grid, up to about 5 mm in each direction, different in x, y and z."""
    rng = np.random.default_rng(2)
    parts = []
    for scale in (5.0, -4.0, 3.0):
        noise = sitk.GetImageFromArray(rng.normal(size=fixed_image.GetSize()[::-1]))
        smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(noise, 4.0))
        parts.append(scale * (0.3 + smooth / np.abs(smooth).max()))
    image = sitk.GetImageFromArray(np.stack(parts, axis=-1).astype(np.float64), isVector=True)
    image.CopyInformation(fixed_image)
    return image


def itk_warped(moving: sitk.Image, field: sitk.Image, interpolator: Any = sitk.sitkLinear) -> sitk.Image:
    """The moving image on the grid of the field, by ITK."""
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    return sitk.Resample(moving, field, transform, interpolator, 0.0)


@pytest.fixture
def nodes(
    application: Any,  # noqa: F811 - the fixture imported above
    fixed_image: sitk.Image,
    moving_image: sitk.Image,
) -> tuple[Any, Any]:
    from DeepLargeDeformRegLib.scene.volumes import volume_from_image

    return volume_from_image(fixed_image, "fixed"), volume_from_image(moving_image, "moving")


@pytest.fixture
def segmentation(nodes: Any, moving_image: sitk.Image) -> Any:
    from DeepLargeDeformRegLib.scene.segmentations import SegmentLabel, segmentation_from_label_map

    array = np.zeros(moving_image.GetSize()[::-1], dtype=np.uint16)
    array[10:24, 12:30, 12:30] = 1
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(moving_image)
    return segmentation_from_label_map(
        image,
        [SegmentLabel(value=1, segment_id="liver", name="Liver", color=(0.8, 0.4, 0.3), terminology="a~b")],
        "organs",
    )


def finish(payload: dict[str, Any], field: sitk.Image) -> None:
    """Write the outputs of a job as ITK has them."""
    sitk.WriteImage(field, payload["output_transform"])
    moving = sitk.ReadImage(payload["moving"])
    sitk.WriteImage(itk_warped(moving, field), payload["output_volume"])
    sitk.WriteImage(
        sitk.Cast(sitk.DisplacementFieldJacobianDeterminant(field), sitk.sitkFloat32), payload["output_jacobian"]
    )
    if "output_segmentation" in payload:
        labels = sitk.ReadImage(payload["moving_segmentation"])
        sitk.WriteImage(itk_warped(labels, field, sitk.sitkNearestNeighbor), payload["output_segmentation"])
    values = np.linspace(-1.0, 1.0, 24 * 26 * 18, dtype=np.float32).reshape(18, 26, 24)
    local = sitk.GetImageFromArray(values)
    local.CopyInformation(field)
    Path(payload["output_maps"]).mkdir()
    sitk.WriteImage(local, str(Path(payload["output_maps"]) / "local_similarity.nrrd"))
    Path(payload["report"]).write_text("<html>report</html>", encoding="utf-8")


@pytest.fixture
def collected(nodes: Any, segmentation: Any, field: sitk.Image, tmp_path: Path) -> Any:
    from DeepLargeDeformRegLib.scene import exchange
    from DeepLargeDeformRegLib.scene.collect import collect

    inputs = exchange.Inputs(fixed=nodes[0], moving=nodes[1], moving_segmentation=segmentation)
    targets = exchange.Targets()
    prepared = exchange.prepare(inputs, targets, {"preset": "any"}, tmp_path)
    finish(prepared.payload, field)
    return collect(inputs, targets, {"preset": "any"}, prepared, Metrics.from_json(METRICS))
