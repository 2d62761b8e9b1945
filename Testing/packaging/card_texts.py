"""Keep core/card_texts.py equal to what the shipped model cards say: Slicer's tool collects texts from Python alone.

``python -m Testing.packaging.card_texts --write`` puts it right, as ``file_lists --write`` does.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "DeepLargeDeformReg" / "DeepLargeDeformRegLib"
LISTED = LIBRARY / "core" / "card_texts.py"
_MOST_CHARACTERS = 96
_HEAD = '''"""What the model cards that ship say to people, listed for the tool that collects what can be translated.

Written by ``python -m Testing.packaging.card_texts --write``; a test holds it up to date.
"""

from __future__ import annotations

from .sentences import marked as _

_TEXTS = (
'''
_TAIL = """)
CARD_TEXTS = {str(text): text for text in _TEXTS}
"""


def texts_of_cards() -> list[str]:
    """Titles, purposes and figures of the cards, each text once."""
    found: list[str] = []
    for path in sorted((LIBRARY / "resources" / "models").glob("*.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        found += [card["title"], card["purpose"]]
        found += [figure[key] for figure in card.get("figures", ()) for key in ("measure", "data") if figure.get(key)]
    return list(dict.fromkeys(found))


def source() -> str:
    """Content of core/card_texts.py."""
    return _HEAD + "".join(_entry(text) for text in texts_of_cards()) + _TAIL


def _entry(text: str) -> str:
    lines = [""]
    for word in re.findall(r"\S+\s*", text):
        if lines[-1] and len(lines[-1]) + len(word) > _MOST_CHARACTERS:
            lines.append("")
        lines[-1] += word
    quoted = [json.dumps(line, ensure_ascii=False) for line in lines]
    if len(quoted) == 1:
        return f"    _({quoted[0]}),\n"
    return "    _(\n" + "".join(f"        {line}\n" for line in quoted) + "    ),\n"


def is_up_to_date() -> bool:
    """Whether the file lists what the cards say."""
    return LISTED.is_file() and LISTED.read_text(encoding="utf-8") == source()


def main() -> int:
    """Report or write; 1 where the file is not up to date."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the file right")
    if parser.parse_args().write:
        LISTED.write_text(source(), encoding="utf-8")
    return 0 if is_up_to_date() else 1


if __name__ == "__main__":
    sys.exit(main())
