"""What Slicer's extension index checks of an entry and of the repository behind it, written anew as tests.

After its public scripts and its template for pull requests, read on 29 November 2026. What only its host can see (the
topic of the repository, pictures behind their addresses) is in docs/index-submission.md.
"""

from __future__ import annotations

import ast
import io
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from . import index_answers, repository_size

ROOT = Path(__file__).resolve().parents[2]
ENTRY = ROOT / "docs" / "index" / "DeepLargeDeformReg.json"
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
MODULE = ROOT / "DeepLargeDeformReg"
HOST = "https://github.com/"


def entry() -> dict[str, object]:
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def cmake_variable(name: str) -> str:
    (value,) = re.findall(rf'set\({name} "([^"]+)"\)', CMAKE)
    return value


def test_entry_follows_the_schema() -> None:
    """Version 1.0.2 of the schema: names, types, what has to be there."""
    found = entry()
    texts = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_subdirectory", "dicom_support_rule"}
    assert {"$schema", "category", "scm_url"} <= set(found) <= texts | {"build_dependencies", "enabled", "tier"}
    assert all(isinstance(value, str) for key, value in found.items() if key in texts)
    assert isinstance(found["build_dependencies"], list)
    assert isinstance(found["tier"], int)
    assert 1 <= found["tier"] <= 5
    assert b"\r" not in ENTRY.read_bytes()


def test_entry_says_the_same_as_cmake() -> None:
    found = entry()
    assert re.findall(r"project\s*\(\s*([^\s)]+)", CMAKE) == [ENTRY.stem]
    assert not ENTRY.stem.lower().startswith("slicer")
    assert found["category"] == cmake_variable("EXTENSION_CATEGORY") == "Registration"  # one of those it knows
    assert " ".join(found["build_dependencies"]) == cmake_variable("EXTENSION_DEPENDS")
    assert str(found["scm_url"]).removesuffix(".git") == cmake_variable("EXTENSION_HOMEPAGE")
    assert str(found["scm_url"]).startswith(HOST)


def test_addresses_are_written_out_and_lead_to_pictures() -> None:
    """The index reads the file as text and expands no variables."""
    addresses = [cmake_variable("EXTENSION_ICONURL"), *cmake_variable("EXTENSION_SCREENSHOTURLS").split()]
    assert len(addresses) > 1
    for address in addresses:
        assert address.startswith("https://raw.githubusercontent.com/")
        assert (ROOT / "Resources" / address.split("/Resources/")[1]).is_file(), address


def test_all_addresses_are_of_one_repository() -> None:
    """Whoever renames it learns which were forgotten."""
    wanted = urlsplit(str(entry()["scm_url"])).path.removesuffix(".git")
    listed = ("CMakeLists.txt", "CITATION.cff", "DeepLargeDeformReg/DeepLargeDeformReg.py")
    for text in (CMAKE, *((ROOT / name).read_text(encoding="utf-8") for name in listed)):
        found = re.findall(r"https://(?:github|raw\.githubusercontent)\.com(/[\w-]+/[\w-]+)", text)
        assert found
        assert set(found) == {wanted}


def test_name_of_the_repository_has_the_prefix_or_a_reason() -> None:
    name = urlsplit(str(entry()["scm_url"])).path.rpartition("/")[2]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert name.startswith("Slicer") or "can also be used without Slicer" in " ".join(readme.split())


def test_description_is_short() -> None:
    """One or two sentences on what it does, and one on patents."""
    description = cmake_variable("EXTENSION_DESCRIPTION")
    assert "patents" in description
    assert 1 <= description.count(". ") + description.endswith(".") <= 3


def test_page_says_what_reviewers_look_for() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for wanted in ("DeepLargeDeformReg", "Its one module", "how to cite", "Apache License", "https://doi.org/"):
        assert wanted in readme
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)


def test_every_answer_names_a_line_that_says_it() -> None:
    text = index_answers.PAGE.read_text(encoding="utf-8")
    assert len(index_answers.answers(text)) > 25
    assert index_answers.faults(text) == [], "Run: python -m Testing.packaging.index_answers --write"


def test_moved_line_is_noticed_and_put_right(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("one\ntwo words\nthree\n", encoding="utf-8")
    page = "| question | [docs/a.md:1](a.md#L1) `two words`, [docs/a.md:3](a.md#L3) `four` |"
    assert index_answers.faults(page, tmp_path) == [
        "docs/a.md:1 does not say: two words",
        "docs/a.md:3 does not say: four",
    ]
    right = index_answers.renumbered(page, tmp_path)
    assert right == page.replace("a.md:1](a.md#L1)", "a.md:2](a.md#L2)")


def test_clone_is_small_enough_for_the_index() -> None:
    """With a named revision the index would clone the history too, which leaves no room beside the files."""
    assert repository_size.working_tree_bytes() < 50e6
    assert repository_size.history_bytes() < repository_size.MOST_BYTES
    assert repository_size.clone_bytes(with_history="scm_revision" in entry()) < repository_size.MOST_BYTES


def test_sample_scans_are_there_once() -> None:
    """Two files of the same content would be paid for twice by everybody who installs the extension."""
    large: dict[bytes, list[Path]] = {}
    for path in MODULE.rglob("*"):
        if path.is_file() and path.stat().st_size > 50_000 and "__pycache__" not in path.parts:
            large.setdefault(path.read_bytes(), []).append(path)
    assert [paths for paths in large.values() if len(paths) > 1] == []
    assert sorted(
        path.name for path in MODULE.rglob("*.nii.gz") if path.name in ("fixed.nii.gz", "moving.nii.gz")
    ) == [
        "fixed.nii.gz",
        "moving.nii.gz",
    ]


def _runs_at_import(node: ast.stmt) -> bool:
    """True for a statement that does something when its file is imported; tables and definitions do nothing."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If):
        return any(_runs_at_import(one) for one in [*node.body, *node.orelse]) and "__main__" not in ast.dump(
            node.test
        )
    if isinstance(node, ast.Try):
        return any(_runs_at_import(one) for one in node.body)
    return isinstance(node, ast.For | ast.While | ast.With | ast.Delete | ast.Raise | ast.Assert)


def test_nothing_runs_at_import() -> None:
    loaded = [MODULE / "DeepLargeDeformReg.py"]
    for part in ("core", "scene", "widgets", "resources"):
        loaded += (MODULE / "DeepLargeDeformRegLib" / part).rglob("*.py")
    assert len(loaded) > 30
    for path in loaded:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert [node.lineno for node in tree.body if _runs_at_import(node)] == [], path.name


@pytest.mark.parametrize("line", ["print()", "for a in b: pass", "try:\n  run()\nexcept E: pass", "with a: pass"])
def test_what_runs_at_import_is_noticed(line: str) -> None:
    assert any(_runs_at_import(node) for node in ast.parse(line).body)


def test_icon_reads_in_the_list_of_modules() -> None:
    """Slicer draws it 16 pixels wide: both organs keep their color there, as thin lines would not."""
    from PIL import Image

    data = (MODULE / "Resources" / "Icons" / "DeepLargeDeformReg.png").read_bytes()
    small = Image.open(io.BytesIO(data)).convert("RGBA").resize((16, 16), Image.Resampling.BOX)
    colors = np.asarray(small).astype(float)[..., :3]
    for color in ((242, 193, 78), (63, 167, 214)):
        near = np.abs(colors - color).max(axis=-1) < 50
        assert near.sum() >= 20
