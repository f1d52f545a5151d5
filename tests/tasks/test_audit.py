"""task=audit: what is printed, and the status."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from stockml import cli, compose
from stockml.config.root import AuditConfig
from stockml.evaluation.audit.leaks import LEAKS
from stockml.runs.location import RunLocation
from tests.conftest import Run

FAST = ("data.window=10", "trainer.batch_size=256")
CAUGHT_BY = {
    "scaler_on_all_rows": "scaler on train only",
    "shifted_target": "ramp",
    "centred_window": "prefix of features",
    "future_return": "features against target",
    "random_split": "splits apart in time",
    "label_over_boundary": "splits apart in time",
}


@pytest.mark.parametrize("ticker", ["AAPL", "AMZN", "JNJ", "JPM", "MSFT", "SP500", "TSLA", "XOM"])
def test_real_bars_pass(capsys: pytest.CaptureFixture[str], market: Path, ticker: str) -> None:
    assert cli.main(["task=audit", "data=csv", f"data.dir={market / 'ohlcv'}", f"stock={ticker}", *FAST]) == 0
    printed = capsys.readouterr().out
    assert "no leak found" in printed
    assert printed.count("  passed  ") == 10


def test_simulated_bars_pass_are_called_simulated_and_leave_no_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["task=audit", "data.signal=strong"]) == 0
    printed = capsys.readouterr().out
    assert "SIMULATED DATA (synthetic: true)" in printed
    assert "ridge and mlp" in printed
    assert list(tmp_path.iterdir()) == []


def test_of_a_volatility_the_checks_that_do_not_apply_say_why_and_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["task=audit", "data.days=600", "data.window=5", "data.target=volatility", "data.horizon=5"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "only for a target that is a return or a price, log_return return close difference; data.target=volatility"
        in printed
    )
    assert printed.count("data.target=volatility can be forecast from its past, so a high figure is no sign of") == 3
    assert printed.endswith("no leak found; 4 checks were not applicable")


def test_every_leak_that_the_config_names_exists() -> None:
    names = [name for option in get_args(get_type_hints(AuditConfig)["plant"]) for name in get_args(option)]
    assert set(names) == set(LEAKS) == set(CAUGHT_BY)


@pytest.mark.parametrize("leak", CAUGHT_BY)
@pytest.mark.parametrize("source", ["simulated", "real"])
def test_each_injected_leak_is_caught_by_its_check(
    capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, source: str, leak: str
) -> None:
    data = ["data.days=800"]
    if source == "real":
        folder = request.getfixturevalue("market") / "ohlcv"
        data = ["data=csv", f"data.dir={folder}", "stock=TSLA", "data.start=2020-01-01"]
    assert cli.main(["task=audit", *data, *FAST, f"audit.plant={leak}"]) == 1
    printed = capsys.readouterr()
    failed = [line[:26].strip() for line in printed.out.splitlines() if line[26:32] == "FAILED"]
    assert CAUGHT_BY[leak] in failed
    assert printed.err.endswith(f"the audit failed: {', '.join(failed)}\n")
    assert f"INJECTED    {leak}" in printed.out
    assert printed.out.count("It means: ") == len(failed)


def test_an_injected_leak_does_not_change_training(run: Run, tmp_path: Path) -> None:
    from stockml.tasks import train

    clean = run("clean", "+experiment=quick", "data.days=400")
    config = compose.compose("+experiment=quick", "data.days=400")
    leaking = dataclasses.replace(config, audit=AuditConfig(plant="future_return"))
    train.run(leaking, RunLocation(exact=tmp_path / "leaking"), compose.records(leaking))
    predictions = [(tmp_path / name / "predictions.csv").read_text() for name in ("clean", "leaking")]
    assert clean and predictions[0] == predictions[1]
    assert "plant: null" in (tmp_path / "leaking" / ".hydra" / "config.yaml").read_text()


def test_a_run_s_own_config_is_audited(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("a", "+experiment=quick", "data.days=500", "data.seed=3", *FAST)
    before = sorted(path.name for path in (tmp_path / "a").iterdir())
    capsys.readouterr()
    assert cli.main(["task=audit", f"run={tmp_path / 'a'}"]) == 0
    assert "simulator (signal=realistic, seed=3)" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == before
