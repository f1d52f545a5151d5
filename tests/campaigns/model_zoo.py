"""How much of a known signal each model finds, and what the models achieve on real stocks.

    python tests/campaigns/model_zoo.py simulated
    python tests/campaigns/model_zoo.py stocks BARS        (a folder with AAPL.csv, …, XOM.csv and SP500.csv)
    python tests/campaigns/model_zoo.py defaults BARS
    python tests/campaigns/model_zoo.py rates BARS

Each is one or more sweeps: ordinary commands, which it prints, in multirun/model_zoo (`--folder` names another place).
If it was killed, the same command continues with what is missing. At the end it prints a table; `--write` also
writes it into a README.

`simulated`: one stock (AAPL) of 60,000 days, 12,000 of them test, with a strong signal; data and run share the seed.
Models that need three seconds an epoch or less run with five seeds and three learning rates, and the one with the best
validation loss of that very run is kept. The others run with two seeds, at most ten epochs and the default learning
rate. Trees and the elastic net have two seeds, their default settings, and the number of days that validation chooses;
and another row, on features=momentum of the last day. `interaction` is a signal that no linear model can see. `share`
is the part of the R²_zero of the oracle, which knows the signal. The exit status is 1 unless two models find at least
45 % of the strong signal, one model finds the interaction (R²_zero more than three standard errors above 0 on each
seed) where ridge is within three of 0, and trees find at least 30 % of it.

`stocks`: the eight tickers and their pool at default settings, with three seeds; with one seed for the pool, for the
models that take longest and for those that hardly depend on it.
`defaults`: the eight tickers with the default model, each once. Both only report: no result makes them fail.

`rates`: the eight tickers with four learning rates. A model's default, in conf/model/trainer, is the largest one whose
validation R², the mean over stocks and seeds, is within trainer.min_delta of the best. The exit status is 1 where it is
not. Models that take two minutes a run and longer are left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from stockml import compose
from tests.campaigns.oracle import Gain, gain
from tests.markdown import ROOT, table, write_table

_QUICK, _SLOW = "linear,nlinear,dlinear,mlp,mlp_flat,mlp_gkx", "tsmixer,patchtst,gru,lstm,tcn"
_BOOSTED, _FORESTS = "lightgbm,hist_gradient_boosting,elastic_net", "random_forest,extra_trees"
TREES = ("lightgbm", "hist_gradient_boosting", "random_forest", "extra_trees")
_DAYS = ("stock=AAPL", "data.days=60000", "data.seed=${seed}")
_LONG = (*_DAYS, "trainer.loss=huber", "trainer.batch_size=256")
_STRONG, _INTERACTION, _BOTH = "data.signal=strong", "data.signal=interaction", "data.signal=strong,interaction"
SIMULATED: Mapping[str, Sequence[str]] = {
    "strong_ridge": ("model=ridge", "seed=range(5)", _STRONG, *_DAYS),
    "strong_quick": (f"model={_QUICK}", "trainer.lr=1e-3,3e-4,1e-4", "seed=range(5)", _STRONG, *_LONG),
    "interaction_ridge": ("model=ridge", "seed=range(2)", _INTERACTION, *_DAYS),
    "interaction": ("model=mlp_flat,gru,tcn", "seed=range(2)", "trainer.epochs=10", _INTERACTION, *_LONG),
    "strong_slow": (f"model={_SLOW}", "seed=range(2)", "trainer.epochs=10", _STRONG, *_LONG),
    "momentum": (f"model={_BOOSTED},{_FORESTS}", _BOTH, "features=momentum", "data.window=1", "seed=range(2)", *_DAYS),
    "boosted": (f"model={_BOOSTED}", "model.days=5,20,60", _BOTH, "seed=range(2)", *_DAYS),
    "forests": (f"model={_FORESTS}", "model.days=5,20", _BOTH, "seed=range(2)", *_DAYS),
}
STOCKS: Mapping[str, Sequence[str]] = {
    "stocks_quick": (f"model=ridge,{_QUICK}", "stock=glob(*)", "seed=42,43,44", "data=csv"),
    "stocks_whole": (f"model={_BOOSTED},{_FORESTS},svr", "stock=glob(*)", "data=csv"),
    "stocks_slow": (f"model={_SLOW}", "stock=glob(*)", "data=csv"),
    "pool": (f"model=ridge,{_QUICK},{_BOOSTED},{_FORESTS},{_SLOW}", "data.tickers=all", "data=csv"),
}
DEFAULTS: Mapping[str, Sequence[str]] = {"defaults": ("stock=glob(*)", "data=csv")}
_RATES = ("trainer.lr=1e-3,3e-4,1e-4,3e-5", "stock=glob(*)", "data=csv")
RATES: Mapping[str, Sequence[str]] = {
    "rates_quick": (f"model={_QUICK}", "seed=42,43,44", *_RATES),
    "rates_patchtst": ("model=patchtst", *_RATES),
}
SWEEPS = {"simulated": SIMULATED, "stocks": STOCKS, "defaults": DEFAULTS, "rates": RATES}
READMES = {
    "simulated": ROOT / "stockml/models/README.md",
    "stocks": ROOT / "stockml/models/README.md",
    "defaults": ROOT / "stockml/reporting/README.md",
}
"""Where the table of each is written, between the marks `<!-- table:NAME -->`."""
LEAST_SHARE, LEAST_MODELS, LEAST_INTERACTION = 0.45, 2, 0.3


@dataclass(frozen=True)
class Run:
    """What a job of `simulated` was, and what it found on its test."""

    signal: str
    model: str
    """Its name, and the set of features where it is not the bars."""
    seed: int
    validation_loss: float
    test: Gain
    """R²_zero"""
    oracle: float
    """R²_zero of the best possible forecast of the same days."""

    @classmethod
    def of(cls, folder: Path) -> Run:
        """From a finished job's folder."""
        config = json.loads((folder / "config.json").read_text())["config"]
        metrics = json.loads((folder / "metrics.json").read_text())
        predictions = pd.read_csv(folder / "predictions.csv")
        test = predictions[predictions["split"] == "test"]
        features = "" if config["features"]["set"] == "bars" else f" features={config['features']['set']}"
        return cls(
            config["data"]["signal"],
            config["model"]["name"] + features,
            config["seed"],
            metrics["validation_loss"],
            gain(test["y_true"].to_numpy(), test["y_pred"].to_numpy(), 0.0),
            metrics["oracle"]["test"]["r2_zero"],
        )


