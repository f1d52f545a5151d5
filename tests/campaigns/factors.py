"""Are the factors of alpha158 and alpha360 those of Qlib, and how much faster are they computed?

    python tests/campaigns/factors.py BARS [--python PYTHON] [--write]

BARS is a folder with AAPL.csv, …, XOM.csv and SP500.csv. PYTHON belongs to an environment with pyqlib 0.9.7; without
it, one is made in a temporary folder (pip, 1 GB). Takes three minutes, and ends with status 1 where something does not
hold.

Equal: Qlib computes its own definitions by its own engine from the same bars, rounded to float32, the only format that
it stores; the vwap that it asks for is the typical price. Every value after the warm-up is compared.
Qlib rounds to float32 between operators too, so each value must be

- within 1e-5 of Qlib's, as a relative difference; or
- that of Qlib without this rounding (its operators on float64 columns): within 1e-7, as a relative difference, or
  within 1e-9 of the factor's standard deviation. Then it is Qlib's rounding that makes the difference.

Speed: alpha158 on 100 simulated stocks of 2,500 days, on two cores, in turns. Ours is one process; Qlib is `D.features`
with two, and then its operators alone in one. The median of the ratios must be 3 at least against either.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.compose import compose
from stockml.data.bars import Bars
from stockml.data.features.evaluation import Rows, evaluate
from stockml.data.features.expressions import parse
from stockml.data.sources.simulated.simulator import simulate
from tests.data.features.sets import columns_of, real_bars, row_numbers, rows_of
from tests.markdown import ROOT, table, write_table

Floats = NDArray[np.float64]

SETS = {"alpha158": "Alpha158", "alpha360": "Alpha360"}
README = ROOT / "stockml/data/features/README.md"
TABLES = ("equal_to_qlib", "qlib_speed")
LARGEST, LARGEST_EXACT, LARGEST_OF_DEVIATION = 1e-5, 1e-7, 1e-9
STOCKS, DAYS, TIMES, LEAST_RATIO = 100, 2_500, 5, 3.0


@dataclass(frozen=True)
class Difference:
    """How far a factor, or the worst of a family, is from Qlib's."""

    name: str
    values: int
    largest: float
    """The largest relative difference."""
    beyond: int
    """Values whose relative difference is above 1e-5."""
    of_deviation: float
    """The largest difference, in standard deviations of the factor."""
    largest_exact: float
    """The largest relative difference to Qlib without rounding, of the values above 1e-5."""
    unexplained: int
    """Values that are neither Qlib's nor Qlib's without rounding."""


def difference(name: str, ours: Floats, theirs: Floats, exact: Floats) -> Difference:
    """The differences (N,) of a factor's values to Qlib's, and to Qlib's without rounding."""
    deviation = float(np.nanstd(exact))
    beyond = _relative(ours, theirs) > LARGEST
    to_exact = _relative(ours, exact)
    near = (to_exact <= LARGEST_EXACT) | (np.abs(ours - exact) <= LARGEST_OF_DEVIATION * deviation)
    return Difference(
        name,
        values=len(ours),
        largest=float(_relative(ours, theirs).max()),
        beyond=int(beyond.sum()),
        of_deviation=float(np.nanmax(np.abs(ours - theirs))) / deviation if deviation else 0.0,
        largest_exact=float(to_exact[beyond].max(initial=0.0)),
        unexplained=int((beyond & ~near).sum()),
    )


