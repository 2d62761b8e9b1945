"""Where the module is, and nodes that the tests of its panel put into the scene."""

from pathlib import Path
from typing import Any

import numpy as np
from DeepLargeDeformRegLib.core.metrics import Metrics

MODULE = Path(__file__).resolve().parents[2] / "DeepLargeDeformReg" / "DeepLargeDeformReg.py"


def add_volumes(*names: str) -> list[Any]:
    import slicer

    values = np.random.default_rng(0).random((12, 14, 16), dtype=np.float32)
    return [slicer.util.addVolumeFromArray(values, name=name) for name in names]


def add_result(fixed: Any, moving: Any, metrics: dict[str, Any], **nodes: Any) -> Any:
    """A result with a warped volume and a table, as a run leaves it."""
    from DeepLargeDeformRegLib.scene import results, tables

    (warped,) = add_volumes(f"warped {len(results.list_results()) + 1}")
    table = tables.metrics_table(Metrics.from_json(metrics), "metrics")
    return results.add_result(
        {"fixed": fixed, "moving": moving, "warped": warped, "table": table, **nodes}, Metrics.from_json(metrics), {}
    )


def add_segmentation(name: str, volume: Any, *segments: str) -> Any:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    for index, segment in enumerate(segments):
        identifier = node.GetSegmentation().AddEmptySegment(segment, segment)
        mask = np.zeros((12, 14, 16), dtype=np.uint8)
        mask[3:9, 3:9, 2 * index : 2 * index + 2] = 1
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, identifier, volume)
    return node
