"""``python -m training.evaluation COMMAND``: evaluate registrations."""

from __future__ import annotations

import typer

from . import benchmark, cohort, spectrum, speed
from .calibration import limits, uncertainty

app = typer.Typer(help="Evaluate registrations.", no_args_is_help=True, add_completion=False)
app.command("cohort")(cohort.main)
app.command("benchmark")(benchmark.main)
app.command("speed")(speed.main)
app.command("spectrum")(spectrum.main)
app.command("limits")(limits.main)
app.command("uncertainty")(uncertainty.main)

if __name__ == "__main__":
    app(prog_name="python -m training.evaluation")