def sweep(folder: Path, overrides: Sequence[str]) -> None:
    """Run what is missing of a sweep. Raises CalledProcessError where a job of it fails."""
    command = ["run.py", "-m", *overrides, "hydra/launcher=joblib", f"hydra.sweep.dir={folder}"]
    print(f"\npython {shlex.join(command)}", flush=True)
    subprocess.run([sys.executable, *command], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def chosen(runs: Iterable[Run]) -> list[Run]:
    """Of the runs that differ in learning rate or days only, the one with the best validation loss."""
    found: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        key = run.signal, run.model, run.seed
        found[key] = min(found.get(key, run), run, key=lambda each: each.validation_loss)
    return list(found.values())


def by_model(runs: Iterable[Run], signal: str) -> dict[str, list[Run]]:
    """The runs on a signal by model, the model that found most first."""
    models: dict[str, list[Run]] = {}
    for run in runs:
        if run.signal == signal:
            models.setdefault(run.model, []).append(run)
    return dict(sorted(models.items(), key=lambda item: -share(item[1])))


def share(runs: Sequence[Run]) -> float:
    """The mean test R²_zero over seeds as a share of the oracle's."""
    return fmean(run.test.value for run in runs) / fmean(run.oracle for run in runs)


def found_table(runs: Sequence[Run]) -> str:
    """A row for each model: what it finds of each signal, on the bars and on features=momentum, means over seeds."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    for signal in ("strong", "interaction"):
        for label, same in by_model(runs, signal).items():
            model, _, features = label.partition(" features=")
            value, oracle = fmean(run.test.value for run in same), fmean(run.oracle for run in same)
            found.setdefault(model, {})[signal, features] = f"{share(same):.0%}: {value:.2%} of {oracle:.2%}"
    columns = list(itertools.product(("strong", "interaction"), ("", "momentum")))
    rows = [(f"`{model}`", *(cells.get(column, "") for column in columns)) for model, cells in found.items()]
    return table(("share: R²_zero of the oracle's", *(" on ".join(filter(None, column)) for column in columns)), rows)


def faults(runs: Sequence[Run]) -> list[str]:
    """The claims of this module that do not hold, a line each."""
    broken = []
    good = [model for model, same in by_model(runs, "strong").items() if share(same) >= LEAST_SHARE]
    if len(good) < LEAST_MODELS:
        broken.append(f"strong: {len(good)} models reach {LEAST_SHARE:.0%} of the oracle's R²_zero, not {LEAST_MODELS}")
    models = by_model(runs, "interaction")
    if not any(all(run.test.z > 3 for run in same) for same in models.values()):
        broken.append("interaction: no model finds it")
    trees = [share(same) for model, same in models.items() if model.split()[0] in TREES]
    if trees and max(trees) < LEAST_INTERACTION:
        broken.append(f"interaction: trees find {max(trees):.0%} of the oracle's R²_zero, not {LEAST_INTERACTION:.0%}")
    broken += [
        f"interaction, seed {run.seed}: ridge is {run.test.z:+.1f} SE from 0"
        for run in models.get("ridge", [])
        if abs(run.test.z) > 3
    ]
    return broken


def stocks_table(rows: pd.DataFrame) -> str:
    """A row for each model: test R²_zero and IC of each stock, means over seeds; and how many runs have which skill."""
    lines = []
    rows = rows.fillna({"stock": "pool"})
    stocks = sorted(rows["stock"].unique(), key=lambda stock: (stock == "pool", stock))
    for model, of_model in rows.groupby("model", sort=False):
        means = of_model.groupby("stock")[["test_r2_zero", "test_ic"]].mean()
        shown = {
            stock: f"{r2:+.2%}<br>{'–' if math.isnan(ic) else f'{ic:+.3f}'}"  # no IC: the forecasts are all the same
            for stock, r2, ic in means.itertuples()
        }
        cells = [shown.get(stock, "") for stock in stocks]
        skills = Counter(of_model["skill"])
        lines.append((f"`{model}`", *cells, "<br>".join(f"{n} {skill}" for skill, n in skills.most_common())))
    return table(("R²_zero, IC", *stocks, "skill"), lines)


def defaults_table(rows: pd.DataFrame) -> str:
    """A row for each stock, from the summary of its sweep."""
    lines = [
        (
            row["stock"],
            row["epochs"],
            *(f"{row[name]:+.4f}" for name in ("val_r2", "test_r2_zero")),
            row["best_baseline"],
            "yes" if row["beats_baseline"] else "no",
            f"{row['dm_p_holm']:.4g}",
            row["skill"],
        )
        for row in rows.sort_values("stock").to_dict("records")
    ]
    header = ("stock", "epochs", "val_r2", "test_r2_zero", "best_baseline", "beats_baseline", "dm_p_holm", "skill")
    return table([f"`{name}`" for name in header], lines)


def rates_table(rows: pd.DataFrame) -> str:
    """A row for each model: the mean validation R² by learning rate, and of how many runs the skill is worse."""
    lines = []
    for model, of_model in rows.groupby("model", sort=False):
        by_rate = of_model.groupby("trainer.lr")
        found = zip(by_rate["val_r2"].mean(), by_rate["skill"].agg(lambda skill: (skill == "worse").sum()), strict=True)
        lines.append((f"`{model}`", *(f"{mean:+.2%}, {worse} worse" for mean, worse in found)))
    return table(("validation R²", *(f"{rate:g}" for rate in sorted(rows["trainer.lr"].unique()))), lines)


def rate_faults(rows: pd.DataFrame) -> list[str]:
    """The models whose default is not the learning rate that validation chooses."""
    broken = []
    for model, means in rows.groupby(["model", "trainer.lr"])["val_r2"].mean().groupby("model"):
        trainer = compose.compose(f"model={model}").trainer
        best = means[means > means.max() - trainer.min_delta].index.get_level_values("trainer.lr").max()
        if best != trainer.lr:
            broken.append(f"{model}: validation chooses the learning rate {best:g}, the default is {trainer.lr:g}")
    return broken


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweeps that are missing, print and write the table; 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=SWEEPS)
    parser.add_argument("bars", nargs="?", type=Path, help="stocks, defaults, rates: the folder with the CSV files")
    parser.add_argument("--folder", type=Path, default=ROOT / "multirun" / "model_zoo")
    parser.add_argument("--write", action="store_true", help="write the table into its README")
    asked = parser.parse_args(arguments)
    if asked.what != "simulated" and asked.bars is None:
        parser.error(f"{asked.what}: name the folder that holds AAPL.csv and the others")
    folder, sweeps = asked.folder.absolute(), SWEEPS[asked.what]
    bars = [f"data.dir={asked.bars.absolute()}"] if asked.bars else []
    for name, overrides in sweeps.items():
        sweep(folder / name, [*overrides, *bars])
    found, broken = _results(asked.what, [folder / name for name in sweeps])
    print("\n".join(["", found, *broken]))
    if asked.write and asked.what in READMES:
        write_table(READMES[asked.what], asked.what, found)
    return 1 if broken else 0


def _results(what: str, folders: Sequence[Path]) -> tuple[str, list[str]]:
    """The table of these sweeps, and the claims that do not hold."""
    if what == "simulated":
        runs = chosen(Run.of(path.parent) for folder in folders for path in folder.glob("*/metrics.json"))
        return found_table(runs), faults(runs)
    rows = pd.concat([pd.read_csv(folder / "summary.csv") for folder in folders])
    if what == "rates":
        return rates_table(rows), rate_faults(rows)
    return (stocks_table if what == "stocks" else defaults_table)(rows), []


if __name__ == "__main__":
    sys.exit(main())
