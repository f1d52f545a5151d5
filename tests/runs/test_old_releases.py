"""A saved config of any release means what it meant."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from stockml import compose
from stockml.config.root import check, saved
from stockml.config.values import leaves
from stockml.data import sources
from stockml.errors import UserError
from stockml.models.settings import MLPConfig
from stockml.runs.folder import RunFolder
from stockml.runs.old_releases import ADDED, FORMAT, GONE, Added, upgrade_config
from stockml.tasks.run_metadata import saved_config


def older(values: dict[str, Any], steps: list[Added]) -> dict[str, Any]:
    """The config without what some releases added."""
    old = copy.deepcopy(values)
    own = (added for added in steps if not added.sources or values["data"]["source"] in added.sources)
    for key in (key for added in own for key in added.settings):
        section, _, name = key.rpartition(".")
        (old.get(section, {}) if section else old).pop(name, None)
    return {key: value for key, value in old.items() if value != {}}


KEPT = Path(__file__).parents[1] / "releases" / "2026-11-26"

SOURCES = {
    "simulated": ["data=simulated"],
    "csv": ["data=csv", "data.dir=bars"],
    "npz": ["data=npz", "data.path=arrays.npz"],
    "yahoo": ["data=yahoo"],
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("step", range(len(ADDED)))
def test_a_config_from_before_a_feature_gets_every_setting_that_it_lacks(source: str, step: int) -> None:
    config = compose.compose(*SOURCES[source])
    old = older(saved(config), list(ADDED[step:]))
    before = copy.deepcopy(old)
    upgraded = upgrade_config(old)
    assert old == before
    assert set(dict(leaves(upgraded))) == set(dict(leaves(saved(config))))
    assert check(upgraded, sources.settings(None), {"mlp": MLPConfig})[1] == []


@pytest.mark.parametrize("step", range(len(ADDED)))
def test_a_setting_that_a_release_added_takes_the_value_of_its_old_meaning(step: int) -> None:
    kept = json.loads((KEPT / "single" / "config.json").read_text())["config"]  # a run that uses none of the features
    upgraded, whole = (upgrade_config(values) for values in (older(kept, list(ADDED[step:])), kept))
    assert {key: value for key, value in leaves(upgraded) if key not in ("data.memory_limit", "data.panel_cache")} == {
        key: value for key, value in leaves(whole) if key not in ("data.memory_limit", "data.panel_cache")
    }


def test_a_config_of_today_stays_as_it_is() -> None:
    values = saved(compose.compose("data.split=walk_forward", "data.tickers=[A,B]", "trainer.ensemble=3"))
    assert upgrade_config(values) == values


def test_values_and_settings_that_are_gone_are_translated_or_left_out() -> None:
    values = saved(compose.compose())
    values["data"]["signal"] = "null"
    assert upgrade_config(values)["data"]["signal"] is None
    for key in GONE:
        section, _, name = key.rpartition(".")
        values.setdefault(section, {})[name] = False
        assert name not in upgrade_config(values)[section]


@pytest.mark.parametrize("broken", [{}, {"data": None}, {"data": 3, "trainer": [], "model": None, "sweep": "x"}])
def test_a_broken_config_is_left_for_the_check_to_refuse(broken: dict[str, Any]) -> None:
    assert check(upgrade_config(broken), sources.settings(None), {})[1] != []


def test_a_setting_that_no_release_had_is_named(tmp_path: Path) -> None:
    values = saved(compose.compose())
    values["data"]["colour"] = "red"
    (tmp_path / "config.json").write_text(json.dumps({"config": values}))
    with pytest.raises(UserError, match=r"config\.json: data\.colour: no such key"):
        saved_config(RunFolder(tmp_path))


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
def test_a_file_of_a_later_release_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(UserError, match=rf"{name}: has format {FORMAT + 1}, and this release .* up to {FORMAT}"):
        RunFolder(tmp_path).read_json(name)
