"""task=explain puts the feature that returns depend on first, and its interval of a useless feature holds 0.

    python tests/campaigns/explain.py [--seeds 100] [--folder multirun/explain]

Of every history, 2,000 days: `signal` (an AR(1), 0.8) moves the next day's return, R² 5 %; `white` and `slow` (an
AR(1), 0.95) move nothing; the return before, the fourth feature, knows a little of the signal. Errors are Student's t
with 5 degrees of freedom, their volatility changes slowly, and there is a drift of Sharpe ratio 1. Models are trained,
and their runs explained on validation, 1 and 5 days ahead; ridge also by walk-forward and on a pool of four stocks.

`signal` comes first in at least 95 % of the histories of each case, and the 95 % CI of a useless feature holds 0 in 90
to 98 % of those of each model: the exit status is 1 where one of these fails. It continues after a kill, and takes half
an hour of one core.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml import cli
from stockml.models import names
from tests.markdown import table

MODELS: dict[str, tuple[str, ...]] = {
    "ridge": ("model=ridge",),
    "gru": ("model=gru", "model.hidden_dim=8", "trainer.lr=1e-2", "trainer.epochs=12"),
    "lightgbm": ("model=lightgbm",),
}
SETTINGS: dict[str, tuple[str, ...]] = {
    "1 day": (),
    "5 days": ("data.horizon=5",),
    "walk-forward": ("data.split=walk_forward", "data.folds=3"),
    "pool": ("data.tickers=all",),
}
CASES = {case: ["ridge"] if case in ("walk-forward", "pool") else list(MODELS) for case in SETTINGS}
"""The models of each."""
USELESS = ("white", "slow")
STOCKS = 4
_DAYS = 2000
_SIGNAL_SHARE = 0.05  # R² of a day's return on the signal
_SHARED = (
    *("data=csv", "stock.ticker=S0", "stock.features=[close]", "data.window=5", "data.valid_ratio=0.2"),
    *(f"+features.columns.{name}=${name}" for name in ("signal", *USELESS)),
    *("hardware=cpu", "hardware.threads=1", "report=false"),
)


def _series(rng: np.random.Generator, persistence: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(D,) an AR(1) of mean 0 and variance 1."""
    steps, found = rng.standard_normal(_DAYS), np.empty(_DAYS)
    found[0] = steps[0]
    for day in range(1, _DAYS):
        found[day] = persistence * found[day - 1] + (1 - persistence**2) ** 0.5 * steps[day]
    return found


def write_history(folder: Path, seed: int) -> None:
    """S0.csv and more: the bars of stocks whose returns share half of their variance."""
    rng = np.random.default_rng(seed)
    market = rng.standard_t(5, _DAYS)
    dates = np.busday_offset("2010-01-04", np.arange(_DAYS), roll="forward")
    for number in range(STOCKS):
        signal, white, slow = (_series(rng, persistence) for persistence in (0.8, 0.0, 0.95))
        noise = (market + rng.standard_t(5, _DAYS)) / (2 * 5 / 3) ** 0.5
        volatility = 0.01 * np.exp(0.3 * _series(rng, 0.98))
        known = np.append(0.0, signal[:-1])
        returns = volatility * (1 / 252**0.5 + _SIGNAL_SHARE**0.5 * known + (1 - _SIGNAL_SHARE) ** 0.5 * noise)
        rows = zip(dates, 100 * np.exp(np.cumsum(returns)), signal, white, slow, strict=True)
        lines = ["Date,Close,signal,white,slow", *(",".join(map(str, row)) for row in rows)]
        (folder / f"S{number}.csv").write_text("\n".join(lines) + "\n")


@dataclass(frozen=True)
class Outcome:
    """What an explanation found in one history."""

    is_first: bool
    """Whether the signal has the highest importance."""
    holds_zero: dict[str, bool]
    """Whether the interval holds 0, by useless feature."""


def explained(model: str, case: str, seed: int) -> Outcome:
    """Train on a history and explain the run."""
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder, run = Path(name), Path(name) / "run"
        (folder / "bars").mkdir()
        write_history(folder / "bars", seed)
        typed = (*_SHARED, *MODELS[model], *SETTINGS[case], f"data.dir={folder / 'bars'}", f"seed={seed}")
        for command in ((*typed, f"hydra.run.dir={run}"), ("task=explain", f"run={run}")):
            if status := cli.main(command):
                raise RuntimeError(f"{' '.join(command)}: status {status}")
        rows = json.loads((run / "importance.json").read_text())["features"]
    own = {row["feature"]: row["lower_95"] <= 0 <= row["upper_95"] for row in rows if row["feature"] in USELESS}
    return Outcome(rows[0]["feature"] == "signal", own)


def rates(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """How often the signal comes first, and how often an interval of a useless feature holds 0."""
    holding = [holds for outcome in outcomes for holds in outcome.holds_zero.values()]
    return sum(outcome.is_first for outcome in outcomes) / len(outcomes), sum(holding) / len(holding)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the rates; 1 where one is out of its range."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("multirun/explain"), help="where it keeps what it found")
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    is_right, rows, of_model = True, [], dict[str, list[Outcome]]()
    for case, model in ((case, model) for case, models in CASES.items() for model in models if model in names()):
        outcomes = []
        for seed in range(asked.seeds):
            path = asked.folder / f"{model}_{case.replace(' ', '_')}_{seed}.json"
            if not path.exists():
                path.write_text(json.dumps(vars(explained(model, case, seed))))
            outcomes.append(Outcome(**json.loads(path.read_text())))
        first, holding = rates(outcomes)
        is_right &= first >= 0.95
        of_model.setdefault(model, []).extend(outcomes)
        rows.append((model, case, f"{first:.0%}", f"{holding:.1%}"))
        print(*rows[-1], sep="  ", flush=True)
    for model, outcomes in of_model.items():
        holding = rates(outcomes)[1]
        is_right &= 0.9 <= holding <= 0.98
        rows.append((model, "all", "", f"{holding:.1%}"))
    print(table(("model", "case", "signal first", "CI of a useless feature holds 0"), rows))
    return int(not is_right)


if __name__ == "__main__":
    sys.exit(main())
