"""task=evaluate and task=predict of a trained run."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import cli, compose
from stockml.data import calendar
from stockml.data.bars import Bars
from stockml.errors import RunError, UserError
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.tasks import TASKS, evaluate, predict, train
from tests.conftest import random_bars, write_bars

BARS = random_bars(400)
QUICK = ("report=false", "+experiment=quick", "model=mlp_flat", "data.window=20", "data=csv", "stock.ticker=TEST")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bars/TEST.csv and the runs `holdout` and `walk` of them, read-only."""
    folder = tmp_path_factory.mktemp("runs")
    write_bars(BARS, folder / "bars")
    for name, overrides in {"holdout": (), "walk": ("data.split=walk_forward", "data.folds=3")}.items():
        config = compose.compose(*QUICK, f"data.dir={folder / 'bars'}", *overrides)
        train.run(config, RunLocation(exact=folder / name), compose.records(config))
    return folder


@pytest.fixture
def copy(runs: Path, tmp_path: Path) -> Path:
    """A copy that can be written to; its runs read their bars from it."""
    shutil.copytree(runs, tmp_path / "runs")
    for path in (tmp_path / "runs").glob("*/.hydra/config.yaml"):
        path.write_text(path.read_text().replace(str(runs), str(tmp_path / "runs")))
    for path in (tmp_path / "runs").glob("*/config.json"):
        path.write_text(path.read_text().replace(str(runs), str(tmp_path / "runs")))
    return tmp_path / "runs"


def forecast(run: Path, *overrides: str, file: str = "forecasts.csv") -> dict[str, dict[str, str]]:
    """The run's forecasts, by date."""
    predict.run(compose.compose("task=predict", f"run={run}", *overrides, tasks=TASKS))
    with (run / file).open() as lines:
        return {row["date"]: row for row in csv.DictReader(lines)}


FORECAST = ("y_pred", "lower_80", "upper_80", "lower_95", "upper_95")


def of_day(row: dict[str, str]) -> list[str]:
    """What is forecast on a day: the point, and its intervals."""
    return [row[name] for name in FORECAST]


def rows_of_test(run: Path) -> dict[str, list[str]]:
    """What was forecast in the test rows of the run's predictions, by date."""
    with (run / "predictions.csv").open() as lines:
        return {row["date"]: of_day(row) for row in csv.DictReader(lines) if row["split"] == "test"}


def between(first: int, last: int) -> Bars:
    columns = {name: values[first:last] for name, values in BARS.columns.items()}
    return Bars(BARS.ticker, BARS.dates[first:last], columns, BARS.origin)


@pytest.mark.parametrize("name", ["holdout", "walk"])
def test_the_forecasts_of_the_test_are_repeated_to_the_last_digit(copy: Path, name: str) -> None:
    found, then = forecast(copy / name), rows_of_test(copy / name)
    assert then == {date: of_day(found[date]) for date in then}
    assert all(number for row in found.values() for number in of_day(row))
    assert len(found) == len(then) + 1
    last = found[str(BARS.dates[-1])]
    assert last["y_true"] == "" and last["target_date"] > last["date"]


@pytest.mark.parametrize("name", ["holdout", "walk"])
@pytest.mark.parametrize("days", [2, 30])
def test_a_forecast_does_not_change_when_later_days_do(copy: Path, name: str, days: int) -> None:
    before = forecast(copy / name)
    rng = np.random.default_rng(1)
    factor = rng.uniform(0.5, 2, days)  # of each day: a high stays above its low
    scrambled = {name: np.append(v[:-days], v[-days:] * factor) for name, v in BARS.columns.items()}
    write_bars(Bars(BARS.ticker, BARS.dates, scrambled, ""), copy / "scrambled")
    write_bars(between(0, 400 - days), copy / "shorter")
    unchanged = [str(day) for day in BARS.dates[:-days] if str(day) in before]
    assert len(unchanged) > 40
    for folder in ("scrambled", "shorter"):
        after = forecast(copy / name, f"data.dir={copy / folder}")
        assert [of_day(after[day]) for day in unchanged] == [of_day(before[day]) for day in unchanged]
    assert (
        before[str(BARS.dates[-1])]["y_pred"]
        != forecast(copy / name, f"data.dir={copy / 'scrambled'}")[str(BARS.dates[-1])]["y_pred"]
    )


def test_few_recent_bars_are_enough_and_one_less_than_a_window_is_refused(copy: Path) -> None:
    last = str(BARS.dates[-1])
    before = forecast(copy / "holdout")[last]
    write_bars(between(379, 400), copy / "few")
    found = forecast(copy / "holdout", f"data.dir={copy / 'few'}")
    assert found == {last: before | {name: found[last][name] for name in FORECAST[1:]}}  # few bars, another volatility
    write_bars(between(380, 400), copy / "few")
    with pytest.raises(UserError, match="20 bars are too few to forecast from: a window needs 21"):
        forecast(copy / "holdout", f"data.dir={copy / 'few'}")


