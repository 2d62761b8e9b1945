"""How maps, verdict levels and stages are called, shown and colored everywhere; :mod:`.measures` has the numbers.

Report, panel and terminal take words and colors from here. Standard library only: Slicer loads this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .sentences import marked as _

Color = tuple[float, float, float]

TITLE = _("Deep Large Deformation Registration")
"""The name for people; programs and files have the short one."""


@dataclass(frozen=True, kw_only=True)
class QualityMap:
    """How a map of a registration is called and shown. All maps are bright where a reader should look.

    Args:
        title: name for people, without the unit.
        unit: unit, may be empty.
        description: what it shows, and what bright means.
        look_at: which values ask for a look, and are therefore bright.
        most: value at the end of the color map; None takes the largest that is shown, rounded up.
    """

    title: str
    unit: str = ""
    description: str
    look_at: Literal["high", "low"] = "high"
    most: float | None = None

    @property
    def heading(self) -> str:
        """Title with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


MAPS: dict[str, QualityMap] = {
    "displacement_mm": QualityMap(
        title=_("Displacement"), unit="mm", description=_("How far the transform moves each point; bright is far.")
    ),
    "inverse_consistency_mm": QualityMap(
        title=_("Inverse consistency error"),
        unit="mm",
        description=_("How far a point ends from where it began when mapped there and back; bright is far."),
        most=2.0,
    ),
    "local_similarity": QualityMap(
        title=_("Local similarity"),
        description=_(
            "How alike the scans are around each point: squared correlation in a cube of about 17.5 mm, "
            "0 to 1; bright is where they differ, no color where neither scan has an edge, so that "
            "nothing can be compared."
        ),
        look_at="low",
        most=1.0,
    ),
    "uncertainty_mm": QualityMap(
        title=_("Expected error"),
        unit="mm",
        description=_(
            "The error to expect, estimated from how the scans still differ and how much the transform "
            "bends; bright is where it is large."
        ),
    ),
}
"""The quality maps by the name of their file, in the order in which they are offered."""

DIFFERENCE = _("Registered minus fixed scan: gray where they agree, brighter where the registered scan is brighter.")
"""The one meaning of a difference image, as of any residual: what came out minus what it should be."""

# Cividis (Nunez et al., PLOS ONE 2018): lightness rises evenly, for normal and for color-blind eyes alike.
MAP_COLORS: tuple[tuple[float, Color], ...] = (
    (0.0, (0.0, 0.133, 0.306)),
    (0.125, (0.086, 0.220, 0.420)),
    (0.25, (0.255, 0.302, 0.420)),
    (0.375, (0.369, 0.384, 0.431)),
    (0.5, (0.486, 0.482, 0.471)),
    (0.625, (0.608, 0.580, 0.463)),
    (0.75, (0.737, 0.686, 0.435)),
    (0.875, (0.871, 0.796, 0.373)),
    (1.0, (0.996, 0.910, 0.220)),
)
"""Colors of the maps by the share (0 to 1) of the largest value that is shown."""

# Blue and orange of Okabe and Ito (2008), safe for color-blind eyes, lightened for black backgrounds.
FIXED_COLOR: Color = (0.361, 0.784, 1.0)
"""Color of what belongs to the fixed scan."""
MOVING_COLOR: Color = (1.0, 0.671, 0.180)
"""Color of what belongs to the moving scan, registered or not."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level of the verdict, which also is the severity of a reason.

    Args:
        title: what it says of a registration.
        advice: what a reader should do.
        reason: what a reason of this severity means.
        mark: sign that repeats the color for those who do not see it.
        plain_mark: the same for terminals.
        color: of text on a light background, ``#rrggbb``.
        background: light background behind that text.
        dark_color: of text on a dark background.
        terminal: name of the terminal's color.
    """

    title: str
    advice: str
    reason: str
    mark: str
    plain_mark: str
    color: str
    background: str
    dark_color: str
    terminal: str


LEVELS: dict[str, Level] = {
    "reject": Level(
        title=_("Do not use"),
        advice=_("Measured limits are exceeded; do not use this registration as it is."),
        reason=_("Against use"),
        mark="\N{BALLOT X}",
        plain_mark="x",
        color="#a81616",
        background="#fdecea",
        dark_color="#ff8080",
        terminal="red",
    ),
    "look": Level(
        title=_("Look before you use it"),
        advice=_("Look at the places that are named before using this registration."),
        reason=_("To be looked at"),
        mark="!",
        plain_mark="?",
        color="#8a5300",
        background="#fff4e0",
        dark_color="#ffbe55",
        terminal="yellow",
    ),
    "accept": Level(
        title=_("Within all limits"),
        advice=_("Nothing measured speaks against using this registration."),
        reason=_("In favor"),
        mark="\N{CHECK MARK}",
        plain_mark="+",
        color="#146c3a",
        background="#e6f4ea",
        dark_color="#5fd38d",
        terminal="green",
    ),
}
"""The levels, the gravest first."""


@dataclass(frozen=True)
class Stage:
    """A stage of a registration: its name in tables, and what is said while it runs."""

    title: str
    doing: str


STAGES: dict[str, Stage] = {
    "read": Stage(_("Reading"), _("Reading the scans")),
    "anatomy": Stage(_("Organs"), _("Finding organs")),
    "prealign": Stage(_("Pre-alignment"), _("Aligning the positions")),
    "network": Stage(_("Network"), _("Running the network")),
    "search": Stage(_("Search"), _("Searching for the deformation")),
    "refine": Stage(_("Refinement"), _("Refining")),
    "backward": Stage(_("Registration in the other direction"), _("Registering in the other direction")),
    "uncertainty": Stage(_("Estimate of the error"), _("Estimating the error to expect")),
    "repair": Stage(_("Repair of folds"), _("Repairing folds")),
    "measure": Stage(_("Measuring"), _("Measuring the result")),
    "write": Stage(_("Writing"), _("Writing the results")),
}
"""The stages by the name that progress and timings give them, in the order in which they run."""
