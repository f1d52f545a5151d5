"""Runs with expressions made again: reproduced, continued, switched to another set, swept; and with mapped features."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from stockml import cli, compose
from stockml.data.batches import Batches
from stockml.data.dataset import Data, prepare
from tests.conftest import metrics, random_bars, write_bars

DAYS = 520
QUICK = ["+experiment=quick", "report=false", "model=mlp_flat", "data=csv", "data.window=3"]
ONE = ["data.path=bars/AAA.csv"]
POOL = ["data.dir=bars", "data.tickers=all"]
ODD = '+features.columns.odd="Log($volume - 1100.5)"'
"""It has no value on one day of ten."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, ticker in enumerate(["AAA", "BBB", "CCC"]):
        write_bars(random_bars(DAYS - 40 * seed, seed=seed, ticker=ticker), tmp_path / "bars")
    return tmp_path


def train(name: str, *settings: str) -> Path:
    assert cli.main([*QUICK, f"hydra.run.dir={name}", *settings]) == 0
    return Path(name)


def columns(run: Path) -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load((run / ".hydra" / "config.yaml").read_text())["features"]["columns"]
    return found


@pytest.mark.parametrize(
    "settings",
    [
        [*ONE, "features=momentum", "~features.columns.RET5"],
        [*POOL, "features=momentum", "data.split=walk_forward", "data.folds=2"],
        [*POOL, '+features.columns.rank="CSRank(Return($close, 5))"', "data.memory_limit=0", "trainer.ensemble=2"],
        [*POOL, ODD, "features.missing=drop", "data.memory_limit=0", "data.target=excess_return"],
        [*ONE, ODD, "features.missing=ffill", "data.target='Ref($close,-2)/Ref($close,-1)-1'", "model=ridge"],
    ],
)
def test_a_run_is_reproduced(settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = train("run", *settings)
    assert cli.main(["task=reproduce", f"run={run}", "report=false", "hydra.run.dir=again"]) == 0
    assert "reproduced: identical" in capsys.readouterr().out
    assert columns(run) == columns(Path("again"))
    assert "RET5" not in columns(run) or "~features.columns.RET5" not in settings
    assert cli.main(["-cp", str((run / ".hydra").resolve()), "-cn", "config", "hydra.run.dir=third"]) == 0
    assert metrics(Path("third")) == metrics(run)


def test_a_set_that_was_changed_since_is_reproduced_from_the_run_s_own_expressions(folder: Path) -> None:
    own = folder / "conf" / "features" / "own.yaml"
    own.parent.mkdir(parents=True)
    text = "set: own\nbars: false\nmissing: error\ncolumns:\n  fast: Return($close, 5)\n  slow: Return($close, 50)\n"
    own.write_text(text)
    conf = ["--config-dir", str(folder / "conf")]
    run = train("run", *ONE, *conf, "features=own")
    own.write_text(text.replace("50", "60").replace("fast", "faster"))
    assert cli.main(["task=reproduce", f"run={run}", "report=false", "hydra.run.dir=again", *conf]) == 0
    shutil.rmtree(folder / "conf")
    assert cli.main(["task=reproduce", f"run={run}", "report=false", "hydra.run.dir=third"]) == 0
    assert columns(Path("third")) == {"fast": "Return($close, 5)", "slow": "Return($close, 50)"}


def test_a_set_that_is_typed_replaces_the_run_s_own_wholly() -> None:
    run = train("run", *ONE, "features=momentum", "~features.columns.RET5", "features.missing=zero")
    base = ["-cp", str((run / ".hydra").resolve()), "-cn", "config"]
    assert cli.main([*base, "features=bars", "hydra.run.dir=bars_run"]) == 0
    assert columns(Path("bars_run")) == {}
    assert cli.main([*base, "features=technical", "hydra.run.dir=technical"]) == 0
    assert "RET1" not in columns(Path("technical")) and "RSI14" in columns(Path("technical"))
    assert cli.main([*base, "features=momentum", "hydra.run.dir=whole"]) == 0
    assert list(columns(Path("whole")))[:2] == ["RET1", "RET5"]
    assert cli.main([*base, '+features.columns.x="Mean($close, 5)/$close"', "hydra.run.dir=x"]) == 0
    assert "RET5" not in columns(Path("x")) and "x" in columns(Path("x"))


def test_features_of_a_saved_config_can_be_dropped() -> None:
    run = train("run", *ONE, "features=momentum", '+features.columns.r="Return($close, 7)"')
    base = ["-cp", str((run / ".hydra").resolve()), "-cn", "config"]
    assert cli.main([*base, "~features.columns.r", "~features.columns.VOL63", "hydra.run.dir=less"]) == 0
    assert list(columns(Path("less"))) == [name for name in columns(run) if name not in ("r", "VOL63")]


def test_an_interrupted_run_is_continued_to_the_same_numbers() -> None:
    settings = [*POOL, '+features.columns.rank="CSRank(Return($close, 5))"', ODD, "features.missing=drop"]
    whole = train("whole", *settings, "trainer.epochs=4")
    train("half", *settings, "trainer.epochs=2")
    assert cli.main(["trainer.resume=half", "trainer.epochs=4", "report=false"]) == 0
    assert metrics(Path("half")) == metrics(whole)


@pytest.mark.parametrize(
    ("swept", "names"),
    [
        ("features=bars,momentum", ["bars", "momentum"]),
        (
            '+features.columns.x="Mean($close,5)/$close","Mean($close,9)/$close"',
            ["x_Mean_close_5_close", "x_Mean_close_9_close"],
        ),
    ],
)
def test_sweeps_over_sets_and_expressions_have_readable_jobs_and_continue(swept: str, names: list[str]) -> None:
    command = [*QUICK, *ONE, "-m", swept, "hydra.sweep.dir=sweep"]
    assert cli.main(command) == 0
    with Path("sweep/summary.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    jobs = [row["job"] for row in rows]
    assert len(set(jobs)) == 2 and all(name in job for name, job in zip(names, jobs, strict=True))
    assert all(set(job) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") for job in jobs)
    before = Path(f"sweep/{jobs[0]}/metrics.json").stat().st_mtime_ns
    shutil.rmtree(Path("sweep") / jobs[1])
    assert cli.main(command) == 0
    assert Path(f"sweep/{jobs[0]}/metrics.json").stat().st_mtime_ns == before
    assert Path(f"sweep/{jobs[1]}/metrics.json").is_file()


@pytest.mark.parametrize("scaler", ["global", "per_stock"])
@pytest.mark.parametrize("missing", ["error", "drop", "ffill", "zero"])
@pytest.mark.parametrize("features", ["bars", "alpha158", "alpha360", "technical", "momentum"])
def test_mapped_features_are_those_in_memory(features: str, missing: str, scaler: str) -> None:
    own = (
        [ODD, '+features.columns.rank="CSRank(Return($close, 5))"', f"features.missing={missing}"]
        if missing != "error"
        else []
    )
    settings = ["data=csv", *POOL, "data.window=3", f"features={features}", f"data.scaler={scaler}", *own]
    stored, held = (prepare(compose.compose(*settings, f"data.memory_limit={limit}")) for limit in (0, 4))
    assert stored.panel.mapped and not held.panel.mapped
    assert stored.fingerprint == held.fingerprint
    for one, other in zip(stored.split.by_name().values(), held.split.by_name().values(), strict=True):
        assert np.array_equal(one, other)
        assert all(np.array_equal(x, y) for x, y in zip(batch(stored, one), batch(held, one), strict=True))
    assert stored.scaler.to_dict(stored.panel, stored.split.train) == held.scaler.to_dict(held.panel, held.split.train)
    if missing == "drop":
        assert stored.panel.incomplete is not None and stored.panel.incomplete.any()
        assert stored.scaler.rows < len(stored.panel.values)
        assert np.isfinite(stored.scaler.mean).all()


def batch(data: Data, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scaled windows and targets of some samples."""
    batches = Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32)
    found = list(batches.iter_batches(torch.from_numpy(rows), [*range(256, len(rows), 256), len(rows)]))
    return tuple(torch.cat([part[n] for part in found]).numpy() for n in (0, 1))  # type: ignore[return-value]