def test_bars_from_before_the_test_are_refused(copy: Path) -> None:
    write_bars(between(0, 300), copy / "early")
    for task in (predict, evaluate):
        name = "predict" if task is predict else "evaluate"
        config = compose.compose(f"task={name}", f"run={copy / 'holdout'}", f"data.dir={copy / 'early'}", tasks=TASKS)
        with pytest.raises(UserError, match=r"days (before )?were used to train it"):
            task.run(config)


def test_another_ticker_is_warned_about_by_name_and_kept_apart(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bars(random_bars(400, seed=1, ticker="OTHER"), copy / "bars")
    found = forecast(copy / "holdout", "stock.ticker=OTHER", file="forecasts_OTHER.csv")
    assert "the run was trained on TEST, these are bars of OTHER" in capsys.readouterr().out
    assert {row["ticker"] for row in found.values()} == {"OTHER"}
    assert not (copy / "holdout" / "forecasts.csv").exists()


def test_a_corrected_history_is_reported(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forecast(copy / "holdout")
    assert "warning" not in capsys.readouterr().out
    columns = {name: np.append(v[:380], v[380:] * 1.1) for name, v in BARS.columns.items()}
    write_bars(Bars(BARS.ticker, BARS.dates, columns, ""), copy / "bars")
    forecast(copy / "holdout")
    assert f"1 of 76 targets of its test are changed or missing, the first on {BARS.dates[379]}" in (
        capsys.readouterr().out
    )


def test_missing_columns_are_named(copy: Path) -> None:
    path = copy / "bars" / "TEST.csv"
    path.write_text(path.read_text().replace("Volume", "Turnover"))
    with pytest.raises(UserError, match=r"has no column Volume; it has Date, Open, High, Low, Close, Turnover"):
        forecast(copy / "holdout")


def test_the_run_s_own_settings_cannot_be_changed(copy: Path) -> None:
    with pytest.raises(UserError, match=r"^model.hidden_dim, data.window: the run's own settings .* leave them out"):
        forecast(copy / "holdout", "model.hidden_dim=3", "data.window=30")
    with pytest.raises(UserError, match=r"^data.test_ratio, data.embargo: the run's own settings are used"):
        forecast(copy / "holdout", "data.test_ratio=0.5", "data.embargo=3")
    with pytest.raises(UserError, match=r"^data.lag.close: the run's own settings are used"):
        forecast(copy / "holdout", "data.lag={close: 1}")


def test_windows_are_those_of_the_run_with_another_source(copy: Path) -> None:
    assert forecast(copy / "holdout") == forecast(copy / "holdout", "data=csv", f"data.dir={copy / 'bars'}")


def test_an_unfinished_run_is_not_used(copy: Path) -> None:
    result = copy / "holdout" / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "status": "failed"}))
    with pytest.raises(UserError, match="is not finished"):
        forecast(copy / "holdout")


def test_each_of_several_days_ahead_has_its_date(run: Any, tmp_path: Path) -> None:
    run("a", "+experiment=quick", "data.days=300", "data.window=5", "data.horizon=3")
    rows = list(forecast(tmp_path / "a").values())
    dates = [row["date"] for row in rows]
    assert [row["target_date"] for row in rows[:-3]] == dates[3:]
    to_come = np.busday_offset(np.datetime64(dates[-1], "D"), np.array([1, 2, 3]))
    assert [row["target_date"] for row in rows[-3:]] == to_come.astype(str).tolist()
    assert all(row["synthetic"] == "true" for row in rows)


def test_the_next_trading_day_is_the_exchange_s() -> None:
    def after(day: str, count: int = 1, exchange: str = "XNYS") -> list[str]:
        found = calendar.days_after(np.datetime64(day), count, exchange)
        assert found is not None
        return [str(day) for day in found]

    assert after("2023-10-27") == ["2023-10-30"]  # a weekend
    assert after("2023-11-22", 2) == ["2023-11-24", "2023-11-27"]  # Thanksgiving
    assert after("2023-12-22", exchange="XNYS") == ["2023-12-26"]
    assert after("2023-12-22", exchange="XLON") == ["2023-12-27"]  # Boxing Day too
    with pytest.raises(UserError, match=r"data.calendar=XNIS: there is no such calendar; did you mean X"):
        after("2023-10-27", exchange="XNIS")


