"""Keep the file lists of DeepLargeDeformReg/CMakeLists.txt equal to what git has: Slicer packages what is listed.

``python -m Testing.packaging.file_lists`` says what differs; with ``--write`` it is put right.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from . import card_texts

MODULE = Path(__file__).resolve().parents[2] / "DeepLargeDeformReg"
CMAKE = MODULE / "CMakeLists.txt"
_NOT_PACKAGED = ("CMakeLists.txt", ".gitkeep", ".gitignore")


def files_in_git() -> dict[str, list[str]]:
    """Return what has to be listed, by variable, relative to the module's folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "."],
        cwd=MODULE,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    names = [n for n in listed if n and Path(n).name not in _NOT_PACKAGED and (MODULE / n).exists()]
    scripts = sorted(n for n in names if n.endswith(".py"))
    return {
        "MODULE_PYTHON_SCRIPTS": scripts,
        "MODULE_PYTHON_RESOURCES": sorted(set(names) - set(scripts)),
    }


def files_in_cmake(text: str) -> dict[str, list[str]]:
    """Return what is listed, by variable."""
    found = {}
    for variable in ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"):
        body = re.search(rf"set\({variable}\n(.*?)\n?  \)", text, re.S)
        lines = body.group(1).split() if body else []
        found[variable] = [line.strip('"').replace("${MODULE_NAME}", "DeepLargeDeformReg") for line in lines]
    return found


def differences() -> list[str]:
    """Return one line for each file that is listed and not there, or there and not listed."""
    listed, there = files_in_cmake(CMAKE.read_text(encoding="utf-8")), files_in_git()
    lines = []
    for variable in there:
        lines += [f"not in {variable}: {n}" for n in sorted(set(there[variable]) - set(listed[variable]))]
        lines += [f"in {variable}, not in git: {n}" for n in sorted(set(listed[variable]) - set(there[variable]))]
    return lines


def write() -> None:
    """Put what git has into the lists, and what model cards say into theirs."""
    card_texts.LISTED.write_text(card_texts.source(), encoding="utf-8")
    text = CMAKE.read_text(encoding="utf-8")
    for variable, names in files_in_git().items():
        body = "".join(f"  {name}\n" for name in names)
        text = re.sub(rf"set\({variable}\n.*?  \)", f"set({variable}\n{body}  )", text, flags=re.S)
    CMAKE.write_text(text, encoding="utf-8")


def main() -> int:
    """Report or write; 1 where the lists differ."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the lists right")
    if parser.parse_args().write:
        write()
    lines = differences()
    sys.stdout.write("".join(line + "\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
