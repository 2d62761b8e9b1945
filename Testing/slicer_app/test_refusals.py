"""What real Slicer does not have, the stand-in application does not have either."""

from collections.abc import Callable
from typing import Any

import pytest

from . import api, ui_loader
from .read_api import class_body, members, signature

PANEL = """<ui version="4.0"><widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout" name="box"><item>
 <widget class="{kind}" name="it"><property name="{name}"><bool>true</bool></property></widget></item>
 </layout></widget>
 <connections><connection><sender>Panel</sender><signal>{signal}</signal><receiver>it</receiver><slot>{slot}</slot>
 </connection></connections></ui>"""
GOOD = {
    "kind": "qMRMLNodeComboBox",
    "name": "noneEnabled",
    "signal": "mrmlSceneChanged(vtkMRMLScene*)",
    "slot": "setMRMLScene(vtkMRMLScene*)",
}


def test_good_panel_loads(application: Any) -> None:
    panel = ui_loader.load(PANEL.format(**GOOD))
    assert panel.findChild(object, "it") is None or panel.it.noneEnabled


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "qMRMLNodeSelector"},
        {"kind": "QFancyButton"},
        {"name": "noneAllowed"},
        {"kind": "QPushButton", "name": "noneEnabled"},
        {"signal": "sceneChanged(vtkMRMLScene*)"},
        {"signal": "mrmlSceneChanged(vtkMRMLNode*)"},
        {"slot": "setScene(vtkMRMLScene*)"},
    ],
    ids=str,
)
def test_wrong_panel_is_refused(application: Any, wrong: dict[str, str]) -> None:
    with pytest.raises(ui_loader.UiError):
        ui_loader.load(PANEL.format(**{**GOOD, **wrong}))


def node_box() -> Any:
    import slicer

    return slicer.qMRMLNodeComboBox()


def push_button() -> Any:
    import qt

    return qt.QPushButton()


def scripted_module() -> Any:
    import slicer

    return slicer.qSlicerScriptedLoadableModule("Some.py")


REFUSED: dict[str, Callable[[], Any]] = {
    "method": lambda: node_box().selectNode,
    "property": lambda: setattr(node_box(), "noneAllowed", True),
    "new attribute": lambda: setattr(push_button(), "remembered", 1),
    "type of a property": lambda: setattr(push_button(), "text", 1),
    "slot overwritten": lambda: setattr(push_button(), "click", lambda: None),
    "signal": lambda: node_box().connect("nodeChanged(vtkMRMLNode*)", print),
    "signature of a signal": lambda: push_button().connect("clicked(int)", print),
    "class of ctk": lambda: __import__("ctk").ctkFancyButton,
    "class of slicer": lambda: __import__("slicer").qMRMLFancyBox,
    "method of the application": lambda: __import__("slicer").app.fancy,
    "method of the layout manager": lambda: __import__("slicer").app.layoutManager().picture,
    "property of the module": lambda: setattr(scripted_module(), "subtitle", "1"),
    "read-only property of the module": lambda: setattr(scripted_module(), "name", "other"),
    "Python signals": lambda: __import__("qt").Signal,
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(application: Any, what: str) -> None:
    with pytest.raises(AttributeError):
        REFUSED[what]()


def test_unnamed_placeholder_in_a_translated_text_is_refused(application: Any) -> None:
    from slicer.i18n import tr

    assert tr("{count} files") == "{count} files"
    with pytest.raises(ValueError, match="named placeholders"):
        tr("{} files")


def test_what_the_stand_in_lacks_says_so(application: Any) -> None:
    import ctk

    with pytest.raises(NotImplementedError, match="ctkColorPickerButton"):
        _ = ctk.ctkColorPickerButton


def test_stand_in_with_an_invented_method_is_refused(application: Any) -> None:
    from .standing import base_for, stands_for

    class ctkComboBox(base_for("ctkComboBox")):  # type: ignore[misc]
        STANDS_FOR = "ctkComboBox"

        def invented(self) -> None:
            pass

    with pytest.raises(AttributeError, match="invented"):
        stands_for(ctkComboBox)


def test_header_is_read_as_pythonqt_shows_it() -> None:
    header = """
    /// A comment with Q_INVOKABLE void commented();
    class EXPORT Thing : public QWidget
    {
      Q_OBJECT
      Q_PROPERTY(QStringList names READ names WRITE setNames NOTIFY namesChanged)
    public:
      void notShown();
      Q_INVOKABLE QString label(const QString& type, int row = 3) const;
    public slots:
      void setNames(const QStringList& names);
    signals:
      void nodeChanged(vtkMRMLNode* node);
    protected slots:
      void onChanged();
    };
    """.replace("\n    ", "\n")
    base, body = class_body(header, "Thing")
    assert base == "QWidget"
    assert members(body) == {
        "properties": ["names"],
        "methods": ["label(QString,int)", "setNames(QStringList)"],
        "signals": ["nodeChanged(vtkMRMLNode*)"],
    }


@pytest.mark.parametrize(
    ("declaration", "expected"),
    [
        ("void f(const QString& a = QString(), bool b = false)", "f(QString,bool)"),
        ("virtual void g(unsigned int x)", "g(unsignedint)"),
        ("int value", None),
    ],
)
def test_signature(declaration: str, expected: str | None) -> None:
    assert signature(declaration) == expected


@pytest.mark.parametrize(
    ("stand_in", "class_name", "of_qt"),
    [
        ("slicer_app", "qSlicerApplication", {"aboutToQuit()", "lastWindowClosed()"}),
        ("module_manager", "qSlicerModuleManager", set()),
    ],
)
def test_signals_of_the_application_are_those_of_slicer(
    application: Any, stand_in: str, class_name: str, of_qt: set[str]
) -> None:
    from PySide6 import QtGui

    from .pythonqt import members as members_of_qt

    known = set(getattr(application, stand_in)._handlers)
    assert known - of_qt <= api.signatures(class_name, "signals")
    assert of_qt <= members_of_qt(QtGui.QGuiApplication).signals


def test_every_class_of_the_table_names_its_source() -> None:
    assert len(api.table()) > 40
    for name, entry in api.table().items():
        assert entry["source"].endswith(f"/{name}.h"), name
