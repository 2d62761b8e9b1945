"""Read from the headers of Slicer and CTK what Python can reach on their Qt classes, and write ``api.json``.

PythonQt shows Python the properties, the signals, the public slots and the ``Q_INVOKABLE`` methods of a class.
The stand-in application refuses everything else, so that code which only works against the stand-in cannot
pass a test. Run it again when Slicer changes::

    python -m Testing.slicer_app.read_api --slicer <git directory> --ctk <git directory>
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

TABLE = Path(__file__).with_name("api.json")

CLASSES = [
    "ctkBasePopupWidget",
    "ctkCheckablePushButton",
    "ctkCheckBox",
    "ctkCollapsibleButton",
    "ctkCollapsibleGroupBox",
    "ctkColorPickerButton",
    "ctkComboBox",
    "ctkDirectoryButton",
    "ctkDoubleRangeSlider",
    "ctkDoubleSlider",
    "ctkDoubleSpinBox",
    "ctkErrorLogWidget",
    "ctkExpandableWidget",
    "ctkFittedTextBrowser",
    "ctkMenuButton",
    "ctkMessageBox",
    "ctkPathLineEdit",
    "ctkPushButton",
    "ctkRangeWidget",
    "ctkSearchBox",
    "ctkSliderWidget",
    "ctkLayoutManager",
    "ctkLayoutFactory",
    "qMRMLAbstractViewWidget",
    "qMRMLCheckableNodeComboBox",
    "qMRMLLayoutManager",
    "qMRMLNodeComboBox",
    "qMRMLSegmentSelectorWidget",
    "qMRMLSegmentsTableView",
    "qMRMLSliceControllerWidget",
    "qMRMLSliceView",
    "qMRMLSliceWidget",
    "qMRMLSliderWidget",
    "qMRMLSpinBox",
    "qMRMLTableView",
    "qMRMLThreeDView",
    "qMRMLThreeDViewControllerWidget",
    "qMRMLThreeDWidget",
    "qMRMLViewControllerBar",
    "qMRMLWidget",
    "qSlicerAbstractCoreModule",
    "qSlicerAbstractModule",
    "qSlicerAbstractModuleFactoryManager",
    "qSlicerAbstractModuleRepresentation",
    "qSlicerAbstractModuleWidget",
    "qSlicerApplication",
    "qSlicerCoreApplication",
    "qSlicerCoreIOManager",
    "qSlicerIOManager",
    "qSlicerLoadableModule",
    "qMRMLSubjectHierarchyComboBox",
    "qMRMLSubjectHierarchyTreeView",
    "qSlicerAppMainWindow",
    "qSlicerMainWindow",
    "qSlicerModuleSelectorToolBar",
    "qSlicerLayoutManager",
    "qSlicerModuleFactoryManager",
    "qSlicerModuleManager",
    "qSlicerScriptedLoadableModule",
    "qSlicerScriptedLoadableModuleWidget",
    "qSlicerWidget",
    "ctkVTKAbstractView",
    "ctkVTKRenderView",
    "ctkVTKSliceView",
]


DECORATORS = ("qSlicerBaseQTCorePythonQtDecorators", "qSlicerBaseQTGUIPythonQtDecorators")


class Headers:
    """The header files of one bare repository, by class name."""

    def __init__(self, name: str, git_directory: str) -> None:
        self.name = name
        self.git_directory = git_directory
        listing = self._git("ls-tree", "-r", "HEAD", "--name-only")
        self.paths = {Path(p).stem: p for p in listing.splitlines() if p.endswith(".h")}
        self.commit = self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        command = ["git", "--git-dir", self.git_directory, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def text(self, class_name: str) -> str:
        return self._git("show", f"HEAD:{self.paths[class_name]}")


def class_body(text: str, class_name: str) -> tuple[str, str]:
    """Return the base class and the body of a C++ class, comments and preprocessor lines removed."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r"^\s*#[^\n]*", "", text, flags=re.M)
    start = re.search(rf"class\s+(?:\w+\s+)?{class_name}\b[^;{{]*{{", text)
    if start is None:
        raise ValueError(f"The header of {class_name} does not define it.")
    bases = re.search(r":\s*public\s+(?:virtual\s+)?(\w+)", start.group())
    end = text.index("\n};", start.end())
    return bases.group(1) if bases else "", text[start.end() : end]


