"""What models achieve on each set of features: on a pool of real stocks, and on a signal that is known.

    python tests/campaigns/feature_sets.py BARS             (a folder with AAPL.csv, …, XOM.csv and SP500.csv)

Each table comes from sweeps over sets, models and windows of 1 and 10 days, which are printed as commands; they are in
multirun/feature_sets (`--folder` names another place), and the same command continues them. `--write` writes the tables
into stockml/data/features/README.md.

`pool`: the eight tickers as one pool; of the two windows, the one with the lower validation loss. `signal`: one
simulated stock of 60,000 days with a strong signal, by the share of the R²_zero of the oracle, which knows the signal;
`ridge` with five seeds, the others with one, of ten epochs. The exit status is 1 unless ridge finds at least 75 % of
the signal on one of the sets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))  # a script finds its own folder alone

from tests.campaigns.model_zoo import sweep
from tests.markdown import ROOT, table, write_table

README = ROOT / "stockml/data/features/README.md"
TABLES = ("sets_pool", "sets_signal")
SETS, MODELS, LEAST_SHARE = ("bars", "alpha158", "momentum"), ("ridge", "mlp_flat", "gru"), 0.75
_EVERY = (f"features={','.join(SETS)}", "data.window=1,10")
_SIGNAL = ("data.signal=strong", "data.days=60000", "data.seed=${seed}")
_STEPS = ("trainer.batch_size=256", "trainer.epochs=10")
SWEEPS = {
    "pool": (*_EVERY, f"model={','.join(MODELS)}", "data=csv", "data.tickers=all"),
    "signal_ridge": (*_EVERY, "model=ridge", "seed=range(5)", *_SIGNAL),
    "signal_others": (*_EVERY, f"model={','.join(MODELS[1:])}", "seed=0", *_SIGNAL, *_STEPS),
}


def results(folder: Path) -> pd.DataFrame:
    """A row for each job of a finished sweep, the lowest validation loss first."""
    rows = []
    for path in folder.glob("*/metrics.json"):
        metrics = json.loads(path.read_text())
        config = json.loads((path.parent / "config.json").read_text())["config"]
        oracle = metrics.get("oracle") or {}
        rows.append(
            {
                "set": config["features"]["set"],
                "model": config["model"]["name"],
                "seed": config["seed"],
                "window": config["data"]["window"],
                "loss": metrics["validation_loss"],
                "r2_zero": metrics["test"]["r2_zero"],
                "daily_ic": metrics["test"].get("daily_ic"),
                "skill": metrics["skill"],
                "oracle": oracle["test"]["r2_zero"] if oracle else None,
            }
        )
    return pd.DataFrame(rows).sort_values("loss")


def shares(found: pd.DataFrame) -> pd.Series:
    """The share of the oracle's R²_zero by model, set and window, from means over seeds."""
    means = found.groupby(["model", "set", "window"])[["r2_zero", "oracle"]].mean()
    return means["r2_zero"] / means["oracle"]


def pool_rows(found: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """For each model: R²_zero, daily IC, window and skill on each set."""
    chosen = found.groupby(["set", "model"], as_index=False).first()
    by_cell = {(row["model"], row["set"]): row for row in chosen.to_dict("records")}
    for model in MODELS:
        cells = [by_cell[model, name] for name in SETS]
        yield (
            f"`{model}`",
            *(f"{c['r2_zero']:+.2%}<br>{c['daily_ic']:+.3f}<br>{c['window']} d, {c['skill']}" for c in cells),
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sweeps that are missing, print and write the tables; 1 where ridge finds too little of the signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bars", type=Path)
    parser.add_argument("--folder", type=Path, default=ROOT / "multirun" / "feature_sets")
    parser.add_argument("--write", action="store_true", help="write the tables into the README")
    asked = parser.parse_args(arguments)
    folder = asked.folder.absolute()
    for name, overrides in SWEEPS.items():
        sweep(folder / name, [*overrides, *([f"data.dir={asked.bars.absolute()}"] if name == "pool" else [])])
    share = shares(pd.concat([results(folder / name) for name in SWEEPS if name != "pool"]))
    texts = [
        (f"`{model}`", *(f"{share[model, name, 1]:.0%}, {share[model, name, 10]:.0%}" for name in SETS))
        for model in MODELS
    ]
    header = [f"`{name}`" for name in SETS]
    of_pool = pool_rows(results(folder / "pool"))
    tables = {
        "sets_pool": table(("R²_zero, daily IC, window and skill", *header), of_pool),
        "sets_signal": table(("share of the oracle's R²_zero; 1 day, 10 days", *header), texts),
    }
    print(*tables.values(), sep="\n\n")
    if asked.write:
        for name, text in tables.items():
            write_table(README, name, text)
    best = share["ridge"].max()
    print(f"ridge finds {best:.0%} of the signal on its best set; at least {LEAST_SHARE:.0%} are asked for")
    return 0 if best >= LEAST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