def _relative(a: Floats, b: Floats) -> Floats:
    """|a − b| / max(|a|, |b|): 0 for equal values and for two NaN, infinite for one NaN or one infinity."""
    with np.errstate(all="ignore"):
        found: Floats = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
    found[np.isnan(found)] = np.inf
    found[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return found


def rounded(bars: Bars) -> Bars:
    """The bars with the values that float32 has."""
    columns = {name: values.astype(np.float32).astype(np.float64) for name, values in bars.columns.items()}
    return replace(bars, columns=columns)


def write_provider(folder: Path, bars: Sequence[Bars]) -> None:
    """Write bars in Qlib's format: days, instruments, and a file of float32 for each column, its first day ahead."""
    days = np.unique(np.concatenate([each.dates for each in bars]))
    for name in ("calendars", "instruments"):
        (folder / name).mkdir(parents=True)
    (folder / "calendars/day.txt").write_text("".join(f"{day}\n" for day in days))
    lines = [f"{each.ticker}\t{each.dates[0]}\t{each.dates[-1]}\n" for each in bars]
    (folder / "instruments/all.txt").write_text("".join(lines))
    for each in bars:
        place = folder / "features" / each.ticker.lower()
        place.mkdir(parents=True)
        at = np.searchsorted(days, each.dates)
        vwap = (each.columns["high"] + each.columns["low"] + each.columns["close"]) / 3
        for name, values in {**each.columns, "vwap": vwap}.items():
            stored = np.full(at[-1] - at[0] + 2, np.nan, dtype="<f4")
            stored[0], stored[at - at[0] + 1] = at[0], values
            stored.tofile(place / f"{name}.day.bin")


def ours(name: str, rows: Rows) -> Iterator[tuple[str, int, Floats]]:
    """Name, lookback and values (R,) of each factor of a set."""
    texts = columns_of(name)
    expressions = [parse(text) for text in texts.values()]
    for factor, expression, values in zip(texts, expressions, evaluate(expressions, rows), strict=True):
        yield factor, expression.lookback, values


def qlib(python: Path, provider: Path, name: str, out: Path, *options: str) -> float:
    """Let Qlib write its factors into `out`; the seconds that it took."""
    script = Path(__file__).with_name("_qlib_factors.py")
    command: list[str | Path] = [python, script, provider, SETS[name], out, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"pyqlib: {done.stderr.strip()[-2000:]}")
    return float(done.stdout.split()[-1])


def compare(python: Path, folder: Path, bars: Sequence[Bars], name: str) -> list[Difference]:
    """The difference of every factor of a set; exits where Qlib has others."""
    options = {"rounded": (), "exact": ("--double",)}
    found = {}
    for kind, option in options.items():
        out = folder / f"{name}_{kind}"
        qlib(python, folder / "real", name, out, *option)
        found[kind] = np.concatenate([np.load(out / f"{each.ticker}.npy") for each in bars]).astype(np.float64)
        names = json.loads((out / "factors.json").read_text())
    if names != list(columns_of(name)):
        sys.exit(f"{name}: Qlib has other factors, or in another order")
    rows = rows_of(bars)
    number = row_numbers(rows)
    differences = []
    for column, (factor, lookback, values) in enumerate(ours(name, rows)):
        warm = number >= lookback
        theirs, exact = found["rounded"][warm, column], found["exact"][warm, column]
        differences.append(difference(factor, values[warm], theirs, exact))
    return differences


def worst(name: str, members: Sequence[Difference]) -> Difference:
    """The largest differences of several factors, and their values together."""
    return Difference(
        name,
        values=sum(each.values for each in members),
        largest=max(each.largest for each in members),
        beyond=sum(each.beyond for each in members),
        of_deviation=max(each.of_deviation for each in members),
        largest_exact=max(each.largest_exact for each in members),
        unexplained=sum(each.unexplained for each in members),
    )


def families(differences: Iterable[Difference]) -> list[tuple[Difference, int]]:
    """The worst of the factors that differ by their window only, and how many these are."""
    found: dict[str, list[Difference]] = {}
    for each in differences:
        found.setdefault(re.sub(r"\d+$", "", each.name), []).append(each)
    return [(worst(family, members), len(members)) for family, members in found.items()]


def lines(name: str, differences: Sequence[Difference]) -> Iterator[tuple[object, ...]]:
    """A line of the table for each family with values more than 1e-5 off, and one for all other factors of the set."""
    of_family = families(differences)
    off = [(f"`{name}` {each.name}", each, count) for each, count in of_family if each.beyond]
    others = [(each, count) for each, count in of_family if not each.beyond]
    rest = worst("", [each for each, _ in others]), sum(count for _, count in others)
    for label, each, count in (*off, (f"`{name}`, all others" if off else f"`{name}`", *rest)):
        share = f"{each.beyond / each.values:.3%}" if each.beyond else "0"
        exact = f"{each.of_deviation:.0e}", f"{each.largest_exact:.0e}" if each.beyond else "", each.unexplained
        yield label, count, f"{each.values:,}", share, f"{each.largest:.0e}", *exact


def simulated() -> list[Bars]:
    """Bars of as many stocks and days as the speed is measured on."""
    config = compose("stock=AAPL", f"data.days={DAYS}")
    assert config.stock.simulator is not None
    dates = np.busday_offset(np.datetime64("2000-01-03", "D"), np.arange(DAYS), roll="forward")
    tickers = [f"S{number:03}" for number in range(STOCKS)]
    simulations = [simulate(config.stock.simulator, ticker, DAYS, 0, 0.0)[0] for ticker in tickers]
    return [rounded(Bars(ticker, dates, columns, "")) for ticker, columns in zip(tickers, simulations, strict=True)]


def speed(python: Path, folder: Path) -> dict[str, tuple[float, float, float]]:
    """Medians of Qlib's seconds, of ours and of the ratio, for each way to run Qlib."""
    bars = simulated()
    rows = rows_of(bars)
    write_provider(folder / "simulated", bars)
    ways = {"`D.features`, two processes": (), "operators alone, one process": ("--double",)}
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(TIMES):
        for way, option in ways.items():
            theirs = qlib(python, folder / "simulated", "alpha158", folder / "speed", *option)
            began = time.perf_counter()
            table_of_ours = np.empty((len(rows.dates), 158), dtype=np.float32)
            for column, (_, _, values) in enumerate(ours("alpha158", rows)):
                table_of_ours[:, column] = values
            taken[way].append((theirs, time.perf_counter() - began))
    return {
        way: (median(q for q, _ in pairs), median(o for _, o in pairs), median(q / o for q, o in pairs))
        for way, pairs in taken.items()
    }


def environment(folder: Path) -> Path:
    """The Python of a new environment with pyqlib."""
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    install: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "pyqlib==0.9.7",
    ]
    subprocess.run(install, check=True)
    return python


