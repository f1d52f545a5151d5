"""Several stocks as one panel."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stockml import compose
from stockml.config.root import Config
from stockml.data.bars import Bars
from stockml.data.batches import Batches
from stockml.data.dataset import Data, load_panel, prepare, prepare_folds
from stockml.data.settings import BarsConfig
from stockml.errors import UserError
from stockml.tasks import TASKS
from tests.conftest import random_bars, write_bars

WINDOW = 10
DAYS = {"AAA": 300, "BBB": 220, "CCC": 260}
"""Number of bars of each stock; they all end on the same day."""


def bars_of(ticker: str, days: int, seed: int) -> Bars:
    """Bars of different volatility that end on the same day."""
    bars = random_bars(max(DAYS.values()), seed=seed, ticker=ticker)
    columns = {name: values[-days:] ** (1 if name == "volume" else 1 + seed) for name, values in bars.columns.items()}
    return replace(bars, dates=bars.dates[-days:], columns=columns)


BARS = {ticker: bars_of(ticker, days, seed) for seed, (ticker, days) in enumerate(DAYS.items())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file per stock."""
    folder = tmp_path_factory.mktemp("bars")
    for bars in BARS.values():
        write_bars(bars, folder)
    return folder


def config(folder: Path, *overrides: str) -> Config:
    """The config of all stocks of the folder."""
    own = "data.min_scaler_samples=2"  # each stock its own, few as its samples are
    return compose.compose(
        "data=csv", f"data.dir={folder}", "data.tickers=all", f"data.window={WINDOW}", own, *overrides
    )


@pytest.mark.parametrize(
    ("step", "says"),
    [(7, "BBB has weekly ones; take stocks of one frequency"), (None, "weekly bars have few dates in common")],
)
def test_stocks_whose_bars_do_not_fit_together_are_refused(tmp_path: Path, step: int | None, says: str) -> None:
    for number, ticker in enumerate(("AAA", "BBB")):
        days = np.arange(60) * (7 if number or step is None else 1) + (0 if step else 2 * number)
        bars = random_bars(60, seed=number, ticker=ticker)
        write_bars(replace(bars, dates=np.datetime64("2020-01-06", "D") + days), tmp_path)
    with pytest.raises(UserError, match=says):
        load_panel(config(tmp_path))


def test_no_window_and_no_target_crosses_from_one_stock_into_another(folder: Path) -> None:
    panel, _ = load_panel(config(folder))
    assert panel.stocks is not None
    assert len(panel.samples) == sum(days - 1 - (WINDOW - 1) - 1 for days in DAYS.values())
    for row in panel.samples:
        whose = panel.stocks.of(np.arange(row - WINDOW + 1, row + 2))  # the window, and the day that is forecast
        assert len(set(whose)) == 1
        bars = BARS[panel.stocks.tickers[whose[0]]]
        number = row - panel.stocks.starts[whose[0]] + 1
        close = bars.columns["close"]
        assert panel.target[row] == pytest.approx(np.log(close[number + 1] / close[number]), rel=1e-9)
        expected = np.diff(np.log(close[number - WINDOW : number + 1])).astype(np.float32)
        np.testing.assert_allclose(panel.values[row - WINDOW + 1 : row + 1, 3], expected, rtol=1e-6)


@pytest.mark.parametrize("overrides", [(), ("data.horizon=5", "data.embargo=3"), ("data.split=walk_forward",)])
def test_all_stocks_are_split_by_the_same_days_and_no_target_reaches_into_the_next_split(
    folder: Path, overrides: tuple[str, ...]
) -> None:
    for data in prepare_folds(config(folder, *overrides)):
        panel = data.panel
        assert panel.dates is not None
        days = np.unique(panel.dates)
        splits = list(data.split.by_name().values())
        for earlier, later in itertools.pairwise(splits):
            begins = panel.dates[later].min()
            ends = np.searchsorted(days, panel.dates[earlier + panel.horizon].max())
            embargo = 3 if overrides[:1] == ("data.horizon=5",) else 0
            assert days[ends + embargo] <= begins


def test_samples_are_in_order_of_time_then_of_the_stock(folder: Path) -> None:
    panel, _ = load_panel(config(folder))
    assert panel.dates is not None
    assert panel.stocks is not None
    keys = list(zip(panel.dates[panel.samples].tolist(), panel.stocks.of(panel.samples).tolist(), strict=True))
    assert keys == sorted(keys)


def per_stock_moments(data: Data) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and standard deviation of each stock's scaled rows in train windows."""
    panel, train = data.panel, data.split.train
    assert panel.stocks is not None
    found = {}
    for number, ticker in enumerate(panel.stocks.tickers):
        rows = train[panel.stocks.of(train) == number]
        seen = panel.values[rows.min() - WINDOW + 1 : rows.max() + 1].astype(np.float64)
        found[ticker] = (seen.mean(0), seen.std(0))
    return found


def test_a_scaler_per_stock_is_fitted_on_the_train_rows_of_that_stock_only(folder: Path) -> None:
    data = prepare(config(folder, "data.scaler=per_stock"))
    for mean, std in per_stock_moments(data).values():
        np.testing.assert_allclose(mean, 0, atol=1e-5)
        np.testing.assert_allclose(std, 1, atol=1e-5)


