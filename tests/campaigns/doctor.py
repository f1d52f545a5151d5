"""How many planted faults the doctor finds with the right cause, and how often it warns of clean bars.

    python tests/campaigns/doctor.py [bars] [--series 200]

Each series has 3 to 12 years of daily bars with GARCH volatility and Student's t, of a volatility drawn between that of
an index and that of a small stock. One fault is planted in each: another unit, a split of a random ratio, a
redenomination, a shifted day, a duplicate, stale bars, or two columns swapped. With `bars`, a folder of clean CSV files
of real stocks, every second series is a random part of one of them, and their own warnings are counted. The exit status
is 1 where less than 95 % are found, or a clean series has more than one warning per decade. It takes a minute.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml import compose
from stockml.data import doctor
from stockml.data.bars import COLUMNS, PRICES, Bars
from stockml.data.sources.loading import load_columns

Rng = np.random.Generator
Planted = tuple[Bars, str, str]
"""The bars, the check that must find the fault, and a part of the likeliest cause that it must name."""


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
    factor = float(rng.choice([100.0, 1000.0]))
    cause = "another unit"
    return _scaled(bars, row, factor ** rng.choice([-1, 1])), "lasting jump", cause


def split(bars: Bars, row: int, rng: Rng) -> Planted:
    ratio = float(rng.choice([2, 3, 4, 5, 7, 12, 20, 1.5, 2.5, *rng.integers(2, 60, 9)])) ** int(rng.choice([-1, 1]))
    return _scaled(bars, row, 1 / ratio, ratio), "split not adjusted", "about"


def redenomination(bars: Bars, row: int, rng: Rng) -> Planted:
    return _scaled(bars, row, 10.0 ** int(rng.choice([-6, -5, -4, 4, 6]))), "lasting jump", "redenomination"


def shifted_day(bars: Bars, row: int, rng: Rng) -> Planted:
    friday = row + int(np.argmax(np.is_busday(bars.dates[row:], weekmask="Fri")))
    dates = bars.dates.copy()
    dates[friday] += 1
    return replace(bars, dates=dates), "exchange closed", "Saturday"


def duplicate(bars: Bars, row: int, rng: Rng) -> Planted:
    return _rows(bars, np.sort(np.append(np.arange(len(bars.dates)), row))), "duplicate date", "twice"


def stale(bars: Bars, row: int, rng: Rng) -> Planted:
    count = int(rng.integers(3, 8))
    columns = {name: v.copy() for name, v in bars.columns.items()}
    for name in PRICES:
        columns[name][row : row + count] = columns[name][row - 1]
    return replace(bars, columns=columns), "stale bars", f"for {count} days"


def swapped(bars: Bars, row: int, rng: Rng) -> Planted:
    one, other, check = [
        ("high", "low", "high below low"),
        ("open", "close", "open and close swapped"),
        ("high", "close", "above the high"),
        ("low", "open", "below the low"),
    ][int(rng.integers(4))]
    columns = bars.columns | {one: bars.columns[other], other: bars.columns[one]}
    return replace(bars, columns=columns), check, ""


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


def found(count: int, clean: Sequence[Bars], seed: int = 0) -> dict[str, list[bool]]:
    """Of each fault, whether each planted one was found on its day with its cause."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        bars = part(clean[number // 2 % len(clean)], rng) if clean and number % 2 else simulated(rng)
        plant, row = FAULTS[number % len(FAULTS)], int(rng.integers(40, len(bars.dates) - 40))
        before = {(one.check, one.date) for one in doctor.examine(bars, bars.dates)}
        planted, check, cause = plant(bars, row, rng)
        seen = [one for one in doctor.examine(planted, bars.dates) if (one.check, one.date) not in before]
        hit = any(one.check == check and cause in one.value for one in seen)
        if not hit:
            print(f"  {number} {plant.__name__}: {bars.ticker} {bars.dates[row]}: {[one.value for one in seen[:3]]}")
        hits[plant.__name__].append(hit)
    return hits


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", nargs="?", type=Path)
    parser.add_argument("--series", type=int, default=200)
    given = parser.parse_args()
    clean = list(real(given.bars)) if given.bars else []
    hits = found(given.series, clean)
    for fault, of_fault in hits.items():
        print(f"{fault:16} {sum(of_fault)}/{len(of_fault)}")
    share = np.mean([hit for of_fault in hits.values() for hit in of_fault])
    print(f"found            {share:.1%}")
    is_right = bool(share >= 0.95)
    for bars in clean or [simulated(np.random.default_rng([1, number])) for number in range(50)]:
        warnings = [f"{one.check} {one.date}" for one in doctor.examine(bars)]
        decades = max(1.0, (bars.dates[-1] - bars.dates[0]).astype(int) / 3652)
        is_right &= len(warnings) <= decades
        if warnings:
            print(f"{bars.ticker:16} {len(warnings) / decades:.2f} warnings per decade: {', '.join(warnings)}")
    return 0 if is_right else 1


if __name__ == "__main__":
    raise SystemExit(main())
