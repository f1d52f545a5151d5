"""Several stocks as one panel, whose windows never reach from one stock into another."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from stockml.config.values import list_stocks, plain
from stockml.data import doctor, frequency, store
from stockml.data.bars import within
from stockml.data.panel import Panel, Stocks
from stockml.data.samples import day_before, rows_of, unusable, usable
from stockml.data.sources import loading, reading
from stockml.data.spec import PanelSpec
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.bars import Bars
    from stockml.data.frequency import Dates, Frequency
    from stockml.data.settings import BarsConfig

_MOST_FAULTS = 10
_MOST_NAMED = 100
ON_REQUEST = "(data.on_bad_stock=drop)"
"""The end of a note on stocks that are left out since that was asked for."""
_ROW_SETTINGS = (
    "transform",
    "target",
    "horizon",
    "start",
    "end",
    "benchmark",
    "lag",
    "context_max_age",
    "target_normalize",
)
"""Settings that the rows of a panel depend on, in addition to those of the source."""


@reading.kept()
def load(config: Config, *, to_forecast: bool = False) -> Panel:
    """The panel of the config's stocks, from the file that is built first if it is missing.

    With `to_forecast`, full windows whose target is not known yet are samples too. Stocks without a sample are left
    out. Raises UserError where a stock's bars have faults.
    """
    data = cast("BarsConfig", config.data)
    each = each_stock(config)
    tickers = [one.stock.ticker for one in each]
    contents = loading.contents(each)
    if data.on_bad_stock != "error":
        contents.append(data.on_bad_stock)
    settings = {name: plain(getattr(data, name)) for name in _ROW_SETTINGS}
    features = [config.stock.features, {n: v for n, v in plain(config.features).items() if n != "set"}]
    made_of = [features, {name: str(value) for name, value in settings.items()}, tickers, contents]
    found = store.get_or_build(Path(data.panel_cache), made_of, functools.partial(_build, config, each))
    return _panel(config, found, to_forecast=to_forecast)


def _panel(config: Config, found: store.Stored, *, to_forecast: bool) -> Panel:
    data, facts, spec = cast("BarsConfig", config.data), found.facts, PanelSpec.of(config)
    stocks = Stocks(tuple(facts["tickers"]), np.array(facts["starts"]))
    ends = [*stocks.starts[1:].tolist()] if to_forecast else (stocks.starts[1:] - spec.target.end).tolist()
    samples = [
        np.arange(first + data.window - 1, end) for first, end in zip(stocks.starts.tolist(), ends, strict=False)
    ]
    few = [ticker for ticker, own in zip(stocks.tickers, samples, strict=True) if not len(own)]
    origin = str(getattr(data, "dir", None) or getattr(data, "path", None) or data.source)
    if len(few) == len(samples):
        raise UserError(f"{origin}: no stock has a full window of {data.window} days with a target; lower data.window")
    mapped = found.size("values") > data.memory_limit * 1e9
    unhashed = facts[store.UNHASHED]
    arrays: dict[str, Any] = {name: found.array(name, mapped=mapped and name == "values") for name in found.heads}
    left_out = (f"{list_stocks(few)} (no full window of {data.window} days with a target)",) if few else ()
    panel = Panel(
        ticker=config.stock.ticker,
        origin=origin,
        features=spec.features.names,
        expressions=len(spec.features.expressions),
        window=data.window,
        kind=spec.target.kind,
        samples=np.concatenate(samples),
        dropped=(*unhashed["dropped"], *left_out, *unusable(spec, data.window, len(stocks.tickers))),
        parsing_notes=unhashed["understood"],
        data_warnings=tuple(unhashed["doubts"]),
        synthetic=data.made_up,
        horizon=spec.target.horizon,
        target_end=spec.target.end,
        target_name=spec.target.name,
        joint_target=spec.target.cross_sectional,
        last_name=spec.target.last_name,
        transform=spec.features.transform,
        relative=spec.target.last is None,
        stocks=stocks,
        origins=tuple(unhashed["origins"]),
        days_before=np.array(unhashed["days_before"], dtype="datetime64[D]"),
        missing=np.array(unhashed["missing"]) if any(unhashed.get("missing", ())) else None,
        content=found.content,
        stored=found,
        **arrays,
    )
    by_day = np.argsort(panel.day_numbers[panel.samples], kind="stable")
    return usable(dataclasses.replace(panel, samples=panel.samples[by_day]), spec, data, to_forecast=to_forecast)


def _build(config: Config, each: Sequence[Config], writer: store.Writer, bad: Sequence[str] = ()) -> dict[str, Any]:
    """Read, examine and write one stock after another; all at once if a feature compares them.

    Only the stocks and their rows are part of the fingerprint of pooled runs, not where the bars lie. `bad` are stocks
    that are left out already, and why. Raises UserError with the faults of all stocks.
    """
    data, spec = cast("BarsConfig", config.data), PanelSpec.of(config)
    starts, tickers, origins, days_before = [0], list[str](), list[str](), list[str]()
    parsing_notes, data_warnings, dropped = Counter[str](), Counter[str](), list[str]()
    missing, frequencies, all_dates = np.zeros(len(spec.features.names), dtype=np.int64), dict[str, str](), _Dates()
    left_out = _LeftOut(data, bad)

    def read() -> Iterator[tuple[Config, Bars]]:
        for one, load_one in zip(each, loading.loaders(each), strict=True):
            with left_out.if_bad(one):
                yield one, _between(load_one(), data)

    for together in [list(read())] if spec.cross_sectional else ([one] for one in read()):
        if not together:  # none could be read
            continue
        with left_out.if_bad(together[0][0] if len(together) == 1 else None):
            for _, bars in together:
                spec.resolved(bars)  # refuses prices of 0 or less
            rows_of_each = rows_of([bars for _, bars in together], spec)
            for (one, bars), rows in zip(together, rows_of_each, strict=True):
                found = doctor.counts(bars, data.calendar)
                missing += rows.pop("missing", 0)
                step = frequency.of(bars.dates) if len(bars.dates) >= frequency.FEWEST else None  # fewer say nothing
                rows["dates"] = all_dates.add(bars.dates, rows["dates"], step)
                for name, array in rows.items():
                    if array is not None:
                        writer.append(name, array)
                tickers.append(one.stock.ticker)
                starts.append(starts[-1] + len(rows["values"]))
                days_before.append(str(day_before(bars, spec.lost)))
                origins.append(bars.origin)
                parsing_notes[bars.parsing_notes] += 1
                dropped.extend(bars.dropped)
                data_warnings.update(found)
                if step is not None:
                    frequencies[one.stock.ticker] = step.name
    left_out.raise_faults(is_empty=not tickers)
    if odd := _of_another_frequency(frequencies, data):
        writer.restart()
        kept = [one for one in each if one.stock.ticker not in odd]
        return _build(config, kept, writer, [*bad, *(f"{ticker} ({why})" for ticker, why in odd.items())])
    all_dates.check(frequencies)
    return {
        "tickers": tickers,
        "starts": starts,
        store.UNHASHED: {
            "origins": origins,
            "understood": _parsing_notes(parsing_notes),
            "doubts": doctor.labels(data_warnings),
            "dropped": [
                *([f"in {len(dropped)} stocks bad rows (the first: {dropped[0]})"] if len(dropped) > 1 else dropped),
                *left_out.notes(),
            ],
            "days_before": days_before,
            "missing": missing.tolist(),
        },
    }


class _Dates:
    """The dates of all stocks: in one unit, and such that those of stocks whose bars are not daily fit together."""

    def __init__(self) -> None:
        self._all = np.array([], dtype="datetime64[D]")
        self._dtype: np.dtype[Any] | None = None

    def add(self, dates: Dates, rows: Dates, step: Frequency | None) -> Dates:
        """Add those of a stock's bars; the dates of its rows in the unit of the first stock's. `step`: where known."""
        self._dtype = self._dtype or dates.dtype
        if step is not None and step.period != "day":
            self._all = np.union1d(self._all, dates)
        return rows.astype(self._dtype)

    def check(self, frequencies: Mapping[str, str]) -> None:
        """Raise UserError where stocks of one frequency seldom have dates in common."""
        if len(self._all) and (name := next(iter(frequencies.values()))) != (found := frequency.of(self._all).name):
            raise UserError(
                f"data.tickers: the stocks' {name} bars have few dates in common (together they look {found}); take "
                "stocks whose bars are dated alike, or train on each alone: a sweep over stock"
            )


def _of_another_frequency(frequencies: Mapping[str, str], data: BarsConfig) -> dict[str, str]:
    """Why stocks are left out whose bars have another frequency than most. UserError where they may not be."""
    names = Counter(frequencies.values())
    if len(names) < 2:
        return {}
    most = names.most_common(1)[0][0]
    odd = {ticker: f"{name} bars, where most are {most}" for ticker, name in frequencies.items() if name != most}
    if data.on_bad_stock == "drop":
        return odd
    shown = [f"{ticker} has {frequencies[ticker]} ones" for ticker in [*odd][:_MOST_FAULTS]]
    more = f" and {len(odd) - _MOST_FAULTS:,} more" if len(odd) > _MOST_FAULTS else ""
    raise UserError(
        f"data.tickers: the stocks' bars differ in frequency: most are {most}, {', '.join(shown)}{more}; take stocks "
        "of one frequency, or leave the others out: data.on_bad_stock=drop"
    )


class _LeftOut:
    """The stocks that cannot be used: those that are left out, and the faults of those that may not be."""

    def __init__(self, data: BarsConfig, bad: Sequence[str]) -> None:
        self._data = data
        self._faults: list[str] = []
        self._no_bars: list[str] = []
        self._bad = [*bad]

    @contextlib.contextmanager
    def if_bad(self, config: Config | None) -> Iterator[None]:
        """Around the work on a stock, or on several: note the stock, or the faults, if it ends in a UserError."""
        try:
            yield
        except UserError as error:
            why = loading.why_no_bars(config) if config is not None and self._data.tickers == "all" else ""
            if config is not None and why:
                self._no_bars.append(f"{config.stock.ticker} ({why})")
            elif config is not None and self._data.on_bad_stock == "drop":
                self._bad.append(f"{config.stock.ticker} ({error.lines[0].partition('; ')[0]})")
            else:
                self._faults += error.lines

    def raise_faults(self, *, is_empty: bool) -> None:
        """Raise UserError with the faults of stocks that may not be left out, or, if none is left, of all."""
        faults = self._faults or ([*self._bad, *self._no_bars] if is_empty else [])
        if not faults:
            return
        shown, more = faults[:_MOST_FAULTS], len(faults) - _MOST_FAULTS
        if self._data.on_bad_stock == "error" and not is_empty:
            shown[-1] += "; or leave such stocks out: data.on_bad_stock=drop"
        last = [] if self._faults else ["no stock is left: fix the files, or name others"]
        raise UserError(*shown, *([f"and {more:,} faults more"] if more > 0 else []), *last)

    def notes(self) -> list[str]:
        """What is left out, and why."""
        notes = [list_stocks(self._no_bars, _MOST_NAMED)] if self._no_bars else []
        return notes + ([f"{list_stocks(self._bad, _MOST_NAMED)} {ON_REQUEST}"] if self._bad else [])


def each_stock(config: Config) -> list[Config]:
    """The config of each of a pooled config's stocks on its own. Raises UserError."""
    data = cast("BarsConfig", config.data)
    if data.tickers == "all":
        found: Sequence[tuple[str, BarsConfig]] = loading.find_stocks(config)
    else:
        found = [(ticker, data) for ticker in data.tickers]

    def alone(ticker: str, data: BarsConfig) -> Config:
        stock = dataclasses.replace(config.stock, ticker=ticker, name="")
        return dataclasses.replace(config, stock=stock, data=dataclasses.replace(data, tickers=()))

    return [alone(ticker, settings) for ticker, settings in found]


def each_bars(config: Config, each: Sequence[Config]) -> list[Bars]:
    """The bars of each of the pool's stocks, from data.start to data.end. Raises UserError."""
    return [_between(load_one(), cast("BarsConfig", config.data)) for load_one in loading.loaders(each)]


def _between(bars: Bars, data: BarsConfig) -> Bars:
    """The bars from data.start to data.end; possibly none."""
    has_some = within(bars.dates, data.start, data.end).any()
    return bars.between(data.start, data.end) if has_some else bars.first(0)


def _parsing_notes(texts: Counter[str]) -> str:
    """How the tables were read: the most frequent notes first."""
    if len(texts) == 1:
        return next(iter(texts))
    notes = [f"{text} ({count:,} stock{'s' if count > 1 else ''})" for text, count in texts.most_common(3)]
    return " | ".join([*notes, *(["…"] if len(texts) > len(notes) else [])])
