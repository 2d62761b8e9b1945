"""``python -m training.release COMMAND``: from a trained run to a model that ships."""

from __future__ import annotations

import typer

from . import build, figures, publish

app = typer.Typer(help="From a trained run to a model that ships.", no_args_is_help=True, add_completion=False)
app.command("build")(build.main)
app.command("publish")(publish.main)
app.command("figures")(figures.main)

if __name__ == "__main__":
    app(prog_name="python -m training.release")
