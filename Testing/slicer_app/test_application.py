"""The stand-in application itself: a real core, and PythonQt's manners."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import pictures

MODULE = """
import enum
import qt, slicer
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import *
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.util import VTKObservationMixin


class Quality(enum.Enum):
    FAST = "fast"
    REFINED = "refined"


@parameterNodeWrapper
class Node:
    volume: slicer.vtkMRMLScalarVolumeNode | None
    quality: Quality = Quality.REFINED
    names: list[str]
    flag: bool = True


class Small(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title = _("Small")


class SmallWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.entered = 0

    def setup(self):
        super().setup()
        panel = slicer.util.loadUI(self.resourcePath("UI/Small.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.node = Node(SmallLogic().getParameterNode())
        self.tag = self.node.connectGui(self.ui)

    def enter(self):
        self.entered += 1

    def cleanup(self):
        self.node.disconnectGui(self.tag)


class SmallLogic(ScriptedLoadableModuleLogic):
    pass
"""

UI = """<ui version="4.0"><class>Small</class>
 <widget class="qMRMLWidget" name="Small"><layout class="QFormLayout" name="form">
  <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="volumeSelector">
   <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
   <property name="noneEnabled"><bool>true</bool></property>
   <property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
  <item row="1" column="1"><widget class="QComboBox" name="qualityBox">
   <property name="SlicerParameterName" stdset="0"><string>quality</string></property></widget></item>
  <item row="2" column="1"><widget class="QCheckBox" name="flagBox">
   <property name="SlicerParameterName" stdset="0"><string>flag</string></property></widget></item>
 </layout></widget>
 <connections><connection><sender>Small</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
  <receiver>volumeSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


@pytest.fixture
def small(application: Any, tmp_path: Path) -> Any:
    """A module of a few lines, its panel open."""
    (tmp_path / "Resources/UI").mkdir(parents=True)
    (tmp_path / "Resources/UI/Small.ui").write_text(UI)
    (tmp_path / "Small.py").write_text(MODULE)
    return application.open_module(tmp_path / "Small.py")


def add_volume(value: float, name: str = "volume") -> Any:
    import slicer

    return slicer.util.addVolumeFromArray(np.full((12, 16, 20), value, dtype=np.float32), name=name)


def test_scene_comes_back_from_a_bundle(application: Any, tmp_path: Path) -> None:
    import slicer

    add_volume(7.0, "kept")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    application.close_scene()
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert slicer.util.arrayFromVolume(slicer.util.getNode("kept")).mean() == 7.0


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
def test_volume_comes_back_from_a_file(application: Any, tmp_path: Path, ending: str) -> None:
    import slicer

    path = str(tmp_path / f"volume{ending}")
    assert slicer.util.saveNode(add_volume(3.0), path)
    assert slicer.util.arrayFromVolume(slicer.util.loadVolume(path)).mean() == 3.0


def test_slice_view_shows_the_volume_with_its_window(application: Any) -> None:
    import slicer

    volume = add_volume(100.0)
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    application.layout.fit((600, 500))
    center = {}
    for level in (50.0, 150.0):
        display.SetWindowLevelMinMax(level - 100, level + 100)
        pixels = application.layout.sliceWidget("Red").pixels()
        center[level] = int(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2, 0])
    assert center[50.0] == pytest.approx(0.75 * 255, abs=3)
    assert center[150.0] == pytest.approx(0.25 * 255, abs=3)


def test_views_fill_the_layout_without_overlap(application: Any) -> None:
    size = (900, 700)
    placed = application.layout.rectangles(size)
    assert len(placed) == 4
    covered = np.zeros(size, dtype=int)
    for left, top, width, height in placed.values():
        covered[left : left + width, top : top + height] += 1
    assert (covered == 1).all()


def test_parameter_node_and_widgets_follow_each_other(small: Any) -> None:
    assert small.entered == 1
    assert small.ui.volumeSelector.currentNode() is None
    volume = add_volume(1.0)
    small.node.volume = volume
    assert small.ui.volumeSelector.currentNode() is volume
    small.ui.flagBox.click()
    assert small.node.flag is False
    small.ui.qualityBox.currentIndex = 0
    assert small.node.quality.value == "fast"
    small.node.names = ["a", "b"]
    small.node.names.append("c")
    assert list(small.node.names) == ["a", "b", "c"]
    with pytest.raises(TypeError):
        small.node.flag = "yes"


def test_parameters_are_saved_with_the_scene(application: Any, small: Any, tmp_path: Path) -> None:
    import slicer

    small.node.volume = add_volume(1.0, "chosen")
    small.node.flag = False
    slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    application.close_scene()
    assert small.node.flag is True
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert small.node.flag is False
    assert small.node.volume.GetName() == "chosen"
    small.node.disconnectGui(small.tag)
    small.tag = small.node.connectGui(small.ui)
    assert small.ui.volumeSelector.currentNode().GetName() == "chosen"


def test_removed_node_leaves_the_selector(application: Any, small: Any) -> None:
    small.node.volume = add_volume(1.0)
    application.scene.RemoveNode(small.node.volume)
    assert small.ui.volumeSelector.currentNode() is None
    assert small.node.volume is None


def test_handler_gets_as_many_arguments_as_it_takes(application: Any) -> None:
    import qt

    seen: list[Any] = []
    button = qt.QPushButton("press")
    button.checkable = True
    button.connect("clicked(bool)", lambda: seen.append("none"))
    button.connect("clicked(bool)", lambda checked=7: seen.append(checked))
    button.connect("clicked()", lambda checked=7: seen.append(checked))
    button.click()
    assert seen == ["none", True, 7]
    assert button.text == "press"


def test_error_in_a_handler_is_remembered(application: Any) -> None:
    import qt

    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert "ZeroDivisionError" in application.errors.pop()


def test_dialog_nobody_answers_raises(application: Any) -> None:
    import qt
    import slicer

    application.testing = False
    with pytest.raises(RuntimeError, match="Install it"):
        slicer.util.confirmYesNoDisplay("Install it?")
    application.dialogs.answers.append(lambda dialog: qt.QMessageBox.Yes)
    assert slicer.util.confirmYesNoDisplay("Install it?")


def test_picture_holds_panel_and_views(application: Any, small: Any) -> None:
    image = pictures.whole(application, small, (900, 500))
    assert (image.width(), image.height()) == (900, 500)
    red = image.pixelColor(435 + 100, 35)
    assert red.red() > 200
    assert red.blue() < 100


def test_subject_hierarchy_has_each_node_and_comes_back_with_its_folders(application: Any, tmp_path: Path) -> None:
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(application.scene)
    volume = add_volume(1.0, "kept")
    item = hierarchy.GetItemByDataNode(volume)
    assert item
    hierarchy.SetItemParent(item, hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "folder"))
    application.scene.RemoveNode(add_volume(2.0, "removed"))
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    application.close_scene()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(application.scene)
    item = hierarchy.GetItemByDataNode(slicer.util.getNode("kept"))
    assert hierarchy.GetItemName(hierarchy.GetItemParent(item)) == "folder"
    assert hierarchy.GetNumberOfItems() == 2
