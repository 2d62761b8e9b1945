"""Results in the panel, in the stand-in application: shown, compared, applied and saved."""

from pathlib import Path
from typing import Any

import pytest
from DeepLargeDeformRegLib.core.metrics import Metrics

from .nodes import MODULE, add_result, add_segmentation, add_volumes


def test_result_is_shown_with_its_verdict(application: Any) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import results, tables

    fixed, moving, warped = add_volumes("first", "second", "warped")
    widget = application.open_module(MODULE)
    assert widget.ui.verdictLabel.text == "No result yet."
    metrics = {
        "dice": {"Liver": {"before": 0.5, "after": 0.9}},
        "verdict": {
            "level": "reject",
            "title": "Do not use",
            "reasons": [{"text": "folds <here>", "severity": "reject"}],
        },
        "folds": [{"volume_mm3": 3.0, "worst": -0.2, "point_lps": [4.0, 5.0, 6.0], "structure": "Liver"}],
        "warnings": ["a coarser grid <to save memory>"],
    }
    nodes = {
        "fixed": fixed,
        "moving": moving,
        "warped": warped,
        "table": tables.metrics_table(Metrics.from_json(metrics), "metrics"),
    }
    results.add_result(nodes, Metrics.from_json(metrics), {})
    widget.results.refresh(newest=True)
    assert "Do not use" in widget.ui.verdictLabel.text
    assert "folds &lt;here&gt;" in widget.ui.verdictLabel.text
    assert "Note: a coarser grid &lt;to save memory&gt;" in widget.ui.verdictLabel.text
    assert widget.ui.foldList.count == 1
    assert widget.ui.checkerboardButton.enabled
    assert "volume change" in widget.ui.jacobianButton.toolTip
    widget.ui.fadeButton.click()
    widget.ui.foldList.setCurrentRow(0)
    (red,) = (node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.GetName() == "Red")
    assert red.GetSliceOffset() == pytest.approx(6.0)
    widget.ui.removeResultButton.click()
    assert widget.ui.verdictLabel.text == "No result yet."
    assert warped.GetScene() is None
    assert fixed.GetScene() is not None


def test_a_row_of_the_table_jumps_to_its_place(application: Any) -> None:
    import slicer

    fixed, moving = add_volumes("first", "second")
    segmentation = add_segmentation("organs", fixed, "Liver")
    metrics = {
        "dice": {"Liver": {"before": 0.5, "after": 0.9}},
        "tre_mm": {
            "before": {"mean": 9.0},
            "after": {"mean": 1.0},
            "landmarks": [{"name": "L1", "before": 9.0, "after": 1.0, "point_lps": [-3.0, -4.0, 7.0]}],
        },
    }
    widget = application.open_module(MODULE)
    add_result(fixed, moving, metrics, fixed_segmentation=segmentation)
    widget.results.refresh(newest=True)
    view = widget.ui.metricsView
    (red,) = (node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.GetName() == "Red")
    for row, offset in ((0, 5.5), (2, 7.0)):
        view.selectRow(row)
        assert red.GetSliceOffset() == pytest.approx(offset, abs=0.6)
    header = view.horizontalHeader()
    view.resize(368, 150)
    assert sum(header.sectionSize(column) for column in range(5)) <= 368, "the unit is seen"


def test_runs_are_compared(application: Any) -> None:
    fixed, moving = add_volumes("first", "second")
    widget = application.open_module(MODULE)
    first = add_result(fixed, moving, {"dice": {"Liver": {"before": 0.5, "after": 0.8}}})
    assert not widget.ui.compareRow.visible
    second = add_result(fixed, moving, {"dice": {"Liver": {"before": 0.5, "after": 0.9}}})
    widget.results.refresh(newest=True)
    assert [widget.ui.compareBox.itemText(i) for i in range(widget.ui.compareBox.count)] == ["Fixed scan", "Run 1"]
    widget.ui.compareBox.currentIndex = 1
    node = widget.ui.metricsView.mrmlTableNode()
    assert [node.GetCellText(0, column) for column in range(4)] == ["Dice", "Liver", "0.900", "0.800"]
    widget.ui.fadeButton.click()
    from DeepLargeDeformRegLib.scene import layouts

    assert layouts.composites()[0].GetBackgroundVolumeID() == first.get("warped").GetID()
    assert "Run 1" in widget.ui.viewLabel.text
    widget.ui.compareBox.currentIndex = 0
    assert widget.ui.metricsView.mrmlTableNode() is second.get("table")
    assert node.GetScene() is None


