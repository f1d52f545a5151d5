"""task=features: the table is of train alone, the same as a run records it, and of the values that are exported."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stockml import cli
from stockml.compose import compose
from stockml.data import dataset
from stockml.data.bars import Bars
from stockml.evaluation import feature_table, significance
from stockml.evaluation.feature_table import FeatureTable
from stockml.tasks import features
from tests.conftest import Run, random_bars, write_bars

SPLIT = "data.window=5 data.valid_start=2016-01-01 data.test_start=2016-03-01"
OWN = "'+features.columns.mean=\"Mean($close, 5) / $close\"' '+features.columns.day=\"DayOfWeek()\"'"
POOL = "'data.tickers=[A,B,C]' '+features.columns.rank=\"CSRank(Return($close, 5))\"'"
MODES = {
    "single": OWN,
    "levels": f"{OWN} data.transform=levels",
    "class": f"{OWN} data.target=direction",
    "pool": f"{POOL} {OWN}",
    "pool-global": f"{POOL} data.scaler=global",
    "mapped": f"{POOL} data.memory_limit=0",
    "horizon": f"{POOL} data.horizon=5",
    "walk-forward": f"{OWN} data.split=walk_forward data.folds=2 data.valid_start=null",
    "context": "'data.context=[B]' '+features.columns.other=\"Return($B.close)\"' 'data.lag={B.close: 1}'",
    "momentum": "features=momentum data.valid_start=2016-05-01 data.test_start=2016-06-01",
}


@pytest.fixture(autouse=True)
def _bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, ticker in enumerate("ABC"):
        write_bars(random_bars(400, seed, ticker), tmp_path / "bars")


def typed(*more: str) -> list[str]:
    return [
        "data=csv",
        "data.dir=bars",
        "stock.ticker=A",
        *(word for text in (SPLIT, *more) for word in shlex.split(text)),
    ]


def table(*more: str) -> FeatureTable:
    config = compose(*typed(*more))
    return features.of(config, dataset.prepare(config))


def exported(*more: str, name: str = "x.csv") -> pd.DataFrame:
    assert cli.main([*typed(*more), "task=features", f"export.features={name}"]) == 0
    path = Path(name)
    found = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, parse_dates=["date"])
    path.unlink()
    return found


@pytest.mark.parametrize("mode", MODES)
def test_correlations_and_t_are_those_of_the_exported_values_on_train_days(mode: str) -> None:
    found, values = table(MODES[mode]), exported(MODES[mode])
    config = compose(*typed(MODES[mode]))
    data = dataset.prepare(config)
    panel, rows = data.panel, data.split.train
    assert panel.dates is not None
    assert len(values) == len(panel.values)
    train = values.iloc[rows]
    assert (train["date"].to_numpy() == panel.dates[rows]).all()
    assert list(values)[2:-1] == [one.name for one in found.features]
    assert (found.samples, found.day_step) == (len(rows), 1)
    y = train["target"] - train["target"].mean()
    for one in found.features:
        x = train[one.name] - train[one.name].mean()
        assert one.correlation == pytest.approx(x.corr(y), abs=2e-6)
        daily = (x * y).groupby(train["date"]).sum()
        tested = significance.mean_of(daily.to_numpy() * len(daily) / len(rows), panel.horizon)
        assert tested is not None
        assert one.t == pytest.approx(tested.value / tested.standard_error, abs=1e-3)


@pytest.mark.parametrize("mode", ["single", "pool", "walk-forward"])
def test_what_comes_after_train_changes_no_figure(mode: str, tmp_path: Path) -> None:
    before = table(MODES[mode])
    data = dataset.prepare(compose(*typed(MODES[mode])))
    last = data.split.train[-1]
    assert data.panel.dates is not None
    end = data.panel.dates[last] + 1  # the target's day
    for seed, ticker in enumerate("ABC"):
        bars, other = random_bars(400, seed, ticker), random_bars(400, seed + 100, ticker)
        late = bars.dates > end
        columns = {name: np.where(late, other.columns[name], column) for name, column in bars.columns.items()}
        write_bars(Bars(ticker, bars.dates, columns, "test"), tmp_path / "bars")
    assert table(MODES[mode]) == before


def test_lookbacks_and_expressions_are_those_of_the_config() -> None:
    each = {one.name: one for one in table(MODES["context"]).features}
    assert (each["close"].expression, each["close"].lookback) == ("LogReturn($close)", 1)
    assert (each["volume"].expression, each["volume"].lookback) == ("LogReturn($volume + 1)", 1)
    assert (each["other"].expression, each["other"].lookback) == ("Return($B.close), lag 1", 2)
    each = {one.name: one for one in table(MODES["levels"]).features}
    assert (each["close"].expression, each["close"].lookback) == ("$close", 0)
    assert (each["mean"].expression, each["mean"].lookback) == ("Mean($close, 5) / $close", 4)


MOOD = "'+features.columns.mood=\"If($close > Ref($close, 1), $close / $open, 0 / ($close - $close))\"' data.window=1"


@pytest.mark.parametrize("pool", ["", "'data.tickers=[A,B,C]'"])
def test_the_share_of_missing_values_is_that_before_they_are_filled(
    pool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dropped = exported(MOOD, pool, "features.missing=drop")
    share = dropped["mood"].isna().mean()
    assert 0.3 < share < 0.7
    for missing in ("drop", "zero", "ffill"):
        found = {one.name: one.missing for one in table(MOOD, pool, f"features.missing={missing}").features}
        assert found == {name: share if name == "mood" else 0 for name in found}, missing
    assert (exported(MOOD, pool, "features.missing=zero")["mood"] == dropped["mood"].fillna(0)).all()
    capsys.readouterr()
    assert cli.main([*typed(MOOD, pool), "task=features"]) == 0
    out = capsys.readouterr().out
    assert f"{share:.2%}" in out
    assert "no run yet  " in out and "set features.missing=drop, ffill or zero" in out


def test_a_run_records_the_same_table(run: Run, tmp_path: Path) -> None:
    more = [*typed(MODES["pool"]), "trainer.epochs=1", "model=linear"]
    run("run", *more)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["data"]["features"]
    assert recorded == json.loads(json.dumps(dataclasses.asdict(table(MODES["pool"]))))


def test_two_ranks_record_the_same_table_as_one(two_ranks: Path) -> None:
    metadata = json.loads((two_ranks / "config.json").read_text())
    saved = compose("hardware=cpu", "+experiment=quick", "data.days=400")
    one = features.of(saved, dataset.prepare(saved))
    assert metadata["data"]["features"] == json.loads(json.dumps(dataclasses.asdict(one)))


def test_a_run_s_folder_gives_the_config_and_nothing_is_written_but_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*typed(OWN), "trainer.epochs=1", "model=linear", "report=false", "hydra.run.dir=run"]) == 0
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    capsys.readouterr()
    assert cli.main(["task=features", "run=run", "export.features=bars/x.parquet"]) == 0
    out = capsys.readouterr().out
    assert "features    bars: 5, open, high, low, close, volume; own: 2, mean, day\n" in out
    after = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    assert after.keys() - before.keys() == {tmp_path / "bars" / "x.parquet"}
    assert all(after[path] == content for path, content in before.items())
    for one in table(OWN).features:
        assert f"{one.correlation:+.4f}" in out


def test_parquet_and_csv_hold_the_same() -> None:
    first, second = exported(POOL), exported(POOL, name="x.parquet")
    assert list(first) == list(second)
    assert second["date"].dtype.kind == "M"
    pd.testing.assert_frame_equal(first, second, check_dtype=False, rtol=1e-6)
    assert second["target"].isna().sum() == 3  # each stock's last day


def test_a_file_of_simulated_data_says_so() -> None:
    assert cli.main(["task=features", "data.days=300", "data.window=5", "export.features=x.csv"]) == 0
    assert pd.read_csv("x.csv")["synthetic"].all()


@pytest.mark.parametrize("dated", [False, True])
def test_arrays_have_the_last_day_of_their_windows(dated: bool, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"X_train": rng.normal(size=(200, 5, 2)), "X_test": rng.normal(size=(50, 5, 2))}
    arrays["y_train"] = arrays["X_train"][:, -1, 1] + rng.normal(size=200)
    arrays["y_test"] = rng.normal(size=50)
    if dated:
        days = np.busday_offset("2015-01-01", np.arange(250), roll="forward").astype(str)
        arrays |= {"dates_train": days[:200], "dates_test": days[200:]}
    np.savez("a.npz", feature_names=np.array(["calm", "mood"]), **arrays)
    assert cli.main(["task=features", "data=npz", "data.path=a.npz", "data.horizon=1", "export.features=x.csv"]) == 0
    assert "features    2, calm, mood\n" in capsys.readouterr().out
    values = pd.read_csv("x.csv")
    np.testing.assert_allclose(values["mood"][:200], arrays["X_train"][:, -1, 1].astype(np.float32), rtol=1e-6)
    config = compose("data=npz", "data.path=a.npz", "data.horizon=1")
    data = dataset.prepare(config)
    calm, mood = features.of(config, data).features
    rows = data.split.train
    assert mood.correlation == pytest.approx(np.corrcoef(values["mood"][rows], arrays["y_train"][rows])[0, 1], abs=1e-6)
    assert mood.correlation is not None and mood.t is not None
    assert mood.correlation > 0.5 and mood.t > 5
    assert (calm.expression, calm.lookback, calm.missing) == (None, None, 0)


def test_of_a_very_large_train_split_some_days_count(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = table(MODES["pool"])
    monkeypatch.setattr(feature_table, "_MOST_NUMBERS", whole.samples * len(whole.features) // 5 + 1)
    some = table(MODES["pool"])
    assert some.day_step == 6  # not 5: the same day of each week
    assert some.samples == pytest.approx(whole.samples / 6, abs=3)
    assert some.features[0].correlation == pytest.approx(whole.features[0].correlation, abs=0.3)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("task=features export.features=x.txt", "export.features=x.txt: must end in .parquet or .csv"),
        ("task=features export.features=bars/A.csv", "export.features=bars/A.csv: is there already, and is not repla"),
        ("task=features export.features=no/x.csv", "export.features=no/x.csv: there is no folder no; make it"),
        ("export.features=x.csv", "export.features=x.csv: is written by task=features; leave it out, or add that"),
        (
            "task=features export.features=x.csv '+features.columns.target=\"$close\"'",
            "features.columns.target: the file of export.features has a column of this name; take another",
        ),
        ("task=features export.onnx=true", "export.onnx: a trained model is exported"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_first(
    given: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(typed(given)) == 2
    out, err = capsys.readouterr()
    assert says in err and err.count("\n") == 1
    assert out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_without_pyarrow_parquet_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert cli.main([*typed(), "task=features", "export.features=x.parquet"]) == 2
    assert capsys.readouterr().err == (
        "export.features=x.parquet: Parquet needs pyarrow: pip install 'stockml[parquet]'; or name a .csv file\n"
    )
