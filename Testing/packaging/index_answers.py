"""Keep the line numbers of docs/index-submission.md right.

An answer names a line and words that stand on it: ``[file:12](../file#L12) `words` ``.
``python -m Testing.packaging.index_answers`` says what is wrong; with ``--write`` lines that moved get their number.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "index-submission.md"
ANSWER = re.compile(r"\[([^\]\s]+):(\d+)\]\(([^)#\s]+)#L(\d+)\) `([^`]+)`")


@dataclass(frozen=True)
class Answer:
    """A line that is named: the file, its address as seen from the page, number (twice), and words of the line."""

    path: str
    address: str
    numbers: tuple[int, int]
    words: str

    def text(self, number: int) -> str:
        """The answer as it is written for another line number."""
        return f"[{self.path}:{number}]({self.address}#L{number}) `{self.words}`"


def answers(text: str) -> list[Answer]:
    """All lines that a page names."""
    found = ANSWER.findall(text)
    return [Answer(path, address, (int(first), int(second)), words) for path, first, address, second, words in found]


def places(answer: Answer, root: Path = ROOT) -> list[int]:
    """Numbers of the lines that hold the words; empty where the file is not there."""
    path = root / answer.path
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(lines, 1) if answer.words in line]


def faults(text: str, root: Path = ROOT) -> list[str]:
    """One sentence for each answer that names a line which does not say it."""
    found = []
    for answer in answers(text):
        wanted = os.path.relpath(root / answer.path, root / "docs").replace(os.sep, "/")
        if answer.address != wanted:
            found.append(f"{answer.path}: the address is {answer.address}, not {wanted}")
        if not set(answer.numbers) <= set(places(answer, root)):
            found.append(f"{answer.path}:{answer.numbers[0]} does not say: {answer.words}")
    return found


def renumbered(text: str, root: Path = ROOT) -> str:
    """The page with the number of the nearest line that holds the words; as it is where none does."""

    def nearest(match: re.Match[str]) -> str:
        (answer,) = answers(match.group())
        found = places(answer, root)
        return answer.text(min(found, key=lambda number: abs(number - answer.numbers[0]))) if found else match.group()

    return ANSWER.sub(nearest, text)


def main() -> int:
    """Report or write; 1 where a line does not say what is claimed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the numbers right")
    text = PAGE.read_text(encoding="utf-8")
    if parser.parse_args().write:
        text = renumbered(text)
        PAGE.write_text(text, encoding="utf-8")
    lines = faults(text)
    sys.stdout.write("".join(line + "\n" for line in lines))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