def test_one_output_is_saved_to_a_file_of_choice(application: Any, tmp_path: Path) -> None:
    fixed, moving = add_volumes("first", "second")
    widget = application.open_module(MODULE)
    add_result(fixed, moving, {"dice": {"Liver": {"before": 0.5, "after": 0.9}}})
    widget.results.refresh(newest=True)
    box = widget.ui.exportWhatBox
    assert [box.itemText(index) for index in range(box.count)] == ["Warped volume", "Metrics table"]
    box.currentIndex = 1
    application.dialogs.answers.append(lambda dialog: str(tmp_path / "numbers"))
    widget.ui.exportOneButton.click()
    assert (tmp_path / "numbers.csv").read_text(encoding="utf-8").splitlines()[1] == "Dice,Liver,0.500,0.900,"
    assert "numbers.csv written" in widget.ui.exportLabel.text
    application.dialogs.answers.append(lambda dialog: "")
    widget.ui.exportOneButton.click()
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "occupied").write_text("a file", encoding="utf-8")
    application.dialogs.answers.append(lambda dialog: str(tmp_path / "occupied" / "numbers.csv"))
    widget.ui.exportOneButton.click()
    assert "could not be written" in widget.ui.exportLabel.text


def test_dicom_objects_are_offered_and_refused_without_dicom(application: Any, tmp_path: Path) -> None:
    import slicer

    fixed, moving = add_volumes("first", "second")
    widget = application.open_module(MODULE)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "transform")
    add_result(fixed, moving, {}, transform=transform)
    widget.results.refresh(newest=True)
    box = widget.ui.exportWhatBox
    titles = [box.itemText(index) for index in range(box.count)]
    assert titles[-1] == "DICOM (radiotherapy)"
    box.currentIndex = len(titles) - 1
    widget.ui.exportDirectory.directory = str(tmp_path)
    widget.ui.exportOneButton.click()
    assert "first was not loaded from DICOM" in widget.ui.exportLabel.text
    assert list(tmp_path.iterdir()) == []


def test_the_transform_is_applied_to_many_nodes(application: Any) -> None:
    import slicer
    import vtk

    fixed, moving, phase = add_volumes("first", "second", "late phase")
    organs = add_segmentation("organs", moving, "Liver")
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "marks")
    points.AddControlPoint(vtk.vtkVector3d(4, 5, 6), "a")
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    model = slicer.modules.models.logic().AddModel(sphere.GetOutput())
    widget = application.open_module(MODULE)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "transform")
    add_result(fixed, moving, {}, transform=transform)
    widget.results.refresh(newest=True)
    widget.ui.applyButton.click()
    assert "Check the nodes" in widget.ui.exportLabel.text
    nodes = (phase, organs, points, model)
    for node in nodes:
        widget.ui.applySelector.check(node)
    widget.ui.applyButton.click()
    assert all(node.GetParentTransformNode() is transform for node in nodes)
    assert "late phase, organs, marks" in widget.ui.exportLabel.text


def test_the_report_is_opened_and_its_copy_goes(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import qt
    import slicer

    opened: list[Path] = []
    monkeypatch.setattr(qt.QDesktopServices, "openUrl", lambda url: opened.append(Path(url.toLocalFile())))
    fixed, moving = add_volumes("first", "second")
    widget = application.open_module(MODULE)
    report = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "report")
    report.SetText("<html>the report</html>")
    add_result(fixed, moving, {}, report=report)
    widget.results.refresh(newest=True)
    widget.ui.openReportButton.click()
    assert opened[0].read_text(encoding="utf-8") == "<html>the report</html>"
    application.unload_module("DeepLargeDeformReg")
    assert not opened[0].parent.exists()


def test_charts_are_shown_in_a_plot_view_and_the_layout_comes_back(application: Any) -> None:
    import slicer
    from DeepLargeDeformRegLib.scene import plots

    fixed, moving = add_volumes("first", "second")
    metrics = {"dice": {"Liver": {"before": 0.5, "after": 0.9}}}
    charts = plots.charts_of(Metrics.from_json(metrics), None, "run 1")
    widget = application.open_module(MODULE)
    add_result(fixed, moving, metrics, charts=[chart.node for chart in charts], chart_parts=charts[0].parts)
    widget.results.refresh(newest=True)
    before = slicer.app.layoutManager().layout
    assert widget.ui.plotBox.itemText(1) == "Dice before and after"
    widget.results.show_chart(0)
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView
    views = slicer.util.getNodesByClass("vtkMRMLPlotViewNode")
    assert any(view.GetPlotChartNodeID() == charts[0].node.GetID() for view in views)
    widget.ui.fadeButton.click()
    assert slicer.app.layoutManager().layout == before
