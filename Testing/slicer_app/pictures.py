"""One picture of the application as a user sees it: the module's panel on the left, the views on the right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PySide6 import QtCore, QtGui

_PANEL_WIDTH = 430
_TITLE_HEIGHT = 30


def to_image(pixels: np.ndarray) -> QtGui.QImage:
    """Return a QImage of (height, width, 3) bytes."""
    pixels = np.ascontiguousarray(pixels)
    height, width, _ = pixels.shape
    return QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format_RGB888).copy()


def views(application: Any, size: tuple[int, int]) -> QtGui.QImage:
    """Return the layout with the name and the position of each view in its bar, as Slicer writes them."""
    image = to_image(application.layout.picture(size))
    painter = QtGui.QPainter(image)
    painter.setFont(QtGui.QFont("DejaVu Sans", 9, QtGui.QFont.Bold))
    for node_id, (left, top, width, _) in application.layout.rectangles(size).items():
        node = application.scene.GetNodeByID(node_id)
        label = node.GetLayoutLabel() or node.GetName()
        painter.setPen(QtGui.QColor("black"))
        bar = QtCore.QRect(left + 6, top, width - 14, 20)
        painter.drawText(bar, QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft, label)
        if node.IsA("vtkMRMLSliceNode"):
            offset = application.layout.sliceWidget(node.GetLayoutName()).sliceLogic().GetSliceOffset()
            text = f"{node.GetOrientation()}  {offset:.1f} mm"
            painter.drawText(bar, QtCore.Qt.AlignVCenter | QtCore.Qt.AlignRight, text)
    painter.end()
    return image


def panel(
    application: Any, widget: Any, height: int, width: int = _PANEL_WIDTH, scroll_to: Any = None
) -> QtGui.QImage:
    """Return the module's panel in a column of that size, scrolled to a widget of it where one is given."""
    parent = widget.parent
    natural = _settle(application, parent, width, height)
    grabbed = parent.grab().toImage().convertToFormat(QtGui.QImage.Format_RGB888)
    top = 0
    if scroll_to is not None:
        top = min(scroll_to.mapTo(parent, QtCore.QPoint(0, 0)).y() - 8, max(0, natural - height))
    return grabbed.copy(QtCore.QRect(0, max(0, top), width, height))


def _settle(application: Any, parent: Any, width: int, least: int = 0) -> int:
    """Lay the panel out in a column of that width; return its height."""
    parent.show()
    natural = least
    for _ in range(4):  # layouts settle over a few passes
        natural = max(least, parent.sizeHint().height())
        parent.resize(width, natural)
        application.qt_application.processEvents()
    return natural


def whole_panel(application: Any, widget: Any, scale: float = 1.0, width: int = _PANEL_WIDTH) -> QtGui.QImage:
    """Return all of the module's panel, each of its pixels ``scale`` wide, as on a screen set to so many percent."""
    parent = widget.parent
    height = _settle(application, parent, width)
    image = QtGui.QImage(round(scale * width), round(scale * height), QtGui.QImage.Format_RGB32)
    image.setDevicePixelRatio(scale)
    image.fill(parent.palette.color(QtGui.QPalette.Window))
    parent.render(image)
    image.setDevicePixelRatio(1.0)
    return image.convertToFormat(QtGui.QImage.Format_RGB888)


def side_by_side(images: list[QtGui.QImage], gap: int = 8) -> QtGui.QImage:
    """Return pictures as columns of one."""
    width = sum(image.width() for image in images) + gap * (len(images) - 1)
    canvas = QtGui.QImage(width, max(image.height() for image in images), QtGui.QImage.Format_RGB888)
    canvas.fill(QtGui.QColor("#808080"))
    painter = QtGui.QPainter(canvas)
    left = 0
    for image in images:
        painter.drawImage(left, 0, image)
        left += image.width() + gap
    painter.end()
    return canvas


def views_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height that the views have in a picture of that size."""
    return size[0] - _PANEL_WIDTH - 4, size[1] - _TITLE_HEIGHT


def whole(application: Any, widget: Any, size: tuple[int, int] = (1500, 900), scroll_to: Any = None) -> QtGui.QImage:
    """Return panel and views in one picture, under a bar with the module's title."""
    width, height = size
    canvas = QtGui.QImage(width, height, QtGui.QImage.Format_RGB888)
    canvas.fill(QtGui.QColor("#e3e3e3"))
    inner = height - _TITLE_HEIGHT
    column = panel(application, widget, inner, scroll_to=scroll_to)
    shown = views(application, views_size(size))
    painter = QtGui.QPainter(canvas)
    painter.setFont(QtGui.QFont("DejaVu Sans", 10))
    painter.setPen(QtGui.QColor("#202020"))
    title = f"3D Slicer    Modules:  {widget.parent.module().title}"
    bar = QtCore.QRect(10, 0, width - 20, _TITLE_HEIGHT)
    painter.drawText(bar, QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft, title)
    painter.drawImage(0, _TITLE_HEIGHT, column)
    painter.drawImage(_PANEL_WIDTH + 4, _TITLE_HEIGHT, shown)
    painter.end()
    return canvas


def save(image: QtGui.QImage, path: str | Path) -> Path:
    """Write a picture; OSError where that fails."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not image.save(str(path), "PNG", 0):  # the smallest file
        raise OSError(f"The picture could not be written: {Path(path).name}")
    return Path(path)
