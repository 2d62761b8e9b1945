"""Jobs for the tests of cohorts: as real ones from file to file, without the engine; chosen by ``--jobs``.

What a pair does is written in its fixed scan, a text here: ``ok``, ``bad`` (refused), ``die`` (ends its process), or
``die once`` (at the first try only). Each job leaves a line in ``computed.txt`` beside the scan.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from DeepLargeDeformRegLib.core.errors import BadInputError
from DeepLargeDeformRegLib.core.progress import Monitor

SECONDS = 0.15


def load() -> dict[str, Any]:
    return {"torch": "none", "devices": [{"name": "cpu", "description": "CPU", "free_bytes": 2**30}], "models": []}


def release() -> None:
    pass


def write_pairs(folder: Path, *contents: str) -> Path:
    """A table of pairs p00, p01 ... whose fixed scans have these contents."""
    folder.mkdir(exist_ok=True)
    (folder / "moving.nrrd").write_text("moving", encoding="utf-8")
    lines = ["name,fixed,moving"]
    for number, content in enumerate(contents):
        (folder / f"{number:02d}.nrrd").write_text(f"{content} {number}", encoding="utf-8")
        lines.append(f"p{number:02d},{number:02d}.nrrd,moving.nrrd")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "pairs.csv"


def computed(pairs: Path) -> list[str]:
    """Fixed scans of a table that were registered, each as often as it was."""
    log = pairs.parent / "computed.txt"
    return sorted(log.read_text(encoding="utf-8").split()) if log.exists() else []


def metrics_of(text: str) -> dict[str, Any]:
    """Metrics that depend on the content of a scan alone."""
    share = (sum(text.encode()) % 100) / 100
    return {
        "jacobian": {"fold_percent": 0.0, "sdlogj": share, "min": 0.5, "max": 2.0, "std": 0.1},
        "dice": {"liver": {"before": 0.4 * share, "after": share}, "spleen": {"before": None, "after": 0.5}},
        "tre_mm": {"before": {"mean": 9.0, "p75": 10.0}, "after": {"mean": 1.0 + share, "p75": 2.0}},
        "verdict": {"level": "accept" if share > 0.5 else "look"},
    }


def register(payload: dict[str, Any], monitor: Monitor) -> tuple[dict[str, Any], dict[str, str]]:
    scan = Path(payload["fixed"])
    text = scan.read_text(encoding="utf-8")
    log = scan.parent / "computed.txt"
    time.sleep(SECONDS)
    if text.startswith("bad"):
        raise BadInputError("The fixed scan is the same everywhere; it holds nothing to align.")
    tried = log.read_text(encoding="utf-8").split() if log.exists() else []
    if text.startswith("die") and not ("once" in text and f"{scan.name}:try" in tried):
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{scan.name}:try\n")
        os.kill(os.getpid(), signal.SIGKILL)
    metrics = metrics_of(text)
    Path(payload["metrics"]).write_text(json.dumps(metrics), encoding="utf-8")
    if payload.get("report"):
        Path(payload["report"]).write_text("<p>report</p>", encoding="utf-8")
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{scan.name}\n")
    return metrics, {}


JOBS = {"register": register}