def main(bars_folder: Path, python: Path | None, folder: Path, *, write: bool) -> int:
    """Compare, measure, print; 1 if a factor differs or the speed is too low."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    python = python or environment(folder / "qlib")
    bars = [rounded(each) for each in real_bars(bars_folder)]
    write_provider(folder / "real", bars)
    broken: list[str] = []
    summary: list[tuple[object, ...]] = []
    for name in SETS:
        found = compare(python, folder, bars, name)
        broken += [f"{name}: {each.name} differs in {each.unexplained} values" for each in found if each.unexplained]
        summary += lines(name, found)
        print(f"{name}: {len(found)} factors compared", flush=True)
    values = "values", "more than 1e-5 off", "largest", "in SD of the factor"
    equal = table(("factors", "", *values, "to Qlib without rounding", "unexplained"), summary)
    ratios = speed(python, folder)
    rows = [(way, f"{q:.2f} s", f"{o:.2f} s", f"{ratio:.1f}") for way, (q, o, ratio) in ratios.items()]
    fast = table(("Qlib", "Qlib takes", "stockml, one process", "ratio"), rows)
    print(f"\n{equal}\n\n{fast}\n")
    broken += [f"{way}: {ratio:.1f} × as fast" for way, (*_, ratio) in ratios.items() if ratio < LEAST_RATIO]
    if write:
        for mark, text in zip(TABLES, (equal, fast), strict=True):
            write_table(README, mark, text)
    print("\n".join(broken) or "all factors are Qlib's")
    return 1 if broken else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", type=Path, help="folder of CSV files")
    parser.add_argument("--python", type=Path, help="of an environment with pyqlib 0.9.7")
    parser.add_argument("--write", action="store_true", help="write the tables into the README")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(given.bars, given.python, Path(temporary), write=given.write))