def test_a_global_scaler_keeps_the_differences_between_stocks(folder: Path) -> None:
    data = prepare(config(folder, "data.scaler=global"))
    deviations = {ticker: std[3] for ticker, (_, std) in per_stock_moments(data).items()}
    assert deviations["CCC"] / deviations["AAA"] == pytest.approx(3, rel=0.2)
    assert data.scaler.stocks is None


@pytest.mark.parametrize("scaler", ["per_stock", "global"])
def test_unscaled_forecasts_are_in_each_stocks_own_units(folder: Path, scaler: str) -> None:
    data = prepare(config(folder, f"data.scaler={scaler}"))
    rows = data.split.test
    scaled = data.scaler.transform_target(data.panel)[rows]
    np.testing.assert_allclose(
        data.scaler.inverse_transform(scaled, data.panel, rows), data.panel.target[rows], rtol=1e-9
    )


def test_a_stock_without_train_samples_is_left_out_if_each_is_scaled_by_itself(tmp_path: Path) -> None:
    for bars in (BARS["AAA"], bars_of("NEW", 40, 1)):
        write_bars(bars, tmp_path / "bars")
    own, shared = (prepare(config(tmp_path / "bars", f"data.scaler={scaler}")) for scaler in ("per_stock", "global"))
    assert own.split.unknown == ("NEW",)
    assert own.panel.stocks is not None
    assert set(own.panel.stocks.of(own.split.test)) == {0}
    assert set(own.panel.stocks.of(shared.split.test)) == {0, 1}


@pytest.mark.parametrize("scaler", ["per_stock", "global"])
def test_a_panel_that_stays_in_its_file_gives_the_same_batches(folder: Path, scaler: str) -> None:
    whole, mapped = (prepare(config(folder, f"data.scaler={scaler}", *more)) for more in ((), ("data.memory_limit=0",)))
    assert mapped.panel.mapped
    assert not whole.panel.mapped
    rows = torch.from_numpy(whole.split.train[::7].copy())
    ends = [5, 5, 20, len(rows)]
    batches = [Batches(data.panel, data.scaler, torch.device("cpu"), torch.float32) for data in (whole, mapped)]
    pairs = zip(batches[0].iter_batches(rows, ends), batches[1].iter_batches(rows, ends, at_once=2), strict=True)
    for (x, y), (other_x, other_y) in pairs:
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)


def test_every_ticker_of_one_long_file_is_a_stock(folder: Path, tmp_path: Path) -> None:
    lines = ["Date,Ticker,Open,High,Low,Close,Volume"]
    for ticker in BARS:
        text = (folder / f"{ticker}.csv").read_text().splitlines()[1:]
        lines += [f"{line.split(',')[0]},{ticker},{line.split(',', 1)[1]}" for line in text]
    (tmp_path / "long.csv").write_text("\n".join([lines[0], *sorted(lines[1:])]) + "\n")
    long = load_panel(compose.compose("data=csv", f"data.path={tmp_path / 'long.csv'}", "data.tickers=all"))[0]
    apart = load_panel(compose.compose("data=csv", f"data.dir={folder}", "data.tickers=all"))[0]
    assert long.stocks is not None
    assert long.stocks.tickers == tuple(BARS)
    np.testing.assert_array_equal(long.values, apart.values)
    np.testing.assert_array_equal(long.target, apart.target)


def test_a_file_s_name_is_its_stock_even_if_the_file_has_another_name_for_it(folder: Path, tmp_path: Path) -> None:
    head, *rows = (folder / "AAA.csv").read_text().splitlines()
    (tmp_path / "one_file.csv").write_text("\n".join([f"{head},Symbol", *(f"{row},^AAA" for row in rows)]) + "\n")
    panel, _ = load_panel(config(tmp_path))
    assert panel.stocks is not None
    assert panel.stocks.tickers == ("one_file",)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.dir=.*: holds no table of bars"):
        load_panel(config(tmp_path))


def test_the_faults_of_all_stocks_are_reported_at_once(folder: Path, tmp_path: Path) -> None:
    for ticker in ("AAA", "BBB"):
        text = (folder / f"{ticker}.csv").read_text().splitlines()
        text[7] = text[7].replace(text[7].split(",")[4], "oops")
        (tmp_path / f"{ticker}.csv").write_text("\n".join(text) + "\n")
    with pytest.raises(UserError) as refused:
        load_panel(config(tmp_path))
    assert len(refused.value.lines) == 2
    assert all("line 8: Close is 'oops'" in line for line in refused.value.lines)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (("data.tickers=[AAA,AAA]",), "data.tickers: names AAA twice"),
        (("data.tickers=[a/b]",), "data.tickers: 'a/b' is not a ticker"),
        (("data.tickers=all",), "data.tickers: all needs a source that can find its stocks"),
    ],
)
def test_what_cannot_be_pooled_is_refused(typed: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says.replace("[", r"\[")):
        compose.compose(*typed, tasks=TASKS)


def test_a_pool_is_named_pool_unless_a_ticker_is_typed(folder: Path) -> None:
    assert config(folder).stock.ticker == "pool"
    assert config(folder, "stock.ticker=DOW").stock.ticker == "DOW"
    data = config(folder).data
    assert isinstance(data, BarsConfig)
    assert data.pooled
