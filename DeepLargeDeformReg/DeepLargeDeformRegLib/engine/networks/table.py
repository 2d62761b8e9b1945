"""Write ``docs/networks.md``: ``python -m DeepLargeDeformRegLib.engine.networks.table > docs/networks.md``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ...core.tables import markdown
from . import describe_all

_HEAD = """# Networks

Written by `python -m DeepLargeDeformRegLib.engine.networks.table > docs/networks.md`; a test holds it up to date.

`build(name, **arguments)` makes each of them; the arguments below are the defaults. All take two images
`(N, C, D, H, W)` of any size and return a displacement `(N, 3, D, H, W)` in voxels, fixed to moving.

- **Parameters**: for the arguments below.
- **Receptive field**: edge of the box of input voxels that one voxel of the field can depend on, counted analytically
  along the convolutions of the level that sees farthest; normalization, global pooling and warping reach farther.
- **Levels**: those that are trained one after the other, coarsest first.
- `passes`, which all of them take: how often the network registers a pair, each time the moving image as it is warped
  so far; the fields are composed.

"""


def page() -> str:
    """The page as Markdown text."""
    networks = describe_all()
    rows: list[list[str]] = [["name", "what", "parameters", "receptive field", "levels"]]
    rows += [
        [f"`{n['name']}`", n["title"], f"{n['parameters']:,}", str(n["receptive_field"]), str(n["levels"])]
        for n in networks
    ]
    sections = [
        f"\n## {n['name']}\n\n{n['title']}.\n\nPaper: {n['paper']}.\n\nArguments: {_arguments(n['arguments'])}.\n"
        for n in networks
    ]
    return _HEAD + markdown(rows, names=2) + "".join(sections)


def _arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}={value!r}`" for name, value in arguments.items())


if __name__ == "__main__":
    sys.stdout.write(page())
