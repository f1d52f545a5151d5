"""A wrong search is answered before anything is run."""

from __future__ import annotations

import importlib.metadata

import pytest

from tests.wrong_input.inputs import assert_refused, nothing

SEARCH = "-m hydra/sweeper=optuna 'model.dropout=interval(0,0.5)'"
TYPED = [
    pytest.param(
        "-m hydra/sweeper=optuna seed=1",
        ["hydra/sweeper=optuna: nothing is searched; …interval"],
        id="search-of-nothing",
    ),
    pytest.param(f"{SEARCH} hydra/sweeper/sampler=tpo", ["hydra/sweeper/sampler=tpo: …mean tpe?"], id="sampler"),
    pytest.param(f"{SEARCH} hydra/sweeper/pruner=mean", ["hydra/sweeper/pruner=mean: …median"], id="pruner"),
    pytest.param(f"{SEARCH} hydra.sweeper.pruner=mean", ["hydra.sweeper.pruner.name=mean: …median"], id="named"),
    pytest.param(
        f"{SEARCH} hydra/sweeper/pruner=median +hydra.sweeper.pruner.warmup=1",
        ["hydra.sweeper.pruner.warmup: median has no such setting"],
        id="setting-of-a-pruner",
    ),
    pytest.param(
        f"{SEARCH} hydra/sweeper/pruner=successive_halving hydra.sweeper.pruner.reduction_factor=x",
        ["hydra.sweeper.pruner: successive_halving refuses its settings"],
        id="value-of-a-pruner",
    ),
    pytest.param(
        f"{SEARCH} hydra/sweeper/pruner=hyperband hydra.sweeper.pruner.reduction_factor=1",
        ["hydra.sweeper.pruner: hyperband refuses its settings"],
        id="value-that-a-pruner-reads-late",
    ),
    pytest.param(
        f"{SEARCH} hydra.sweeper.sampler.seed=x", ["hydra.sweeper.sampler: tpe refuses its settings"], id="seed"
    ),
    pytest.param(
        "-m hydra/sweeper=optuna hydra.sweeper.params=x",
        ["hydra.sweeper.params=x: must name what is swept"],
        id="params",
    ),
    pytest.param(
        f"{SEARCH} hydra.sweeper.objectives=loss", ["hydra.sweeper.objectives=loss: must be a list"], id="no-list"
    ),
    pytest.param(
        f"{SEARCH} +hydra.sweeper.sampler._target_=os.system",
        ["hydra.sweeper.sampler._target_: a config names no class; …tpe"],
        id="class-of-a-sampler",
    ),
    pytest.param(
        f"{SEARCH} hydra.sweeper._target_=os.system",
        ["hydra.sweeper._target_=os.system: …leave _target_ out"],
        id="class-of-a-sweeper",
    ),
    pytest.param(f"{SEARCH} hydra/sweeper/sampler=grid", ["hydra/sweeper/sampler=grid: …choice"], id="endless-grid"),
    pytest.param(
        f"{SEARCH} hydra.sweeper.objectives=[loss,test_loss] hydra.sweeper.n_trials=0 hydra.sweeper.direction=down",
        [
            "hydra.sweeper.n_trials=0: must be a whole number ≥ 1",
            "hydra.sweeper.direction=[down, down]: …minimize, maximize",
        ],
        id="settings-of-a-search",
    ),
    pytest.param(
        f"{SEARCH} hydra.sweeper.objectives=[test_loss]",
        ["hydra.sweeper.objectives: 'test_loss': must be loss, seconds or loss/TICKER"],
        id="objective",
    ),
    pytest.param(
        f"{SEARCH} hydra.sweeper.objectives=[loss/XOM]",
        ["hydra.sweeper.objectives: loss/XOM is of a stock that is not in data.tickers"],
        id="objective-of-no-stock",
    ),
    pytest.param(
        f"{SEARCH} hydra.sweeper.objectives=[loss,seconds] hydra.sweeper.pruner=median",
        ["hydra/sweeper/pruner: …objectives=[loss, seconds]; …none"],
        id="pruning-by-two",
    ),
    pytest.param(
        f"{SEARCH} hydra.sweeper.objectives=[seconds] hydra.sweeper.pruner=median",
        ["hydra/sweeper/pruner: …objectives=[seconds]; …none"],
        id="pruning-by-seconds",
    ),
    pytest.param(
        f"{SEARCH} features.set=choice(bars,alpha158)", ["features.set=…features=choice(bars,alpha158)"], id="set"
    ),
    pytest.param(
        f"{SEARCH} hydra.sweeper.custom_search_space=os.system",
        ["hydra.sweeper.custom_search_space=os.system: no installed package"],
        id="no-search-space",
    ),
    pytest.param(f"{SEARCH} 'trainer.lrr=interval(0,1)'", ["trainer.lrr: …mean trainer.lr?"], id="searched-key"),
    pytest.param(
        f"{SEARCH} 'data.window=interval(5,9)'",
        ["data.window=6.5…: must be a whole number …int(interval(5,9))"],
        id="whole",
    ),
    pytest.param(
        "-m hydra/sweeper=optuna 'trainer.lr=tag(log,interval(0,1))'",
        ["trainer.lr=tag(log,interval(0,1)): a logarithmic interval begins above 0"],
        id="logarithm-of-0",
    ),
    pytest.param(f"{SEARCH} hydra.sweeper.storage=nowhere", ["hydra.sweeper.storage=nowhere: is no URL"], id="storage"),
    pytest.param(
        f"{SEARCH} hydra.sweeper.storage=sqlite:////no/such/folder/x.db",
        ["hydra.sweeper.storage=sqlite:////no/such/folder/x.db: cannot be opened …null"],
        id="unreachable-storage",
    ),
]


@pytest.mark.parametrize(("typed", "says"), TYPED)
def test_a_wrong_search_is_told_fault_by_fault(typed: str, says: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(capsys, nothing, typed, says)


def test_a_search_without_optuna_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert_refused(capsys, nothing, SEARCH, ["hydra/sweeper=optuna: optuna is not installed; …'stockml[optuna]'"])
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "2.10.1")
    assert_refused(capsys, nothing, SEARCH, ["hydra/sweeper=optuna: optuna 2.10.1 …4.9 or later …'stockml[optuna]'"])
