"""What Slicer's extension index and its packaging ask of the repository."""

import re
import struct
from pathlib import Path

import pytest

from . import card_texts
from .file_lists import differences, files_in_cmake

ROOT = Path(__file__).resolve().parents[2]


def metadata() -> dict[str, str]:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    variables = dict(re.findall(r'^set\((\w+) "([^"]*)"\)', text, re.M))
    for _ in range(2):
        for name, value in variables.items():
            variables[name] = re.sub(r"\$\{(\w+)\}", lambda m: variables.get(m.group(1), m.group(0)), value)
    return variables


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path.name
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def test_texts_of_model_cards_can_be_translated() -> None:
    assert card_texts.is_up_to_date(), "Run: python -m Testing.packaging.card_texts --write"


def test_every_file_of_the_module_is_packaged() -> None:
    assert not differences(), "Run: python -m Testing.packaging.file_lists --write\n" + "\n".join(differences())


def test_missing_file_would_be_noticed() -> None:
    lists = files_in_cmake(
        "set(MODULE_PYTHON_SCRIPTS\n  ${MODULE_NAME}.py\n  a/b.py\n  )\nset(MODULE_PYTHON_RESOURCES\n  )"
    )
    assert lists == {"MODULE_PYTHON_SCRIPTS": ["DeepLargeDeformReg.py", "a/b.py"], "MODULE_PYTHON_RESOURCES": []}


def test_metadata_is_complete() -> None:
    found = metadata()
    assert found["EXTENSION_CATEGORY"] == "Registration"
    assert found["EXTENSION_DEPENDS"] == "PyTorch"
    for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"):
        assert found[f"EXTENSION_{name}"].strip(), name
    assert "${" not in found["EXTENSION_SCREENSHOTURLS"]


def test_pictures_of_the_metadata_are_in_the_repository() -> None:
    found = metadata()
    for url in [found["EXTENSION_ICONURL"], *found["EXTENSION_SCREENSHOTURLS"].split()]:
        assert (ROOT / "Resources" / url.split("/Resources/")[1]).is_file(), url


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("Resources/Icons/DeepLargeDeformReg.png", (128, 128)),
        ("DeepLargeDeformReg/Resources/Icons/DeepLargeDeformReg.png", (128, 128)),
        ("DeepLargeDeformReg/Resources/Icons/SampleCase.png", (260, 280)),
    ],
)
def test_icons_have_the_sizes_that_slicer_asks_for(path: str, size: tuple[int, int]) -> None:
    assert png_size(ROOT / path) == size


def test_ship_the_license_and_the_readme() -> None:
    assert "Apache License" in (ROOT / "LICENSE.txt").read_text(encoding="utf-8")
    assert (ROOT / "README.md").is_file()


def test_scripts_that_ctest_runs_are_there() -> None:
    """Slicer's build names them in CMake files that no build here reads."""
    found = 0
    for path in (ROOT / "DeepLargeDeformReg", ROOT / "Testing" / "Python"):
        text = (path / "CMakeLists.txt").read_text(encoding="utf-8")
        for script in re.findall(r"^\s*slicer_add_python_unittest\(SCRIPT ([^\s)]+)", text, re.M):
            assert (path / script.replace("${MODULE_NAME}", "DeepLargeDeformReg")).is_file(), script
            found += 1
    assert found >= 1
