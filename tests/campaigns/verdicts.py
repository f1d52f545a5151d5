"""How often the verdict finds skill where there is none, and where there is some; how often intervals hold the truth.

    python tests/campaigns/verdicts.py [--histories 1000] [--file verdicts.json]

Each history is ten years of simulated days (GARCH(1,1) with Student's t, 5 degrees of freedom), cut as a run cuts its
data; the last fifth is the test. The forecasts are assessed by stockml's own `assess` and `skill`. What is done is kept
in the file, and the same command continues with what is missing. `--write` writes the tables into
stockml/evaluation/README.md.

- Null data: a drift of Sharpe ratio 0, 0.5 or 1 and nothing else; horizon 1, 5, 20; one stock or 20 stocks (of
  correlation 0.3), holdout or walk-forward; undated arrays. Models: `constant`, the train mean; `ridge`, of ten lags;
  `noisy`, the train mean and noise of 3 % of the returns' standard deviation that is an AR(1) with 0.98. Skill is shown
  in at most 2.5 % and hinted at in at most 10 % of each cell, and never for `constant`; 95 % intervals of the gain over
  every rival hold the expected gain of the forecasts in 92 to 98 %.
- Sizes: Clark–West and Pesaran–Timmermann of `noisy`, Diebold–Mariano where the rival is exactly as good, reject in 2.5
  to 7.5 % at 5 %.
- Power: with a signal whose R² is 5 % above the smallest detectable one on average, skill is shown in 80 %.

Rates may miss their limits by 2 standard errors of their number of histories. The exit status is 1 where one does not
hold. It takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import math
import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml.evaluation.predictions import Predictions
from stockml.evaluation.significance import squared_error
from stockml.evaluation.truth import Target
from stockml.evaluation.verdict import assess, skill
from tests.markdown import ROOT, table, write_table

Floats = NDArray[np.float64]

README = ROOT / "stockml/evaluation/README.md"
DAYS, LAGS, STOCKS, BURN = 2520, 10, 20, 200
SETTINGS = {
    "one stock, holdout": (1, False, True),
    "one stock, walk-forward": (1, True, True),
    "20 stocks, holdout": (STOCKS, False, True),
    "20 stocks, walk-forward": (STOCKS, True, True),
    "arrays": (1, False, False),
}
"""Name → the number of stocks, whether it is walk-forward, whether the samples have dates."""
SHARPE, HORIZONS, MODELS = (0.0, 0.5, 1.0), (1, 5, 20), ("constant", "ridge", "noisy")
# Strengths of the planted signal: the part of the daily variance, with the persistence that its horizon needs.
SIGNALS = {
    ("one stock, holdout", 1): (0.065, 0.0),
    ("one stock, holdout", 5): (0.2, 0.98),
    ("20 stocks, holdout", 1): (0.0073, 0.0),
    ("20 stocks, holdout", 5): (0.009, 0.98),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One kind of data and model."""

    setting: str
    horizon: int
    sharpe: float
    model: str
    """A name of `MODELS`; `even`, which is as good as zero; or `signal`, which knows a planted signal."""

    @property
    def key(self) -> str:
        """The cell's name in the file of results."""
        return f"{self.setting}; h {self.horizon}; Sharpe {self.sharpe:g}; {self.model}"


@dataclass(frozen=True)
class Rates:
    """How often something was found in a cell, as shares of its histories."""

    histories: int
    shown: float
    hinted: float
    coverage: Sequence[float]
    """By rival that the model differs from: how often the interval of the gain holds the expected gain."""
    sizes: Mapping[str, float]
    """By test: how often it rejects at 5 %, against zero."""
    excess: float | None
    """The mean R² over the mean of the smallest detectable one."""


def cells() -> Iterator[Cell]:
    """Every cell."""
    for setting, horizon, sharpe, model in itertools.product(SETTINGS, HORIZONS, SHARPE, MODELS):
        yield Cell(setting, horizon, sharpe, model)
    for setting, horizon in itertools.product(("one stock, holdout", "20 stocks, holdout"), HORIZONS):
        yield Cell(setting, horizon, 0.0, "even")
    for setting, horizon in SIGNALS:
        yield Cell(setting, horizon, 0.5, "signal")