def test_onnx_gives_the_forecasts_of_the_run(copy: Path) -> None:
    import onnxruntime

    found = forecast(copy / "holdout", "export.onnx=true")
    stats = json.loads((copy / "holdout" / "norm_stats.json").read_text())
    changes = np.stack([np.diff(np.log(BARS.columns[name])) for name in stats["features"][:4]], axis=1)
    volume = np.diff(np.log1p(BARS.columns["volume"]))
    rows = np.concatenate([changes, volume[:, None]], axis=1).astype(np.float32)
    windows = np.stack([rows[end - 20 : end] for end in range(320, 400)])  # of bars, whose first has no change
    session = onnxruntime.InferenceSession((copy / "holdout" / "model.onnx").read_bytes())
    given = session.run(None, {"windows": windows})[0]
    for day, value in zip(BARS.dates[320:], given, strict=True):
        if str(day) in found:
            assert abs(float(found[str(day)]["y_pred"]) - value) <= 1e-5 * stats["target"]["std"]
    assert str(BARS.dates[-1]) in found


def test_evaluate_gives_a_run_s_metrics_from_its_folder_only(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "bars")
    for name in ("holdout", "walk"):
        (copy / name / "best.pt").unlink(missing_ok=True)
        evaluate.run(compose.compose("task=evaluate", f"run={copy / name}", tasks=TASKS))
        assert "identical to its metrics.json" in capsys.readouterr().out


def test_evaluate_reports_files_that_do_not_fit(copy: Path) -> None:
    path = copy / "holdout" / "predictions.csv"
    lines = path.read_text().splitlines()
    cells, y_pred = lines[-1].split(","), lines[0].split(",").index("y_pred")
    path.write_text("\n".join([*lines[:-1], ",".join([*cells[:y_pred], "0.5", *cells[y_pred + 1 :]])]) + "\n")
    with pytest.raises(RunError, match=r"test.mse: .* in metrics.json, .* now"):
        evaluate.run(compose.compose("task=evaluate", f"run={copy / 'holdout'}", tasks=TASKS))
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match=r"predictions.csv and baselines.csv have different samples"):
        evaluate.run(compose.compose("task=evaluate", f"run={copy / 'holdout'}", tasks=TASKS))


def test_evaluate_on_other_data_prints_the_differences(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bars(random_bars(420, seed=1, ticker="OTHER"), copy / "others")
    overrides = (f"data.dir={copy / 'others'}", "stock.ticker=OTHER")
    evaluate.run(compose.compose("task=evaluate", f"run={copy / 'holdout'}", *overrides, tasks=TASKS))
    printed = capsys.readouterr().out
    assert "stock.ticker: TEST in the run, OTHER here" in printed and "data.dir" in printed
    (path,) = (copy / "holdout" / "evaluations").iterdir()
    evaluated = json.loads(path.read_text())
    assert evaluated["test"]["n"] == len(rows_of_test(copy / "holdout")) + 20
    assert evaluated["best_baseline"] in evaluated["baselines"] and "ridge" not in evaluated["baselines"]


def test_evaluate_on_the_same_bars_elsewhere_gives_the_same_test_scores(copy: Path) -> None:
    shutil.copytree(copy / "bars", copy / "elsewhere")
    evaluate.run(
        compose.compose("task=evaluate", f"run={copy / 'holdout'}", f"data.dir={copy / 'elsewhere'}", tasks=TASKS)
    )
    (path,) = (copy / "holdout" / "evaluations").iterdir()
    then = json.loads((copy / "holdout" / "metrics.json").read_text())
    assert json.loads(path.read_text())["test"] == then["test"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["task=predict"], "run: needed with task=predict"),
        (["task=evaluate", "run=nowhere"], "there is no such run folder"),
        (["export.onnx=true"], "task=predict run=FOLDER export.onnx=true"),
    ],
)
def test_impossible_requests_are_refused(
    arguments: list[str],
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert fault in capsys.readouterr().err


def test_arrays_have_no_days_to_forecast(run: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 4, 2)), rng.standard_normal(60)
    np.savez(tmp_path / "a.npz", X_train=x, y_train=y, X_test=x, y_test=y)
    run("a", "+experiment=quick", "data=npz", f"data.path={tmp_path / 'a.npz'}")
    with pytest.raises(UserError, match="forecasts need dated bars"):
        forecast(tmp_path / "a")
    np.savez(tmp_path / "b.npz", X_train=x, y_train=y, X_test=x, y_test=y[::-1])
    evaluate.run(
        compose.compose("task=evaluate", f"run={tmp_path / 'a'}", f"data.path={tmp_path / 'b.npz'}", tasks=TASKS)
    )
    assert RunFolder(tmp_path / "a").outcome() == "ok"
