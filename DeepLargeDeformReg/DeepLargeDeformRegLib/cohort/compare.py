"""Several models on one pair of scans: one process registers with each, and a table says what each reached."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..core.comparison import NO_NETWORK, SECONDS, ModelResult, comparison_rows, figures_of, seconds_of
from ..core.errors import BadInputError
from ..core.files.common import write_text
from ..core.presets import find_preset
from ..core.sentences import marked as _
from ..core.settings import RegistrationSettings
from ..core.tables import comma_separated, markdown
from ..engine.models import ModelCard, find_model, list_models
from .folder import CohortFolder
from .pairs import CohortPair, is_there
from .run import CohortRequest, Listener, Tell, run_cohort

ALL = "all"
OUTPUTS = ("transform", "volume", "segmentation", "report")


def models_of(preset: str) -> list[str]:
    """Names of the models for the scans of a preset, its own first: those of its anatomy and modality."""
    own = find_preset(preset).model
    if own is None:
        return []
    card = find_model(own)
    kind = (card.modality, card.anatomy)
    return [own, *(one.name for one in list_models() if (one.modality, one.anatomy) == kind and one.name != own)]


def chosen_models(text: str, preset: str) -> list[str]:
    """Names of models from a list joined with commas; ``all`` stands for those of the preset and ``none``.

    Raises:
        ModelMissingError: if there is no model of a name.
        BadInputError: without any.
    """
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    names = [one for name in wanted for one in ([*models_of(preset), NO_NETWORK] if name == ALL else [name])]
    names = list(dict.fromkeys(names))
    if not names:
        raise BadInputError(_("Name the models to compare, as the command models lists them, or all."))
    for name in names:
        if name != NO_NETWORK:
            find_model(name)
    return names


def compare_models(
    files: Mapping[str, str],
    models: Sequence[str],
    output: Path,
    *,
    settings: RegistrationSettings,
    match: Sequence[str] = (),
    listen: Listener = lambda _: None,
    tell: Tell = lambda _: None,
) -> list[ModelResult]:
    """Register a pair with each of some models, one after the other in one process that keeps what is loaded.

    A comparison that was interrupted goes on where it was, as a cohort does (:func:`.run.run_cohort`).

    Args:
        files: paths of the pair, by the names of :data:`.pairs.FILES`.
        models: their names; ``none`` for no network.
        output: folder; gets ``comparison.csv`` and ``comparison.md``, and the results of each model in ``pairs/``.
        settings: of all registrations.
        match: structures that belong together, ``FIXED=MOVING`` each.
        listen: told after each model.
        tell: told in sentences what was planned and found.

    Raises:
        BadInputError: if a file is not there, the settings cannot be, another run works in the folder, or no model
            could register.
    """
    gone = [f"{name} ({path})" for name, path in files.items() if not is_there(path)]
    if gone:
        raise BadInputError(_("These files are not there: {gone}; check their paths.").format(gone=", ".join(gone)))
    pairs = [CohortPair(name=name, files=files, match=tuple(match), model=name) for name in models]
    outputs = [name for name in OUTPUTS if name != "segmentation" or "moving_segmentation" in files]
    request = CohortRequest(pairs=pairs, output=output, settings=settings, outputs=outputs, workers=1)
    rows = run_cohort(request, listen, tell)
    if all(row.error is not None for row in rows):
        raise BadInputError(_("No model could register this pair. {error}").format(error=rows[0].error))
    folder = CohortFolder(output)
    results = []
    for row in rows:
        card = None if row.name == NO_NETWORK else find_model(row.name)
        metrics = folder.metrics(row.name) if row.error is None else None
        seconds = {SECONDS: seconds_of(metrics["seconds"])} if metrics and metrics.get("seconds") else {}
        results.append(
            ModelResult(
                model=row.name,
                title=card.title if card is not None else _("No network"),
                values={**row.values, **seconds},
                figures=_figures(card),
                error=row.error,
            )
        )
    write_text(comma_separated(comparison_rows(results, exact=True)), output / "comparison.csv")
    write_text(markdown(comparison_rows(results)), output / "comparison.md")
    return results


def _figures(card: ModelCard | None) -> dict[str, float]:
    return figures_of(json.loads(card.to_json())["figures"]) if card is not None else {}
