"""How many planted faults the doctor finds with the right cause, and how often it warns of clean bars.

    python tests/campaigns/doctor.py [bars] [--series 200] [--seed 0]

Each series has 3 to 12 years of daily bars with GARCH volatility and Student's t, of a volatility drawn between that of
an index and that of a small stock. One fault is planted in each, and counts as found where the doctor names its day and
its cause: a unit by its factor and a split by its ratio within 5 %, a redenomination by its power of ten (the volume
goes on as before, of a split it moves), a shifted day and a duplicate by the date, stale bars by the first and their
number, two swapped columns by their names. With `bars`, a folder of clean CSV files of real stocks, every second series
is a random part of one of them, and their own warnings are counted. The exit status is 1 where less than 95 % are
found, or a clean series has more than one warning per decade. It takes a minute.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml import compose
from stockml.data import doctor
from stockml.data.bars import COLUMNS, PRICES, Bars
from stockml.data.sources.loading import load_columns

Rng = np.random.Generator
_CLOSE_ENOUGH = 0.05


@dataclass(frozen=True)
class Planted:
    """Bars with a fault, and what tells it."""

    bars: Bars
    check: str
    """The check that must find it."""
    day: np.datetime64
    """Its day."""
    is_right: Callable[[str], bool]
    """Whether the text of a finding names the cause."""


def names(factor: float, what: str = "") -> Callable[[str], bool]:
    """Whether a text names a factor of the price, `about 1/100`, within 5 %, and `what`."""

    def is_right(text: str) -> bool:
        found = re.search(r"about (1/)?([\d.,]+\d|\d)", text)
        if found is None or what not in text:
            return False
        number = float(found[2].replace(",", "")) ** (-1 if found[1] else 1)
        return bool(abs(np.log(number / factor)) <= _CLOSE_ENOUGH)

    return is_right


def simulated(rng: Rng) -> Bars:
    """Bars of 3 to 12 years: GARCH(1,1) returns of Student's t with 4 degrees of freedom."""
    days, daily = int(rng.integers(750, 3000)), float(np.exp(rng.uniform(np.log(0.008), np.log(0.035))))
    shocks, variance, returns = rng.standard_t(4, days) / np.sqrt(2), daily**2, np.empty(days)
    for day in range(days):
        returns[day] = np.sqrt(variance) * shocks[day]
        variance = 0.05 * daily**2 + 0.08 * min(returns[day] ** 2, 25 * variance) + 0.87 * variance
    close = 50 * np.exp(np.cumsum(returns))
    night = 0.3 * returns + daily * 0.45 * rng.standard_normal(days)
    opened = np.r_[close[0], close[:-1]] * np.exp(night)
    spread = np.exp(daily * np.abs(rng.standard_normal((2, days))) / 2)
    high, low = np.maximum(opened, close) * spread[0], np.minimum(opened, close) / spread[1]
    volume = np.round(np.exp(14 + 0.4 * rng.standard_normal(days) + np.abs(shocks) / 3))
    dates = np.busday_offset("2008-01-01", np.arange(days), roll="forward")
    return Bars("SIM", dates, dict(zip(COLUMNS, (opened, high, low, close, volume), strict=True)), "simulated")


def _scaled(bars: Bars, row: int, factor: float, shares: float = 1.0) -> Bars:
    """The bars with the prices from a row on multiplied, and the volume by `shares`."""
    after = np.arange(len(bars.dates)) >= row
    columns = {
        name: np.where(after, values * (factor if name in PRICES else shares), values)
        for name, values in bars.columns.items()
    }
    return replace(bars, columns=columns)


def _rows(bars: Bars, rows: np.ndarray) -> Bars:
    return replace(bars, dates=bars.dates[rows], columns={name: v[rows] for name, v in bars.columns.items()})


def unit(bars: Bars, row: int, rng: Rng) -> Planted:
    factor = float(rng.choice([100.0, 1000.0])) ** int(rng.choice([-1, 1]))
    return Planted(_scaled(bars, row, factor), "lasting jump", bars.dates[row], names(factor, "another unit"))


def split(bars: Bars, row: int, rng: Rng) -> Planted:
    ratio = float(rng.choice([2, 3, 4, 5, 7, 12, 20, 100, 1.5, 2.5, *rng.integers(2, 60, 9)])) ** int(
        rng.choice([-1, 1])
    )
    found = _scaled(bars, row, 1 / ratio, ratio)
    if rng.random() < 0.3:  # a file without volume
        found = replace(found, columns={name: v for name, v in found.columns.items() if name != "volume"})
    return Planted(found, "split not adjusted", bars.dates[row], names(1 / ratio))


def redenomination(bars: Bars, row: int, rng: Rng) -> Planted:
    factor = 10.0 ** int(rng.choice([-6, -5, -4, 4, 6]))
    return Planted(_scaled(bars, row, factor), "lasting jump", bars.dates[row], names(factor, "redenomination"))


