"""The limits of the verdict: one table, resources/verdict_limits.json, that a site can override."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import BadInputError
from ...core.sentences import marked as _
from ...resources import VERDICT_LIMITS

SITE_TABLE = "DEEPLARGEDEFORMREG_VERDICT_LIMITS"
"""Environment variable with the path of a site's own table; what it does not name keeps the limit that ships."""

_MOST = 1e9
_ENTRIES = {"accept", "reject", "unit", "better", "what", "source"}


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Where a number is good, and where it forbids use; in between it is to be looked at.

    Args:
        accept: the worst value that is good.
        reject: values worse than this forbid use; None if none does.
        unit: unit, may be empty.
        lower_is_better: else higher is.
        what: the number's name in words.
        source: where the limit is from.
    """

    accept: float
    reject: float | None
    unit: str
    lower_is_better: bool
    what: str
    source: str

    def severity(self, value: float) -> str:
        """``"accept"``, ``"look"`` or ``"reject"``; a value that is not a number is to be looked at."""
        sign = 1.0 if self.lower_is_better else -1.0
        if sign * value <= sign * self.accept:
            return "accept"
        return "reject" if self.reject is not None and sign * value > sign * self.reject else "look"


@dataclass(frozen=True)
class Limits:
    """The table: its name, and a limit for each number that the verdict knows."""

    name: str
    table: Mapping[str, Limit]

    def __getitem__(self, key: str) -> Limit:
        return self.table[key]


def load_limits(path: Path | str | None = None) -> Limits:
    """The limits that ship, overridden by a site's table.

    Args:
        path: the site's table; by default the one that the environment variable :data:`SITE_TABLE` names, if any.

    Raises:
        BadInputError: if a table cannot be read or holds what is not a limit.
    """
    entries = _read(VERDICT_LIMITS)
    name, table = str(entries["name"]), dict(entries["limits"])
    chosen = path if path is not None else os.environ.get(SITE_TABLE) or None
    if chosen is not None:
        site = _read(Path(chosen))
        unknown = sorted(set(site["limits"]) - set(table))
        if unknown:
            raise BadInputError(
                _("The site's table of limits names what the verdict does not know: {unknown}.").format(
                    unknown=unknown
                )
            )
        for key, values in site["limits"].items():
            if not isinstance(values, Mapping):
                raise BadInputError(
                    _("The limit '{key}' of the site's table is not an object with accept and reject.").format(
                        key=key
                    )
                )
            table[key] = {**table[key], **values}
        name = f"{site['name']} (site, over {name})"
    return Limits(name, {key: _limit(key, values) for key, values in table.items()})


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(
            _(
                "The table of limits {file} cannot be read; correct it, or unset {variable} to use the "
                "limits that ship."
            ).format(file=path.name, variable=SITE_TABLE),
            str(error),
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("limits"), dict) or not content.get("name"):
        raise BadInputError(
            _("The table of limits {file} needs a 'name' and 'limits'; see docs/metrics.md.").format(file=path.name)
        )
    return content


def _is_number(value: object) -> bool:
    """True for a number that a measure can reach; integers may be too large even to be compared as floats."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_MOST <= value <= _MOST


def _limit(key: str, values: Mapping[str, Any]) -> Limit:
    unknown = sorted(set(values) - _ENTRIES)
    if unknown or set(values) != _ENTRIES:
        raise BadInputError(
            _("The limit '{key}' needs {entries}, and nothing else; it has {values}.").format(
                key=key, entries=sorted(_ENTRIES), values=sorted(values)
            )
        )
    accept, reject = values["accept"], values["reject"]
    numbers = [accept] if reject is None else [accept, reject]
    if not all(_is_number(number) for number in numbers):
        raise BadInputError(
            _("The limit '{key}' must be finite numbers of a usual size; reject may be null.").format(key=key)
        )
    if values["better"] not in ("lower", "higher"):
        raise BadInputError(_("The limit '{key}' says 'better': it must be 'lower' or 'higher'.").format(key=key))
    lower = values["better"] == "lower"
    if reject is not None and (reject < accept if lower else reject > accept):
        raise BadInputError(
            _("The limit '{key}' rejects what it accepts; exchange 'accept' and 'reject'.").format(key=key)
        )
    texts = (str(values[name]) for name in ("unit", "what", "source"))
    unit, what, source = texts
    return Limit(
        accept=float(accept),
        reject=None if reject is None else float(reject),
        unit=unit,
        lower_is_better=lower,
        what=what,
        source=source,
    )