def measured(cell: Cell, histories: int) -> Rates:
    """The rates in a cell over so many histories, which depend on the cell's name alone."""
    rng = np.random.default_rng(zlib.crc32(cell.key.encode()))
    stocks, _, _ = SETTINGS[cell.setting]
    words, held, rejected, r2, detectable = [], list[list[bool | None]](), list[list[bool]](), [], []
    at_once = 400 // stocks
    for first in range(0, histories, at_once):
        for samples, best, expected in _histories(cell, rng, min(at_once, histories - first)):
            found = assess(samples, best, cell.horizon)
            words.append(skill(found))
            intervals = {name: of.interval for name, of in found.against.items()}
            held.append(
                [
                    None if interval is None else bool(interval[0] <= gain <= interval[1])
                    for interval, gain in ((intervals[name], gain) for name, gain in expected.items())
                ]
            )
            zero = found.against_zero
            tests = (zero.diebold_mariano, zero.clark_west, found.pesaran_timmermann)
            rejected.append([outcome.rejects(0.05) for outcome in tests])
            r2.append(zero.r2 or 0.0)
            detectable.append(found.minimum_detectable_r2["diebold_mariano"])
    by_rival = [[hit for hit in hits if hit is not None] for hits in zip(*held, strict=True)]
    sizes = np.mean(rejected, axis=0).tolist()
    known = [value for value in detectable if value is not None]
    return Rates(
        histories=histories,
        shown=words.count("shown") / histories,
        hinted=words.count("hinted") / histories,
        coverage=[sum(hits) / len(hits) for hits in by_rival if len(hits) > histories / 2],
        sizes=dict(zip(("Diebold–Mariano", "Clark–West", "Pesaran–Timmermann"), sizes, strict=True)),
        excess=float(np.mean(r2) / np.mean(known)) if len(known) == histories else None,
    )


