"""How large the repository is: Slicer's extension index refuses a clone of more than 100 MB.

The index sums up all files of a clone, ``.git`` included. It clones one commit, or the whole history where the
catalog entry names a revision. ``python -m Testing.packaging.repository_size`` fails at 100 MB, of the clone or of
the history.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 100_000_000


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def working_tree_bytes() -> int:
    """Size of the files of the last commit."""
    lines = _git("ls-tree", "-r", "-l", "HEAD").splitlines()
    return sum(int(line.split()[3]) for line in lines if line.split()[3] != "-")


def _pack_bytes(*revisions: str) -> int:
    """Size of the pack that a clone of these revisions brings over the wire, with deltas for loose objects too."""
    objects = _git("rev-list", "--objects", *revisions)
    packed = subprocess.run(
        ["git", "pack-objects", "--stdout", "-q", "--delta-base-offset"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        input=objects.encode(),
    )
    return len(packed.stdout)


def history_bytes() -> int:
    """Size of all objects that the last commit reaches, packed as a clone takes them."""
    return _pack_bytes("HEAD")


def clone_bytes(with_history: bool = False) -> int:
    """What the index sums up: the files, and the objects of the last commit, or of all."""
    return working_tree_bytes() + (history_bytes() if with_history else _pack_bytes("--no-walk", "HEAD"))


def main() -> int:
    """Say the size; 1 where it is too large."""
    history, clone = history_bytes(), clone_bytes()
    sys.stdout.write(
        f"{clone / 1e6:.1f} MB in a clone of the last commit, {history / 1e6:.1f} MB of history; "
        f"{MOST_BYTES / 1e6:.0f} MB allowed for each\n"
    )
    return int(max(history, clone) >= MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
