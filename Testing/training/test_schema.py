"""Configurations are checked: what is wrong is named, and the nearest right word with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from DeepLargeDeformRegLib.core.errors import BadInputError

from training.config import Config, load_config
from training.schema import build, load_yaml, to_plain

from .conftest import CONFIGS


@dataclass(frozen=True)
class Inner:
    count: int
    share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: tuple[Inner, ...] = ()
    size: tuple[int, int, int] = (1, 1, 1)
    weight: float | tuple[float, ...] = 1.0
    shares: Mapping[str, float] = field(default_factory=dict)


def test_values_become_what_the_schema_says() -> None:
    built = build(Outer, {"name": "a", "inner": [{"count": 2, "share": 1}], "size": [1, 2, 3], "weight": [1, 2]})
    assert built == Outer(name="a", inner=(Inner(2, 1.0),), size=(1, 2, 3), weight=(1.0, 2.0))
    assert isinstance(built.inner[0].share, float)
    assert isinstance(build(Outer, {"name": "a", "shares": {"b": 2}}).shares["b"], float)
    assert build(Outer, to_plain(built)) == built


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "a", "inner": [{"count": 1, "shore": 2}]}, "inner[0].shore is not a known setting; did you mean"),
        ({"name": "a", "qqq": 1}, "qqq is not a known setting; known are name, inner"),
        ({"inner": []}, "name is missing"),
        ({"name": 3}, "name must be text, not 3"),
        ({"name": "a", "inner": [{"count": 1.5}]}, "inner[0].count must be a whole number, not 1.5"),
        ({"name": "a", "inner": [{"count": True}]}, "inner[0].count must be a whole number, not True"),
        ({"name": "a", "size": [1, 2]}, "size must have 3 values, not 2"),
        ({"name": "a", "weight": "much"}, "weight must be a number, not 'much'"),
        ({"name": "a", "inner": 3}, "inner must be a list, not 3"),
        ({"name": "a", "shares": {"b": "1e-1"}}, "shares.b must be a number, not '1e-1'"),
    ],
)
def test_what_is_wrong_is_named(data: Any, message: str) -> None:
    with pytest.raises(BadInputError) as error:
        build(Outer, data)
    assert message in error.value.message


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: [1, 2", encoding="utf-8")
    with pytest.raises(BadInputError, match=r"broken\.yaml is not valid YAML"):
        load_yaml(path)
    with pytest.raises(BadInputError, match=r"missing\.yaml cannot be read"):
        load_yaml(tmp_path / "missing.yaml")


def _changed(tmp_path: Path, *keys: str, value: Any) -> Path:
    data = yaml.safe_load((CONFIGS[0].parent / "brain-mr-ldgnet.yaml").read_text(encoding="utf-8"))
    place: Any = data
    for key in keys[:-1]:
        place = place[int(key) if isinstance(place, list) else key]
    place[keys[-1]] = value
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("training", "bacth"), 2, "training.bacth is not a known setting; did you mean 'batch'"),
        (("network", "name"), "unet", "there is no network 'unet'"),
        (("network", "arguments"), {"widht": 3}, "has no argument widht"),
        (("losses", "0", "name"), "ncc", "There is no loss 'ncc'"),
        (("losses", "0", "weight"), [1.0] * 9, "values for 9 levels"),
        (("losses", "0", "per_level"), {"window": 1}, "needs a list under per_level.window, not 1"),
        (("training", "log_every"), 0, "log_every is a number of steps"),
        (("training", "phases", "0", "levels"), 9, "trains 9 levels"),
        (("data", "kind"), "luck", "data.kind must be one of"),
        (("channels",), [{"kind": "minmax"}] * 7, "describes 7 channels"),
    ],
)
def test_a_run_that_cannot_be_is_refused(tmp_path: Path, keys: tuple[str, ...], value: Any, message: str) -> None:
    with pytest.raises(BadInputError) as error:
        load_config(_changed(tmp_path, *keys, value=value))
    assert message in error.value.message


def test_one_configuration_extends_another(tmp_path: Path) -> None:
    base = CONFIGS[0].parent / "brain-mr-ldgnet.yaml"
    path = tmp_path / "own.yaml"
    path.write_text(f"extends: {base}\nname: own\ntraining: {{batch: 3}}\nchannels: [{{kind: zscore}}]\n")
    own, other = load_config(path), load_config(base)
    assert own.name == "own"
    assert (own.training.batch, own.training.phases) == (3, other.training.phases)
    assert [channel.kind for channel in own.channels] == ["zscore"]
    assert own.losses == other.losses
    path.write_text(f"extends: {path.name}\nname: own\n")
    with pytest.raises(BadInputError, match="not in a circle"):
        load_config(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid_and_complete(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert config.notes, "say what is the paper's and what is ours"
    assert build(Config, to_plain(config)) == config