def _histories(cell: Cell, rng: np.random.Generator, count: int) -> Iterator[tuple[Predictions, str, dict[str, float]]]:
    """The test samples of each history, its best baseline on validation, and the expected gain over each rival."""
    stocks, walk_forward, dated = SETTINGS[cell.setting]
    h, drift = cell.horizon, cell.sharpe / math.sqrt(252)
    share, persistence = SIGNALS[cell.setting, h] if cell.model == "signal" else (0.0, 0.0)
    length = DAYS + h
    noise = ar1(rng, (count, stocks), length, 0.98 if cell.model != "signal" else persistence)
    daily = np.sqrt(1 - share) * correlated(rng, count, stocks, length) + drift
    daily[..., 1:] += math.sqrt(share) * noise[..., :-1]
    target = np.lib.stride_tricks.sliding_window_view(daily[..., 1:], h, axis=-1).sum(-1)[..., :DAYS]
    # what a perfect model knows of the target at the end of day t beyond the drift
    signal = math.sqrt(share) * noise[..., :DAYS] * (1 - persistence**h) / (1 - persistence)
    known = np.cumsum(target, axis=-1) / np.arange(1, DAYS + 1)
    lags = np.stack([daily[..., LAGS - 1 - k : DAYS - k] for k in range(LAGS)], axis=-1)  # of day LAGS − 1 on
    parts: dict[str, dict[str, list[Floats]]] = {"validation": {}, "test": {}}
    for number, (train, validation, test) in enumerate(folds(h, walk_forward)):
        mean = target[..., train].mean(-1, keepdims=True)
        weights = ridge(lags[:, :, train - LAGS + 1], target[..., train])
        for split, rows in (("validation", validation), ("test", test)):
            if split == "validation" and number:  # the best baseline is chosen on days before any test day
                continue
            forecasts = {
                "target": target[..., rows], "zero": 0 * target[..., rows], "train_mean": mean + 0 * target[..., rows],
                "expanding_mean": known[..., rows - h], "last_return": target[..., rows - h],
                "ridge": mean + (lags[:, :, rows - LAGS + 1] @ weights[:, None, :, None])[..., 0],
            }  # fmt: skip
            model = {
                "constant": forecasts["train_mean"], "ridge": forecasts["ridge"],
                "signal": forecasts["train_mean"] + signal[..., rows],
            }.get(cell.model, forecasts["train_mean"] + 0.03 * math.sqrt(h) * noise[..., rows])  # fmt: skip
            if cell.model == "even":  # as far from the returns as zero is
                model = model - forecasts["train_mean"]
                forecasts["target"] = forecasts["target"] + model / 2
            for name, values in {**forecasts, "model": model, "expected": drift * h + signal[..., rows]}.items():
                parts[split].setdefault(name, []).append(values)
    undated = () if dated else ("expanding_mean", "last_return")
    names = [name for name in ("zero", "train_mean", "expanding_mean", "last_return", "ridge") if name not in undated]
    rivals = [name for name in names if name != cell.model]
    # a day's samples stand together: (histories, days, stocks)
    joined = {
        split: {name: np.concatenate(values, -1).swapaxes(1, 2) for name, values in of.items()}
        for split, of in parts.items()
    }
    for own in range(count):
        tests, before = (
            {name: values[own].ravel() for name, values in joined[s].items()} for s in ("test", "validation")
        )
        best = min(rivals, key=lambda name: squared_error(before["target"], before[name]))
        n, expected = len(tests["target"]), tests["expected"] + (tests["model"] / 2 if cell.model == "even" else 0)
        days = np.arange(n) // stocks
        drift_only = [name for name in ("zero", "train_mean", "expanding_mean") if name in rivals]
        gains: dict[str, float] = {
            name: float((np.square(expected - tests[name]) - np.square(expected - tests["model"])).mean())
            for name in drift_only
        }
        samples = Predictions(
            truth=Target(tests["target"], "return"), rows=np.arange(n), model=tests["model"],
            dates=days.astype("datetime64[D]") if dated else None,
            baselines={name: tests[name] for name in rivals},
            tickers=np.tile([f"S{k}" for k in range(stocks)], n // stocks) if stocks > 1 else None,
        )  # fmt: skip
        yield samples, best, gains


def folds(horizon: int, walk_forward: bool) -> Iterator[tuple[NDArray[np.int64], ...]]:
    """The days of train, validation and test of each fold, purged as a run purges them."""
    days = np.arange(LAGS + horizon, DAYS)
    before = len(days) - round(len(days) * 0.2)
    edges = np.linspace(before, len(days), 6 if walk_forward else 2).round().astype(int)
    for start, stop in itertools.pairwise(edges):
        middle = start - round(start * 0.1)
        yield days[: middle - horizon + 1], days[middle : start - horizon + 1], days[start:stop]


def ridge(lags: Floats, target: Floats) -> Floats:
    """(R, L) weights of lags (R, K, T, L), all stocks together, whose penalty is the number of samples."""
    x = (lags - lags.mean((1, 2), keepdims=True)).reshape(len(lags), -1, lags.shape[-1])
    y = (target - target.mean((1, 2), keepdims=True)).reshape(len(lags), -1, 1)
    gram, moments = x.swapaxes(1, 2) @ x, x.swapaxes(1, 2) @ y
    penalty = target.shape[1] * target.shape[2] * np.eye(lags.shape[-1])
    solution: Floats = np.linalg.solve(gram + penalty, moments)[..., 0]
    return solution


def correlated(rng: np.random.Generator, count: int, stocks: int, days: int) -> Floats:
    """(count, stocks, days) returns of variance 1 that share a market, if there are several stocks."""
    own = garch(rng, count * stocks, days).reshape(count, stocks, days)
    return own if stocks == 1 else math.sqrt(0.3) * garch(rng, count, days)[:, None] + math.sqrt(0.7) * own


def garch(rng: np.random.Generator, count: int, days: int) -> Floats:
    """(count, days) returns of variance 1 whose variance persists (Bollerslev 1987)."""
    shocks = rng.standard_t(5, (days + BURN, count)) / math.sqrt(5 / 3)
    variance, found = np.ones(count), np.empty((days + BURN, count))
    for day, shock in enumerate(shocks):
        found[day] = np.sqrt(variance) * shock
        variance = 0.02 + 0.08 * found[day] ** 2 + 0.90 * variance
    return np.ascontiguousarray(found[BURN:].T)


def ar1(rng: np.random.Generator, shape: tuple[int, int], days: int, persistence: float) -> Floats:
    """(…, days) values of variance 1."""
    shocks, found = rng.standard_normal((days, *shape)), np.empty((days, *shape))
    found[0] = shocks[0]
    for day in range(1, days):
        found[day] = persistence * found[day - 1] + math.sqrt(1 - persistence**2) * shocks[day]
    return np.ascontiguousarray(np.moveaxis(found, 0, -1))


def collected(file: Path, histories: int, workers: int) -> dict[Cell, Rates]:
    """The rates of every cell; those that the file lacks are measured, and written to it one by one."""
    kept = json.loads(file.read_text()) if file.exists() else {}
    kept = {key: values for key, values in kept.items() if values["histories"] == histories}
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        waiting = {pool.submit(measured, cell, histories): cell for cell in cells() if cell.key not in kept}
        for done in concurrent.futures.as_completed(waiting):
            kept[waiting[done].key] = asdict(done.result())
            file.with_suffix(".tmp").write_text(json.dumps(kept, indent=1))
            file.with_suffix(".tmp").replace(file)
            print(f"\r{len(kept)} of {len(list(cells()))} cells", end="", flush=True)
    print()
    return {cell: Rates(**kept[cell.key]) for cell in cells()}


def verdict_rows(found: Mapping[Cell, Rates]) -> Iterator[tuple[str, ...]]:
    """For each setting and horizon: shown and hinted by model, highest over Sharpe ratios; coverage, from and to."""
    for setting, horizon in itertools.product(SETTINGS, HORIZONS):
        of = {cell: rates for cell, rates in found.items() if (cell.setting, cell.horizon) == (setting, horizon)}
        texts = []
        for model in MODELS:
            own = [rates for cell, rates in of.items() if cell.model == model]
            texts.append(f"{max(r.shown for r in own):.1%} / {max(r.hinted for r in own):.1%}")
        coverage = [share for cell, rates in of.items() if cell.model in MODELS for share in rates.coverage]
        yield setting, f"{horizon}", *texts, f"{min(coverage):.1%} to {max(coverage):.1%}"


def sizes(found: Mapping[Cell, Rates], setting: str, horizon: int) -> dict[str, float]:
    """By test, how often it rejects at 5 % where its hypothesis holds exactly."""
    even, noisy = (found[Cell(setting, horizon, 0.0, model)].sizes for model in ("even", "noisy"))
    return {"Diebold–Mariano": even["Diebold–Mariano"], **{k: v for k, v in noisy.items() if k != "Diebold–Mariano"}}


def write(found: Mapping[Cell, Rates], readme: Path = README) -> None:
    """Write the tables into the README."""
    header = ("data", "days ahead", *(f"`{model}`" for model in MODELS), "95 % CI holds")
    write_table(readme, "verdicts", table(header, verdict_rows(found)))
    even = [cell for cell in found if cell.model == "even"]
    by_cell = {cell: sizes(found, cell.setting, cell.horizon) for cell in even}
    rows = [(cell.setting, cell.horizon, *(f"{v:.1%}" for v in by_cell[cell].values())) for cell in even]
    write_table(readme, "sizes", table(("data", "days ahead", *by_cell[even[0]]), rows))
    signals = [(cell, rates) for cell, rates in found.items() if cell.model == "signal"]
    power = [
        (cell.setting, cell.horizon, f"{rates.excess:.2f}", f"{rates.shown:.0%}", f"{rates.hinted:.0%}")
        for cell, rates in signals
    ]
    header = ("data", "days ahead", "R² over the smallest detectable one", "shown", "hinted")
    write_table(readme, "power", table(header, power))


def faults(found: Mapping[Cell, Rates]) -> Iterator[str]:
    """What misses its limit by more than 2 standard errors, a line each."""

    def beyond(share: float, low: float, high: float, n: int) -> bool:
        return share < low - 2 * math.sqrt(low * (1 - low) / n) or share > high + 2 * math.sqrt(high * (1 - high) / n)

    for cell, rates in found.items():
        n, limits = rates.histories, (0.0, 0.0) if cell.model == "constant" else (0.025, 0.10)
        if cell.model in MODELS:
            for word, share, limit in zip(("shown", "hinted"), (rates.shown, rates.hinted), limits, strict=True):
                if beyond(share, 0, limit, n):
                    yield f"{cell.key}: {word} in {share:.1%}"
            yield from (f"{cell.key}: an interval holds in {s:.1%}" for s in rates.coverage if beyond(s, 0.92, 0.98, n))
        if cell.model == "even":
            for test, share in sizes(found, cell.setting, cell.horizon).items():
                if beyond(share, 0.025, 0.075, n):
                    yield f"{cell.key}: {test} rejects in {share:.1%}"
        if (
            cell.model == "signal"
            and rates.excess is not None
            and rates.excess >= 1.05
            and beyond(rates.shown, 0.8, 1, n)
        ):
            yield f"{cell.key}: shown in {rates.shown:.1%}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the rates; 1 where one is out of its range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--file", type=Path, default=Path("verdicts.json"))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--write", action="store_true", help="write the tables into the README")
    asked = parser.parse_args(arguments)
    found = collected(asked.file, asked.histories, asked.workers)
    for cell, rates in found.items():
        print(cell.key, rates)
    if asked.write:
        write(found)
    missed = list(faults(found))
    print(*missed, f"{len(missed)} of {len(found)} cells miss a limit" if missed else "every limit is kept", sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
