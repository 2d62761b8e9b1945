"""Method: which model with what figures, and on which device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..core.presets import PRESETS
from ..scene.words import say, say_json
from .model_cards import CardSummary, grouped_cards

NO_NETWORK = "none"


class MethodPanel:
    """Binds ``modelBox``, ``methodLabel`` and ``deviceBox`` to the names that the parameter node keeps.

    Args:
        ui: widgets of the panel.
        on_model, on_device: called with the name when the user chooses another one.
    """

    def __init__(self, ui: Any, on_model: Callable[[str], None], on_device: Callable[[str], None]) -> None:
        self._ui = ui
        self._on_model, self._on_device = on_model, on_device
        self._cards: dict[str, CardSummary] = {card.name: card for card in grouped_cards()}
        self._models = ["", NO_NETWORK, *self._cards]
        self._devices: list[str] = []
        self._known: list[dict[str, Any]] | None = None
        self._filling = False
        for title in (_("As the preset"), _("None, search and refine only")):
            ui.modelBox.addItem(title)
        for card in self._cards.values():
            ui.modelBox.addItem(card.title)
        self.show_devices([])
        ui.modelBox.connect("currentIndexChanged(int)", self._model_chosen)
        ui.deviceBox.connect("currentIndexChanged(int)", self._device_chosen)

    def show(self, node: Any) -> None:
        """Show what a parameter node holds."""
        self._filling = True
        chosen = self._models.index(node.model) if node.model in self._models else 0
        self._ui.modelBox.currentIndex = chosen
        self._ui.deviceBox.currentIndex = self._devices.index(node.device) if node.device in self._devices else 0
        self._filling = False
        self._ui.methodLabel.setText(self._description(node.preset.value, self._models[chosen]))
        card = self._card(node.preset.value, self._models[chosen])
        self._ui.modelBox.setToolTip(card.description if card is not None else "")

    def show_devices(self, devices: list[dict[str, Any]]) -> bool:
        """List the devices that the worker found; False where they were listed already."""
        if devices == self._known:
            return False
        self._known = devices
        self._devices = ["auto", *(device["name"] for device in devices)]
        if "cpu" not in self._devices:
            self._devices.append("cpu")
        titles = {
            device["name"]: _("{device}, {free:.1f} GB free").format(
                device=say_json(device["description"]), free=device["free_bytes"] / 2**30
            )
            for device in devices
        }
        self._filling = True
        self._ui.deviceBox.clear()
        for name in self._devices:
            self._ui.deviceBox.addItem(_("Automatic") if name == "auto" else titles.get(name, name.upper()))
        self._filling = False
        return True

    def _card(self, preset: str, model: str) -> CardSummary | None:
        return self._cards.get(model or PRESETS[preset].model or "")

    def _description(self, preset: str, model: str) -> str:
        """What the chosen method is for, and what was measured of its network."""
        card = self._card(preset, model)
        purpose = card.purpose if model and card is not None else say(PRESETS[preset].description)
        if card is None:
            rest = _("No network: an exhaustive search finds the initial field, refinement does the rest.")
        else:
            figures = card.headlines or (_("not measured yet"),)
            rest = _("Network alone ({title}): {figures}.").format(title=card.title, figures="; ".join(figures))
        return f"{purpose} {rest}"

    def _model_chosen(self, index: int) -> None:
        if not self._filling and index >= 0:
            self._on_model(self._models[index])

    def _device_chosen(self, index: int) -> None:
        if not self._filling and index >= 0:
            self._on_device(self._devices[index])