def shifted_day(bars: Bars, row: int, rng: Rng) -> Planted:
    """The Friday of a week on Saturday, or its Monday on Sunday."""
    name, weekday, step = [("Fri", "Saturday", 1), ("Mon", "Sunday", -1)][int(rng.integers(2))]
    at = row - 30 + int(np.argmax(np.is_busday(bars.dates[row - 30 :], weekmask=name)))
    dates = bars.dates.copy()
    dates[at] += step
    return Planted(replace(bars, dates=dates), "exchange closed", dates[at], weekday.__eq__)


def duplicate(bars: Bars, row: int, rng: Rng) -> Planted:
    twice = _rows(bars, np.sort(np.append(np.arange(len(bars.dates)), row)))
    return Planted(twice, "duplicate date", bars.dates[row], "comes twice".__eq__)


def stale(bars: Bars, row: int, rng: Rng) -> Planted:
    count = int(rng.integers(3, 8))
    columns = {name: v.copy() for name, v in bars.columns.items()}
    for name in PRICES:
        columns[name][row : row + count] = columns[name][row - 1]
    return Planted(
        replace(bars, columns=columns), "stale bars", bars.dates[row], lambda text: text.endswith(f"for {count} days")
    )


def swapped(bars: Bars, row: int, rng: Rng) -> Planted:
    """Two columns, in the whole file or, but for open and close, which have no order, from a day on."""
    pairs = list(combinations(PRICES, 2))
    one, other = pairs[int(rng.integers(len(pairs)))]
    no_order = (one, other) == ("open", "close")
    after = np.arange(len(bars.dates)) >= (row if rng.random() < 0.5 and not no_order else 0)
    given = bars.columns
    columns = given | {
        one: np.where(after, given[other], given[one]),
        other: np.where(after, given[one], given[other]),
    }
    high, low = columns["high"], columns["low"]
    wrong = (high < np.maximum(columns["open"], columns["close"])) | (
        low > np.minimum(columns["open"], columns["close"])
    )
    day = bars.dates[0 if no_order else int(np.argmax(wrong | (low > high)))]
    check = "open and close swapped" if no_order else "columns swapped"
    return Planted(replace(bars, columns=columns), check, day, lambda text: no_order or f"{one} and {other}:" in text)


FAULTS: Sequence[Callable[[Bars, int, Rng], Planted]] = (
    unit,
    split,
    redenomination,
    shifted_day,
    duplicate,
    stale,
    swapped,
)


def real(folder: Path) -> Iterator[Bars]:
    """The bars of every CSV file of a folder."""
    for path in sorted(folder.glob("*.csv")):
        yield load_columns(compose.compose("data=csv", f"data.path={path}", f"stock.ticker={path.stem}"), COLUMNS)


def part(bars: Bars, rng: Rng) -> Bars:
    """A random part of at least three years."""
    first = int(rng.integers(0, len(bars.dates) - 756))
    return _rows(bars, np.arange(first, int(rng.integers(first + 756, len(bars.dates) + 1))))


def found(count: int, clean: Sequence[Bars], seed: int = 0) -> dict[str, list[tuple[bool, bool]]]:
    """Of each fault, whether each planted one was found on its day, and with its cause."""
    hits: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        bars = part(clean[number // 2 % len(clean)], rng) if clean and number % 2 else simulated(rng)
        plant, row = FAULTS[number % len(FAULTS)], int(rng.integers(40, len(bars.dates) - 40))
        planted = plant(bars, row, rng)
        seen = [one for one in doctor.examine(planted.bars, bars.dates) if one.date == planted.day]
        named = any(one.check == planted.check and planted.is_right(one.value) for one in seen)
        if not named:
            print(f"  {number} {plant.__name__}: {bars.ticker} {planted.day}: {[(s.check, s.value) for s in seen[:3]]}")
        hits[plant.__name__].append((bool(seen), named))
    return hits


def warnings_of(bars: Bars) -> tuple[list[str], float]:
    """The findings in clean bars, and their number per decade, of less than ten years per series."""
    warnings = [f"{one.check} {one.date}" for one in doctor.examine(bars)]
    return warnings, len(warnings) / max(1.0, (bars.dates[-1] - bars.dates[0]).astype(int) / 3652)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", nargs="?", type=Path)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    clean = list(real(given.bars)) if given.bars else []
    hits = found(given.series, clean, given.seed)
    for fault, of_fault in hits.items():
        on_day, named = np.sum(of_fault, axis=0)
        print(f"{fault:16} {on_day}/{len(of_fault)} on its day, {named}/{len(of_fault)} with its cause")
    share = np.mean([named for of_fault in hits.values() for _, named in of_fault])
    print(f"found            {share:.1%} with their cause")
    is_right = bool(share >= 0.95)
    for bars in clean or [simulated(np.random.default_rng([given.seed + 1, number])) for number in range(50)]:
        warnings, rate = warnings_of(bars)
        is_right &= rate <= 1
        if warnings:
            print(f"{bars.ticker:16} {rate:.2f} warnings per decade: {', '.join(warnings)}")
    return 0 if is_right else 1


if __name__ == "__main__":
    raise SystemExit(main())
