"""Known weaknesses of the installed packages: ``python -m Testing.audit``; 1 if there are any.

Without a network, or without ``pip-audit``, the audit is left out and says so: a build must not fail for want of one.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

_SECONDS = 120.0
_IGNORED: dict[str, str] = {}
"""Identifiers of weaknesses that do not reach this program, each with the reason."""


def main() -> int:
    """Audit and print what was found."""
    if importlib.util.find_spec("pip_audit") is None:
        return _left_out("pip-audit is not installed (pip install pip-audit)")
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        packages = json.loads(child.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return _left_out("the database did not answer")
    except (ValueError, KeyError):
        return _left_out("the database cannot be reached")
    found = [
        f"{package['name']} {package['version']}: {one['id']}, mended in {one['fix_versions'] or 'none'}"
        for package in packages
        for one in package.get("vulns", [])
        if one["id"] not in _IGNORED
    ]
    sys.stdout.write("\n".join([*found, f"audit: {len(packages)} packages, {len(found)} known weaknesses"]) + "\n")
    return 1 if found else 0


def _left_out(reason: str) -> int:
    sys.stdout.write(f"audit: left out, since {reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
