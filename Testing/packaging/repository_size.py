"""How large the repository is: Slicer's extension index refuses 100 MB, history included.

``python -m Testing.packaging.repository_size`` fails at 100 MB.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 100_000_000


def _git(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, input=stdin)
    return done.stdout


def working_tree_bytes() -> int:
    """Size of the files of the last commit."""
    lines = _git("ls-tree", "-r", "-l", "HEAD").splitlines()
    return sum(int(line.split()[3]) for line in lines if line.split()[3] != "-")


def history_bytes() -> int:
    """Size on disk of all objects that the last commit reaches: what a clone takes, packed as they are here."""
    return int(_git("rev-list", "--disk-usage", "--objects", "HEAD"))


def main() -> int:
    """Say the size; 1 where it is too large."""
    tree, history = working_tree_bytes(), history_bytes()
    sys.stdout.write(
        f"{history / 1e6:.1f} MB with the history, {MOST_BYTES / 1e6:.0f} MB allowed; {tree / 1e6:.1f} MB of files\n"
    )
    return int(history >= MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
