"""PySide6 with the manners of PythonQt, which is how Slicer's Python sees Qt.

What differs, and is made equal here: a Qt property is an attribute (``button.text``) that is never called, next to
its setter (``button.setText``); ``connect`` takes a signature (``button.connect("clicked(bool)", f)``); a handler
gets as many arguments as its code takes; ``name`` is ``objectName``; a wrapped object takes no new attributes.
What PythonQt would swallow (an unknown signal, a wrong type, a modal dialog in a test) raises.
"""

from __future__ import annotations

import enum
import inspect
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

QT_MODULES = (QtCore, QtGui, QtWidgets)

# PythonQt shows these as attributes too, but Qt itself asks them of Python during layout.
_VIRTUAL_PROPERTIES = frozenset({"sizeHint", "minimumSizeHint"})


class PropertyOfQt:
    """A Qt property as an attribute; asked of the class, it is the function of that name, as PySide has it."""

    def __init__(self, name: str, property_name: str, function: Any) -> None:
        self.name = name
        self.property_name = property_name
        self.function = function

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            if self.function is None:
                raise AttributeError(self.name)
            return self.function
        self._require_alive(instance)
        return instance.property(self.property_name)

    def _require_alive(self, instance: Any) -> None:
        """PythonQt raises ValueError where PySide would end the process."""
        if not shiboken6.isValid(instance):
            raise ValueError(
                f"Trying to access property '{self.name}' of a destroyed {type(instance).__name__} object"
            )

    def __set__(self, instance: Any, value: Any) -> None:
        self._require_alive(instance)
        write_property(instance, self.property_name, value)


def write_property(instance: Any, name: str, value: Any) -> None:
    """Write a Qt property as PythonQt does; AttributeError where it is read-only or the type does not fit."""
    meta = instance.metaObject()
    meta_property = meta.property(meta.indexOfProperty(name))
    type_name = meta_property.typeName()
    if not meta_property.isWritable():
        raise AttributeError(f"Property '{name}' of {type(instance).__name__} object is not writable")
    fits = True
    if type_name == "bool":
        value = bool(value)
    elif type_name == "QString":
        fits = isinstance(value, str)
    elif type_name in ("double", "int", "float"):
        fits = isinstance(value, (int, float)) and (type_name != "int" or int(value) == value)
        value = int(value) if fits and type_name == "int" else value
    elif isinstance(value, int) and not isinstance(value, enum.Enum) and meta_property.isEnumType():
        fits = True
    if not fits or not instance.setProperty(name, value):
        raise AttributeError(
            f"Property '{name}' of type '{type_name}' does not accept an object of type {type(value).__name__}"
        )


class Members(NamedTuple):
    """What a Qt class and its bases have, by name (properties) or by signature."""

    properties: frozenset[str]
    signals: frozenset[str]
    slots: frozenset[str]


_MEMBERS: dict[Any, Members] = {}


def members(qt_class: Any) -> Members:
    """The members of a Qt class, read at the start: PySide's meta object of a class dies with its first instance."""
    return _MEMBERS[_unwrapped(qt_class)]


def _read_members(meta: Any) -> Members:
    kinds: dict[Any, set[str]] = {
        QtCore.QMetaMethod.MethodType.Signal: set(),
        QtCore.QMetaMethod.MethodType.Slot: set(),
    }
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() in kinds:
            kinds[method.methodType()].add(_data(method.methodSignature()).decode())
    properties = frozenset(meta.property(index).name() for index in range(meta.propertyCount()))
    return Members(properties, *(frozenset(found) for found in kinds.values()))


def patch_properties() -> None:
    """Make the properties of every Qt class attributes. Once in a process."""
    if isinstance(vars(QtCore.QObject).get("name"), PropertyOfQt):
        return
    for module in QT_MODULES:
        for class_name in dir(module):
            qt_class = getattr(module, class_name)
            if not (isinstance(qt_class, type) and issubclass(qt_class, QtCore.QObject)):
                continue
            meta = qt_class.staticMetaObject
            _MEMBERS[qt_class] = _read_members(meta)
            for index in range(meta.propertyOffset(), meta.propertyCount()):
                name = meta.property(index).name()
                if name not in _VIRTUAL_PROPERTIES and not isinstance(vars(qt_class).get(name), PropertyOfQt):
                    setattr(qt_class, name, PropertyOfQt(name, name, vars(qt_class).get(name)))
    QtCore.QObject.name = PropertyOfQt("name", "objectName", None)
    QtCore.QObject.className = lambda self: self.metaObject().className()


