"""The stand-in application itself: real core, PythonQt's manners, and refusal of what Slicer does not have."""

import numpy as np

from .fixtures import application  # noqa: F401


def test_scene_is_real(application):  # noqa: F811
    import slicer

    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    node = slicer.util.addVolumeFromArray(array, name="volume")
    assert slicer.util.getNode("volume") is node
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), array)
