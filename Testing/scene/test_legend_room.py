"""Where the legend of a color map lies: beside the image, never on it."""

from typing import Any

import numpy as np


def slice_views() -> list[Any]:
    import slicer

    manager = slicer.app.layoutManager()
    return [manager.sliceWidget(name) for name in manager.sliceViewNames()]


def windows() -> list[tuple[Any, ...]]:
    nodes = [view.mrmlSliceNode() for view in slice_views()]
    return [(node.GetFieldOfView(), node.GetXYZOrigin()) for node in nodes]


def legend_of(volume: Any) -> Any:
    from DeepLargeDeformRegLib.scene.color_map import legend_of

    return legend_of(volume)


def drawn_by_the_legend(view: Any, legend: Any) -> np.ndarray:
    """Columns of a view that the legend changes."""
    pictures = []
    for visible in (True, False):
        legend.SetVisibility(visible)
        legend.Modified()
        pictures.append(view.pixels().astype(int))
    legend.SetVisibility(True)
    return np.flatnonzero((pictures[0] != pictures[1]).any(axis=(0, 2)))


def columns_of_the_image(view: Any) -> np.ndarray:
    """Columns in which the view shows more than its black ground; the bottom has the names of the volumes."""
    picture = view.pixels()
    return np.flatnonzero((picture[: int(0.8 * len(picture))] > 0).any(axis=(0, 2)))


def test_legend_lies_beside_the_image(application: Any, collected: Any) -> None:
    from DeepLargeDeformRegLib.scene import layouts

    comparison = layouts.Comparison(collected)
    comparison.show("fade")
    application.layout.fit()
    layouts.fit_views()
    before = windows()
    for name in ("jacobian", "local_similarity"):
        comparison.show(name)
        legend = legend_of(collected.get(name))
        for view in slice_views():
            legend.SetVisibility(False)
            image = columns_of_the_image(view)
            drawn = drawn_by_the_legend(view, legend)
            assert drawn.size, "the legend is there"
            assert image.max() < drawn.min(), "no column has both"
            assert image.min() > 0, "and the image is whole"
    assert windows() != before
    comparison.show("fade")
    assert windows() == before, "the views are as the user had them"


def test_view_that_the_user_zoomed_into_stays_and_shows_no_legend(application: Any, collected: Any) -> None:
    from DeepLargeDeformRegLib.scene import layouts

    comparison = layouts.Comparison(collected)
    comparison.show("fade")
    application.layout.fit()
    layouts.fit_views()
    zoomed, *others = slice_views()
    across, up, deep = zoomed.mrmlSliceNode().GetFieldOfView()
    zoomed.mrmlSliceNode().SetFieldOfView(across / 3, up / 3, deep)
    comparison.show("jacobian")
    assert zoomed.mrmlSliceNode().GetFieldOfView() == (across / 3, up / 3, deep)
    legend = legend_of(collected.get("jacobian"))
    assert not legend.IsDisplayableInView(zoomed.mrmlSliceNode().GetID())
    assert all(legend.IsDisplayableInView(view.mrmlSliceNode().GetID()) for view in others)


def test_what_the_user_moved_since_stays(application: Any, collected: Any) -> None:
    from DeepLargeDeformRegLib.scene import layouts

    comparison = layouts.Comparison(collected)
    comparison.show("fade")
    application.layout.fit()
    layouts.fit_views()
    comparison.show("jacobian")
    node = slice_views()[0].mrmlSliceNode()
    node.SetXYZOrigin(7.0, 8.0, 0.0)
    comparison.show("fade")
    assert node.GetXYZOrigin() == (7.0, 8.0, 0.0)
