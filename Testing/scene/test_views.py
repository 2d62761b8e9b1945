"""What the views show of a result, in pixels drawn by Slicer's own displayable managers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from DeepLargeDeformRegLib.core.metrics import Metrics

from .conftest import itk_warped


@pytest.fixture
def slices(application: Any) -> list[Any]:
    """The three slice views at the size of a window."""
    application.layout.fit((900, 760))
    return [application.layout.sliceWidget(name) for name in application.layout.sliceViewNames()]


@pytest.fixture
def comparison(application: Any, fixed_image: sitk.Image, moving_image: sitk.Image, field: sitk.Image) -> Any:
    """A result with a Jacobian volume, its views fitted to the fixed scan."""
    from DeepLargeDeformRegLib.scene.color_map import show_as_jacobian
    from DeepLargeDeformRegLib.scene.layouts import Comparison
    from DeepLargeDeformRegLib.scene.results import add_result
    from DeepLargeDeformRegLib.scene.volumes import volume_from_image

    jacobian = sitk.Cast(sitk.DisplacementFieldJacobianDeterminant(field), sitk.sitkFloat32)
    nodes = [
        volume_from_image(image, name)
        for image, name in (
            (fixed_image, "fixed"),
            (moving_image, "moving"),
            (itk_warped(moving_image, field), "warped"),
            (jacobian, "jacobian"),
        )
    ]
    show_as_jacobian(nodes[-1])
    roles = ("fixed", "moving", "warped", "jacobian")
    return Comparison(add_result(dict(zip(roles, nodes, strict=True)), Metrics(), {}))


def right_edge(view: Any) -> np.ndarray:
    """The strip of a view in which a legend stands, (height, width, 3)."""
    pixels = view.pixels().astype(int)
    return pixels[:, int(0.8 * pixels.shape[1]) :]


def colored(pixels: np.ndarray) -> int:
    """Pixels that are neither gray nor nearly so."""
    return int((np.ptp(pixels, axis=-1) > 60).sum())


def test_legend_of_the_jacobian_is_drawn_and_goes_again(comparison: Any, slices: list[Any]) -> None:
    from DeepLargeDeformRegLib.scene import layouts

    comparison.show("fade")
    layouts.fit_views()
    for view in slices:
        assert colored(right_edge(view)) == 0
    comparison.show("jacobian")
    layouts.set_fade(0.0)  # the bar of the legend is the only thing left that has a color
    for view in slices:
        assert colored(right_edge(view)) > 300
    comparison.show("fade")
    for view in slices:
        assert colored(right_edge(view)) == 0


@pytest.fixture
def fresh_view(application: Any) -> Iterator[Any]:
    """A slice view in which no scene was loaded or closed yet, as in a session that has just begun."""
    import slicer

    from Testing.slicer_app.views import SliceView

    node = slicer.vtkMRMLSliceNode()
    node.SetLayoutName("Fresh")
    node.SetSingletonTag("Fresh")
    node.SetMappedInLayout(1)
    node = application.scene.AddNode(node)
    view = SliceView(node, application.scene, application.core.application_logic, (400, 360))
    yield view
    application.core.application_logic.GetSliceLogics().RemoveItem(view.logic)
    application.scene.RemoveNode(node)


def test_legend_is_drawn_in_a_view_that_was_just_made(fresh_view: Any, comparison: Any) -> None:
    """The view learns of its slice logic only while it is made."""
    from DeepLargeDeformRegLib.scene import layouts

    comparison.show("fade")
    layouts.fit_views()  # a view that is zoomed into would show no legend
    comparison.show("jacobian")
    fresh_view.fitSliceToBackground()
    layouts.set_fade(0.0)
    assert colored(right_edge(fresh_view)) > 300


def test_chart_is_drawn_in_its_view(application: Any) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import layouts, plots

    metrics = {"dice": {"Liver": {"before": 0.3, "after": 0.9}, "Spleen": {"before": 0.5, "after": 0.8}}}
    chart = plots.dice_chart(Metrics.from_json(metrics), "run 1")
    layouts.show_chart(chart.node)
    application.layout.fit((900, 760))
    (node,) = (view for view in slicer.util.getNodesByClass("vtkMRMLPlotViewNode") if view.GetPlotChartNode())
    pixels = application.layout._views[node.GetID()].pixels().astype(int)
    blue = np.abs(pixels - np.array(plots.AFTER_COLOR) * 255).max(axis=-1) < 30
    gray = np.abs(pixels - np.array(plots.BEFORE_COLOR) * 255).max(axis=-1) < 10
    assert blue.sum() > 1.5 * gray.sum() > 1000, "bars as high as the numbers"
