"""Pictures of the report of the sample case for the extension's page: ``make report-screenshots``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from Testing.report.browser import A4_HEIGHT, A4_WIDTH, Page, browser_page, chromium

FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "Screenshots"
LARGEST = 500_000  # bytes: what a page on the web should cost at most


def take(report: Path, folder: Path) -> list[Path]:
    """Pictures of a report: its first screen, light and dark, its places, and its first printed page."""
    taken = []
    with browser_page() as page:
        page.open(report, 1280, 1180)
        taken.append(_save(page, folder / "report-lung-pair.png"))
        page.open(report, 1280, 1180, dark=True)
        page.run("document.querySelector('#deformation').scrollIntoView()")
        taken.append(_save(page, folder / "report-lung-pair-dark.png"))
        page.open(report, 1280, 1420)
        page.run("Array.from(document.querySelectorAll('.place > h3')).at(-1).scrollIntoView()")
        taken.append(_save(page, folder / "report-lung-pair-places.png"))
        page.show(A4_WIDTH - 90, A4_HEIGHT - 98, medium="print")  # what is between the margins of the page
        page.run("scrollTo(0, 0)")
        taken.append(_save(page, folder / "report-lung-pair-a4.png"))
    return taken


def _save(page: Page, path: Path) -> Path:
    for scale in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
        page.screenshot(path, whole=False, scale=scale)
        if path.stat().st_size < LARGEST:
            break
    return path


def main() -> None:
    """Register the sample case as the demo does, or take a report that is there, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path, help="a report that is there already")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    given = parser.parse_args()
    if chromium() is None:
        parser.exit(1, "Chromium is needed (Debian and Ubuntu: apt install chromium).\n")
    with tempfile.TemporaryDirectory() as folder:
        report = given.report
        if report is None:
            demo = [sys.executable, "-m", "DeepLargeDeformRegLib.cli", "demo", "--output", folder]
            subprocess.run(demo, check=True)
            report = Path(folder) / "report.html"
        for path in take(report, given.folder):
            sys.stdout.write(f"{path}: {path.stat().st_size // 1000} kB\n")


if __name__ == "__main__":
    main()