def accepted_arguments(handler: Callable[..., Any]) -> int | None:
    """Return how many signal arguments PythonQt hands to a handler, or None for all.

    PythonQtSignalTarget::call counts the arguments in the code object, those with defaults included.
    """
    function = handler.__func__ if inspect.ismethod(handler) else handler
    if not inspect.isfunction(function) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - (1 if inspect.ismethod(handler) else 0)


def _bound_signal(instance: Any, signature: str) -> tuple[Any, int]:
    """Return the signal of that signature and its number of arguments; AttributeError where there is none."""
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()
    name, _, arguments = normalized[:-1].partition("(")
    names = [argument for argument in arguments.split(",") if argument]
    alias = getattr(type(instance), "SIGNALS", {}).get(normalized)
    if alias is not None:
        return getattr(instance, alias), len(names)
    if instance.metaObject().indexOfSignal(normalized) < 0:
        raise AttributeError(f"{type(instance).__name__} has no signal {normalized} in this Qt and Slicer.")
    signal = getattr(instance, name)
    meta = instance.metaObject()
    overloads = {
        bytes(meta.method(i).methodSignature().data()).decode()
        for i in range(meta.methodCount())
        if meta.method(i).methodType() == QtCore.QMetaMethod.MethodType.Signal
        and meta.method(i).name() == name.encode()
    }
    kinds = {"int": int, "bool": bool, "QString": str, "double": float}
    if len(overloads) > 1 and names and all(n in kinds for n in names):
        signal = signal[kinds[names[0]]] if len(names) == 1 else signal[tuple(kinds[n] for n in names)]
    return signal, len(names)


def connect(instance: Any, signature: str, handler: Callable[..., Any]) -> bool:
    """``instance.connect("clicked(bool)", handler)``; AttributeError where the signal does not exist."""
    signal, count = _bound_signal(instance, signature)
    accepted = accepted_arguments(handler)
    count = count if accepted is None else min(count, accepted)

    def call(*arguments: Any) -> None:
        handler(*arguments[:count])

    connections = instance.__dict__.setdefault("_connections", [])
    connections.append((signature, handler, call))
    signal.connect(call)
    return True


def disconnect(instance: Any, signature: str, handler: Callable[..., Any]) -> bool:
    """Undo ``connect``; False where that was not connected, as PythonQt answers."""
    connections = instance.__dict__.get("_connections", [])
    for index, (known, known_handler, call) in enumerate(connections):
        if known == signature and known_handler == handler:
            _bound_signal(instance, signature)[0].disconnect(call)
            del connections[index]
            return True
    return False


def set_attribute(instance: Any, name: str, value: Any) -> None:
    """Set a property; a wrapped object, unlike one of a class derived in Python, takes no new attribute."""
    for owner in type(instance).__mro__:
        if name in vars(owner):
            known = vars(owner)[name]
            if isinstance(known, (PropertyOfQt, QtCore.Property)):
                if isinstance(known, QtCore.Property):
                    write_property(instance, name, value)
                else:
                    known.__set__(instance, value)
                return
            break
    derived = getattr(type(instance), "_derived_in_python", False)
    child = isinstance(value, QtCore.QObject) and value.objectName == name  # shown as an attribute by PythonQt too
    if derived or child or name.startswith("_"):
        _wrapped_class(instance).__setattr__(instance, name, value)
    elif instance.dynamicPropertyNames() and name.encode() in map(bytes, map(_data, instance.dynamicPropertyNames())):
        instance.setProperty(name, value)
    else:
        raise AttributeError(
            f"{type(instance).__name__} has no property named '{name}'; PythonQt takes no new attribute."
        )


def _wrapped_class(instance: Any) -> Any:
    return next(vars(owner)["_wrapped"] for owner in type(instance).__mro__ if "_wrapped" in vars(owner))


def _data(array: Any) -> bytes:
    return bytes(array.data())


def _unwrapped(qt_class: Any) -> Any:
    return vars(qt_class).get("_wrapped", qt_class) if isinstance(qt_class, type) else qt_class


