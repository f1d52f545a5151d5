"""What an experiment is, apart from where and how fast it is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stockml import compose
from stockml.config.root import check, identity, saved
from stockml.config.values import differences, leaves
from stockml.models.settings import MLPConfig


@pytest.mark.parametrize(
    "override",
    [
        "data.panel_cache=elsewhere",
        "data.memory_limit=1",
        "hardware.num_workers=2",
        "tracker=tensorboard",
        "tracker.uri=http://localhost:5000",
        "report=true",
        "sweep.fail_fast=true",
    ],
)
def test_where_and_how_fast_it_runs_is_no_part_of_an_experiment(override: str) -> None:
    assert identity(compose.compose(override)) == identity(compose.compose())


def test_a_run_that_is_continued_stays_the_same_experiment() -> None:
    config = compose.compose()
    resumed = dataclasses.replace(config, trainer=dataclasses.replace(config.trainer, resume="outputs/run"))
    other_task = dataclasses.replace(resumed, task="reproduce", run="outputs/run")
    assert identity(other_task) == identity(config)


@pytest.mark.parametrize("override", ["cache_dir=x", "refresh=true", "retries=1", "backoff_seconds=9"])
def test_how_bars_are_downloaded_is_no_part_of_an_experiment(override: str) -> None:
    assert identity(compose.compose("data=yahoo", f"data.{override}")) == identity(compose.compose("data=yahoo"))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("seed=1", "seed"),
        ("data.window=5", "data.window"),
        ("model.hidden_dim=3", "model.hidden_dim"),
        ("trainer.lr=1", "trainer.lr"),
        ("hardware.precision=fp64", "hardware.precision"),
        ("stock.features=[close]", "stock.features"),
    ],
)
def test_what_changes_its_numbers_is_part_of_an_experiment(override: str, key: str) -> None:
    assert list(differences(identity(compose.compose(override)), identity(compose.compose()))) == [key]


def test_identity_holds_nothing_but_saved_values() -> None:
    config = compose.compose("trainer=ddp", "data=csv", "data.dir=x", "model=mlp_gkx")
    values = dict(leaves(saved(config)))
    assert all(values[key] == value for key, value in leaves(identity(config)))


def test_a_section_can_have_rules_about_other_sections() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Picky(MLPConfig):
        def conflicts_with(self, config: Any) -> Iterator[str]:
            if config.seed == 13:
                yield f"model.name: {self.name} does not like seed=13"

    def problems(seed: int) -> list[str]:
        values = saved(compose.compose()) | {"model": {"name": "picky", "hidden_dim": 2, "dropout": 0.0}, "seed": seed}
        return check(values, {"picky": Picky})[1]

    assert problems(12) == []
    assert problems(13) == ["model.name: picky does not like seed=13"]
