"""Split files: who is for training, validation and test stands in files, and no random number decides it at run time.

A list of names has one a line; blank lines and lines that begin with # are skipped. A list of pairs is a CSV file
with the columns ``fixed`` and ``moving``.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.files.common import read_text, write_text


def read_names(path: Path) -> list[str]:
    """Names of a split file.

    Raises:
        BadInputError: if it cannot be read, is empty, or has a name twice.
    """
    lines = [line.strip() for line in read_text(path).splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise BadInputError(f"The list {path.name} names no subject.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInputError(f"The list {path.name} has {twice} more than once.")
    return names


def read_pair_names(path: Path) -> list[tuple[str, str]]:
    """Pairs (fixed, moving) of names of a split file.

    Raises:
        BadInputError: if it cannot be read, or has no such columns or no row.
    """
    lines = [line for line in read_text(path).splitlines() if line.strip() and not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    if not rows or not {"fixed", "moving"} <= set(rows[0]):
        raise BadInputError(
            f"The list of pairs {path.name} must have the columns fixed and moving, and at least one row."
        )
    pairs = [((row["fixed"] or "").strip(), (row["moving"] or "").strip()) for row in rows]
    if not all(fixed and moving for fixed, moving in pairs):
        raise BadInputError(f"The list of pairs {path.name} has a row without a fixed or a moving scan.")
    return pairs


def divide(patients: Mapping[str, str], shares: Mapping[str, float], seed: int = 0) -> dict[str, list[str]]:
    """Divide subjects into splits such that no patient is in two of them.

    Patients are ordered by a hash of their names and dealt out, so the same patients fall into the same splits on
    every machine, and a patient who is added later moves few others.

    Args:
        patients: patient of each subject.
        shares: share of each split, such as ``{"train": 0.8, "validation": 0.1, "test": 0.1}``; must sum to one.
        seed: another number deals differently.

    Raises:
        BadInputError: if the shares do not sum to one or a split would be empty.
    """
    if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0:
        raise BadInputError(f"The shares of the splits must be positive and sum to 1, not {sum(shares.values()):g}.")
    order = sorted(set(patients.values()), key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
    result: dict[str, list[str]] = {}
    begin, total = 0, 0.0
    for split, share in shares.items():
        total += share
        end = round(total * len(order))
        chosen = set(order[begin:end])
        result[split] = sorted(name for name, patient in patients.items() if patient in chosen)
        begin = end
        if share > 0 and not chosen:
            raise BadInputError(f"{len(order)} patients are too few for a split {split!r} with a share of {share:g}.")
    return result


def write_names(names: Iterable[str], path: Path, comment: str = "") -> None:
    """Write a list of names, whole or not at all."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    write_text(head + "".join(f"{name}\n" for name in names), path)


def write_pair_names(pairs: Iterable[tuple[str, str]], path: Path) -> None:
    """Write a list of pairs, whole or not at all."""
    write_text("fixed,moving\n" + "".join(f"{fixed},{moving}\n" for fixed, moving in pairs), path)