def find_children(instance: Any, kind: Any = QtCore.QObject, name: str = "") -> list[Any]:
    """All descendants of a kind, and of a name where one is given."""
    kind = _unwrapped(kind)
    found = QtCore.QObject.findChildren(instance, kind)
    return [child for child in found if not name or child.objectName == name]


def find_child(instance: Any, kind: Any = QtCore.QObject, name: str = "") -> Any:
    """The first such descendant, or None."""
    return next(iter(find_children(instance, kind, name)), None)


def _manners() -> dict[str, Any]:
    """What PySide honors only in the dictionary of an object's own class, so that each class needs its copy."""
    return {
        "connect": connect,
        "disconnect": disconnect,
        "findChildren": find_children,
        "findChild": find_child,
        "__setattr__": set_attribute,
        "delete": lambda self: self.deleteLater(),
    }


class _Leaf(type(QtCore.QObject)):  # type: ignore[misc]
    """Makes an object that Qt created an instance of the class that ``qt`` shows, as with PythonQt."""

    def __instancecheck__(cls, instance: Any) -> bool:
        wrapped = vars(cls).get("_wrapped")
        return isinstance(instance, wrapped) if wrapped is not None else super().__instancecheck__(instance)


def with_manners(qt_class: type, name: str | None = None) -> type:
    """Return a subclass of a Qt class that behaves as PythonQt's wrapper of it."""

    def derive(cls: type, **keywords: Any) -> None:
        for attribute, function in _manners().items():
            if attribute not in vars(cls):
                setattr(cls, attribute, function)
        if "STANDS_FOR" not in vars(cls):
            cls._derived_in_python = True  # type: ignore[attr-defined]

    namespace = {**_manners(), "__module__": "qt", "_wrapped": qt_class, "__init_subclass__": classmethod(derive)}
    if issubclass(qt_class, QtWidgets.QDialog):
        namespace["exec_"] = namespace["exec"] = _ask
    if qt_class is QtWidgets.QFileDialog:
        for function in ("getExistingDirectory", "getOpenFileName", "getSaveFileName"):
            namespace[function] = staticmethod(_ask_for_file(function))
    return types.new_class(
        name or qt_class.__name__, (qt_class,), {"metaclass": _Leaf}, lambda n: n.update(namespace)
    )


class Dialogs:
    """Who answers modal dialogs in a test, where nobody sits: ``answers`` holds one function for each to come."""

    def __init__(self) -> None:
        self.answers: list[Callable[[Any], Any]] = []
        self.shown: list[str] = []

    def ask(self, dialog: Any) -> Any:
        """Answer one dialog; RuntimeError where no answer was prepared, since Slicer would wait for ever."""
        text = dialog if isinstance(dialog, str) else f"{dialog.windowTitle}: {getattr(dialog, 'text', '')}"
        self.shown.append(text)
        if not self.answers:
            raise RuntimeError(f"A modal dialog was opened that no test prepared an answer for: {text}")
        return self.answers.pop(0)(dialog)


dialogs = Dialogs()


def _ask(dialog: Any) -> Any:
    return dialogs.ask(dialog)


def _ask_for_file(function: str) -> Callable[..., Any]:
    def ask(parent: Any = None, caption: str = "", *arguments: Any) -> Any:
        return dialogs.ask(f"{function}: {caption}")

    return ask


def qt_module() -> types.ModuleType:
    """Return the module ``qt``: every class of QtCore, QtGui and QtWidgets, those that can be made with manners."""
    patch_properties()
    module = types.ModuleType("qt", "Qt as Slicer's Python sees it.")
    hidden = {"Signal", "Slot", "Property", "ClassInfo", "QEnum", "QFlag", "SIGNAL", "SLOT"}
    for source in QT_MODULES:
        for name in dir(source):
            value = getattr(source, name)
            if name.startswith("_") or name in hidden:
                continue
            if isinstance(value, type) and issubclass(value, QtCore.QObject) and _can_be_derived(value):
                value = with_manners(value)
            setattr(module, name, value)
    return module


def _can_be_derived(qt_class: type) -> bool:
    # The layouts stay as they are: Qt makes its own for a .ui file, and Slicer's code asks their exact kind.
    return not issubclass(qt_class, (QtCore.QCoreApplication, QtWidgets.QLayout))