def signature(declaration: str) -> str | None:
    """Return ``name(Type,Type)`` of a C++ declaration, or None where it declares no function."""
    match = re.search(r"(\w+)\s*\(", declaration)
    if match is None or match.group(1).startswith(("Q_", "operator")):
        return None
    depth, types, current = 1, [], ""
    for character in declaration[match.end() :]:
        depth += {"(": 1, "<": 1, ")": -1, ">": -1}.get(character, 0)
        if depth == 0 or (character == "," and depth == 1):
            types.append(current)
            current = ""
            if depth == 0:
                break
        else:
            current += character
    return f"{match.group(1)}({','.join(filter(None, map(parameter_type, types)))})"


def parameter_type(parameter: str) -> str:
    """Return the normalized type of a C++ parameter: no default, no name, no ``const &``."""
    words = re.sub(r"([*&])", r" \1 ", parameter.split("=")[0]).split()
    words = [word for word in words if word != "const"]
    if len(words) > 1 and re.fullmatch(r"\w+", words[-1]) and words[-1] not in ("int", "long", "char"):
        words.pop()
    return "".join(word for word in words if word != "&")


def members(body: str) -> dict[str, list[str]]:
    """Sort the members of a class body that PythonQt shows into properties, methods and signals."""
    properties = re.findall(r"Q_PROPERTY\(\s*[\w:<>\s]*?[\s*&](\w+)\s+READ", body)
    overrides = re.findall(r"Q_PROPERTY\(\s*[\w:<>]+\s+(\w+)\s+READ", body)
    body = re.sub(r"Q_PROPERTY\([^)]*(?:\([^)]*\))?[^)]*\)", "", body)
    body = re.sub(r"\bQ_(?:OBJECT|DECLARE_\w+|DISABLE_\w+|ENUMS?|FLAGS?|GADGET)\b(?:\([^)]*\))?;?", "", body)
    body = re.sub(r"\{[^{}]*\}", ";", re.sub(r"\{[^{}]*\}", ";", body))
    methods, signals, section = [], [], "private"
    for part in re.split(
        r"((?:public|protected|private)(?:\s+(?:Q_SLOTS|slots))?\s*:(?!:)|(?:Q_SIGNALS|signals)\s*:)", body
    ):
        label = re.sub(r"\s+", " ", part.strip().rstrip(":").strip()).replace("Q_SLOTS", "slots")
        if label in ("public", "protected", "private", "public slots", "protected slots", "private slots"):
            section = label
            continue
        if label in ("signals", "Q_SIGNALS"):
            section = "signals"
            continue
        for declaration in part.split(";"):
            found = signature(declaration)
            if found is None:
                continue
            if section == "signals":
                signals.append(found)
            elif section == "public slots" or (section == "public" and "Q_INVOKABLE" in declaration):
                methods.append(found)
    return {
        "properties": sorted({*properties, *overrides}),
        "methods": sorted(set(methods)),
        "signals": sorted(set(signals)),
    }


def decorators(text: str) -> dict[str, list[str]]:
    """Return the methods that a PythonQt decorator class adds, by the class that they are added to."""
    added: dict[str, list[str]] = {}
    _, body = class_body(text, re.search(r"class (\w+Decorators)", text).group(1))  # type: ignore[union-attr]
    body = re.sub(r"\{[^{}]*\}", ";", re.sub(r"\{[^{}]*\}", ";", body))
    for found in filter(None, map(signature, body.split(";"))):
        name, types = found[:-1].split("(", 1)
        static = re.fullmatch(r"static_([a-zA-Z]+)_(\w+)", name)
        if static:
            added.setdefault(static.group(1), []).append(f"{static.group(2)}({types})")
        elif "*" in types:
            owner, _, rest = types.partition(",")
            added.setdefault(owner.rstrip("*"), []).append(f"{name}({rest})")
    return added


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--slicer", required=True, help="git directory of Slicer/Slicer")
    parser.add_argument("--ctk", required=True, help="git directory of commontk/CTK")
    arguments = parser.parse_args()
    repositories = [Headers("Slicer/Slicer", arguments.slicer), Headers("commontk/CTK", arguments.ctk)]
    added: dict[str, list[str]] = {}
    for header in DECORATORS:
        for owner, methods in decorators(repositories[0].text(header)).items():
            added.setdefault(owner, []).extend(methods)
    classes = {}
    for class_name in CLASSES:
        repository = next(r for r in repositories if class_name in r.paths)
        base, body = class_body(repository.text(class_name), class_name)
        source = f"{repository.name}: {repository.paths[class_name]}"
        found = members(body)
        found["methods"] = sorted({*found["methods"], *added.get(class_name, [])})
        classes[class_name] = {"source": source, "base": base, **found}
    commits = {repository.name: repository.commit for repository in repositories}
    TABLE.write_text(json.dumps({"commits": commits, "classes": classes}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
