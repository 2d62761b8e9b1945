"""How the panel looks and is used: labels, keys, themes, large letters, legends beside the views."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from Testing.slicer_app.module_panel import ModulePanel

from .nodes import MODULE, add_result, add_volumes

LONG = "a scan with a long name, of a patient with several, "
LOOK = {"verdict": {"level": "look", "title": "Look", "reasons": [{"text": "The map folds.", "severity": "look"}]}}
# Keys that toolbars of Slicer take (markups, sequences), and its menus.
TAKEN = {"Ctrl+Shift+A", "Ctrl+Shift+T", "Ctrl+Shift+Space", "Ctrl+Shift+Left", "Ctrl+Shift+Right", "Ctrl+Shift+Down"}


def opened(application: Any) -> Any:
    """The panel with a result and all of its sections open."""
    import slicer

    fixed, moving = add_volumes(LONG * 2, LONG * 2 + "moving")
    widget = application.open_module(MODULE)
    jacobian = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(fixed) * 0 + 1.2, name=LONG + "change")
    from DeepLargeDeformRegLib.scene.color_map import show_as_jacobian

    show_as_jacobian(jacobian)
    add_result(fixed, moving, LOOK, jacobian=jacobian)
    for section in ("inputs", "method", "outputs", "results", "export", "batch"):
        getattr(widget.ui, f"{section}Section").collapsed = False
    for box in ("moreInputsBox", "advancedBox"):
        getattr(widget.ui, box).collapsed = False
    widget.results.refresh(newest=True)
    return widget


@pytest.fixture(params=[1.0, 2.0], ids=["100 %", "200 %"])
def letters(application: Any, request: Any) -> Iterator[float]:
    """Letters as they are, or twice as large."""
    font = application.qt_application.font()
    larger = application.qt_application.font()
    larger.setPointSizeF(request.param * font.pointSizeF())
    application.qt_application.setFont(larger)
    yield request.param
    application.qt_application.setFont(font)


def test_nothing_is_clipped_and_the_panel_stays_narrow(application: Any, letters: float) -> None:
    import qt

    widget = opened(application)
    panel = ModulePanel(application, widget.parent)
    assert panel.least_width() <= 480
    panel.show(round(letters * 400), 900)
    root = widget.ui.inputsSection.parent()
    shown = [one for one in root.findChildren(qt.QWidget) if one.isVisible()]
    labels = [one for one in shown if isinstance(one, qt.QLabel) and one.buddy() is not None]
    buttons = [one for one in shown if isinstance(one, (qt.QPushButton, qt.QCheckBox)) and one.text]
    assert len(labels) > 15
    assert len(buttons) > 15
    clipped = [one.text for one in labels if one.width < one.sizeHint().width()]
    clipped += [one.text for one in buttons if one.width < one.minimumSizeHint().width() or one.height < 16]
    clipped += [one.name for one in shown if isinstance(one, qt.QComboBox) and one.width < 60]
    assert clipped == []
    panel.close()


def test_what_is_hidden_stays_so_when_its_box_is_opened(application: Any) -> None:
    add_volumes("first", "second")
    widget = application.open_module(MODULE)
    widget.ui.moreInputsBox.collapsed = False
    assert widget.ui.landmarkTable.isHidden()
    assert widget.ui.landmarkLabel.isHidden()
    assert not widget.ui.fixedLandmarksSelector.isHidden()


def test_every_field_has_a_name_for_those_who_do_not_see_it(application: Any) -> None:
    import qt

    widget = application.open_module(MODULE)
    root = widget.ui.inputsSection.parent()
    named = {label.buddy().name for label in root.findChildren(qt.QLabel) if label.buddy() is not None}
    fields = [
        getattr(widget.ui, name)
        for name in vars(widget.ui)
        if name.endswith(("Selector", "Box", "Table", "Directory", "Slider", "View", "List")) and name[0].islower()
    ]
    nameless = [
        field.name
        for field in fields
        if field.name not in named and not field.accessibleName and not getattr(field, "text", "")
        if not isinstance(field, qt.QGroupBox) and type(field).__name__ != "QWidget"
    ]
    assert len(fields) > 30
    assert nameless == []


def test_keys_flicker_fade_and_go_to_the_next_run(application: Any) -> None:
    from DeepLargeDeformRegLib.widgets.results_panel import KEYS

    fixed, moving = add_volumes("first", "second")
    widget = application.open_module(MODULE)
    for _ in range(2):
        add_result(fixed, moving, {})
    widget.results.refresh(newest=True)
    assert len({*KEYS.values()} | TAKEN) == len(KEYS) + len(TAKEN)
    keys = {shortcut.key.toString(): shortcut for shortcut in widget.results._shortcuts}
    widget.ui.fadeButton.click()
    slider = widget.ui.fadeSlider
    slider.value = 0.5
    keys[KEYS["more"]].activated.emit()
    assert slider.value == pytest.approx(0.6)
    for _ in range(9):
        keys[KEYS["less"]].activated.emit()
    assert slider.value == pytest.approx(0.0)
    keys[KEYS["flicker"]].activated.emit()
    assert widget.ui.flickerButton.checked
    before = widget.ui.resultBox.currentIndex
    keys[KEYS["next"]].activated.emit()
    assert widget.ui.resultBox.currentIndex == (before + 1) % 2
    tips = widget.ui.flickerButton.toolTip + widget.ui.fadeSlider.toolTip + widget.ui.resultBox.toolTip
    assert all(key in tips for key in KEYS.values()), "they are told where they work"


def brightness(color: Any) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.1)."""
    parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in color.getRgbF()[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("level", ["accept", "look", "reject"])
def test_verdict_and_errors_can_be_read_in_both_themes(application: Any, dark: bool, level: str) -> None:
    """Contrast of at least 4.5 to 1, as WCAG 2.1 asks of text."""
    import qt
    from DeepLargeDeformRegLib.core.display import LEVELS
    from DeepLargeDeformRegLib.widgets import theme

    widget = application.open_module(MODULE)
    application.set_dark(dark)
    try:
        box = widget.ui.qualityBox
        ground = box.palette.color(qt.QPalette.Window)
        if not dark and LEVELS[level].background in theme.level_style(box, level):
            ground = qt.QColor(LEVELS[level].background)
        letters = qt.QColor(theme.level_color(box, level))
        light, dim = sorted((brightness(ground), brightness(letters)), reverse=True)
        assert (light + 0.05) / (dim + 0.05) >= 4.5
        assert theme.is_dark(box) == dark
    finally:
        application.set_dark(False)


def test_colors_are_named_beside_the_views(application: Any) -> None:
    widget = opened(application)
    widget.ui.jacobianButton.click()
    text = widget.ui.viewLabel.text
    assert "Volume change" in text
    for value in ("\u2264 0", "0.5", "0.85", "1", "1.15", "2", "5"):
        assert f">{value}</td>" in text
    assert text.count("bgcolor") == 10
    widget.ui.fadeButton.click()
    assert "bgcolor" not in widget.ui.viewLabel.text
