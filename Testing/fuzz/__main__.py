"""``python -m Testing.fuzz --seconds N [--seed S]``: what was tried by the kind of file, and each violation."""

from __future__ import annotations

import argparse
import faulthandler
import logging
import random
import sys
import tempfile
from pathlib import Path

from .files import fuzz


def main() -> int:
    """Try changed files and print a table; 1 if there was a violation."""
    parser = argparse.ArgumentParser(prog="python -m Testing.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--keep", type=Path, help="folder for the files, those of violations among them")
    options = parser.parse_args()
    faulthandler.enable()  # a crash of ITK shows where
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = fuzz(folder, options.seconds, options.seed)
    lines = [f"{name:12} {count:6} cases" for name, count in sorted(found.cases.items())]
    total = sum(found.cases.values())
    lines += [*found.violations, f"seed {options.seed}: {total} cases, {len(found.violations)} violations"]
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if found.violations else 0


if __name__ == "__main__":
    sys.exit(main())
