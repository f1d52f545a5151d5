"""A row of a sweep's table: what is known of a job, read from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stockml.errors import UserError
from stockml.evaluation.looks import largest_p_value
from stockml.evaluation.metrics import SHORT_SPLITS, columns, deciding_loss
from stockml.evaluation.multiple_testing import benjamini_hochberg, holm
from stockml.reporting import economic
from stockml.reporting.job_ranking import Row
from stockml.reporting.predictions_file import read_columns
from stockml.runs.folder import RunFolder


def corrected(rows: list[Row]) -> list[Row]:
    """The rows, with p-values corrected for the number of jobs that were tested.

    Where jobs have different folds of a walk-forward, only those of the first have scores on validation: that of the
    others holds test days of the first.
    """
    folds = [fold for row in rows if isinstance(fold := row["swept"].get("data.fold"), int)]
    for row in rows:
        if folds and row["swept"].get("data.fold") != min(folds):
            row.update({name: None for name in row if name.startswith("val_")})
    tested = [row for row in rows if row.get("dm_p") is not None]
    p_values = [row["dm_p"] for row in tested]
    for one, by_holm, by_bh in zip(tested, holm(p_values), benjamini_hochberg(p_values), strict=True):
        one.update(dm_p_holm=by_holm, dm_p_bh=by_bh)
    return rows


def row_of(folder: RunFolder, swept: Mapping[str, Any]) -> Row:
    """The row of one job, as its folder has it."""
    row: Row = {"job": folder.path.name, "status": "waiting", "swept": dict(swept), **swept}
    try:
        if not (folder.path / "result.json").exists():
            return row
        result = folder.read_json("result.json")
        row.update(status=folder.status(), seconds=result.get("seconds"), error=result.get("error"))
        row["synthetic"] = result.get("synthetic")
        if row["status"] == "killed":
            row["error"] = f"process {result.get('pid')} ended without a message: killed, or out of memory"
        elif row["error"]:
            row["error"] = str(row["error"]).removeprefix(f"{folder.path}: ")
        if row["status"] == "ok":
            row.update(_scores(folder))
        elif row["status"] == "pruned":
            row["epochs"] = sum(1 for of in folder.histories() for _ in read_columns(folder, of)["epoch"])
    except (UserError, KeyError, TypeError) as error:
        row.update(status="failed", error=f"its files cannot be read: {error}")
    return row


def _scores(folder: RunFolder) -> Row:
    metrics, config = folder.read_json("metrics.json"), folder.read_json("config.json")["config"]
    if "decided_on" not in metrics and (folder.path / "folds.csv").exists():
        # Up to 2026-11-28 metrics.json had the validation of all folds together, whose days are mostly test days too.
        of_folds = read_columns(folder, "folds.csv")
        first = {name: of_folds.get(f"val_{name}", [""])[0] for name in metrics["validation"]}
        metrics["validation"] = {name: float(text) if text else None for name, text in first.items()}
    test, timing, best = metrics.get("test"), metrics["timing"], metrics["best_baseline"]
    places = ("summary", "summary last", "summary end", "sweep means")
    shown = {column for place in places for column in columns(place)}
    return {
        "stock": config["stock"]["ticker"],
        "epochs": timing["epochs"],
        "best_epoch": timing["best_epoch"],
        **{
            f"{short}_{name}": value
            for short, split in SHORT_SPLITS.items()
            for name, value in metrics.get(split, dict.fromkeys(metrics["validation"])).items()
            if f"{short}_{name}" in shown
        },
        "best_baseline": best,
        "beats_baseline": test and test[loss := deciding_loss(test)] < metrics["baselines"][best]["test"][loss],
        **_significance(metrics),
        **economic.columns(metrics),
    }


def _significance(metrics: Mapping[str, Any]) -> Row:
    """The interval of test_r2_zero, the p-value of beating every rival of the verdict, the skill, which look it was.

    That p-value is the largest one of the Diebold–Mariano tests (an intersection–union test, Berger 1982).
    """
    found = metrics.get("significance")
    if found is None:
        return {}
    low, high = found.get("r2_zero_interval") or (None, None)
    dm_p = largest_p_value(found, "diebold_mariano")
    looks = {"look": metrics.get("looks", {}).get("look"), "skill_corrected": metrics.get("looks", {}).get("skill")}
    return {"r2_zero_low": low, "r2_zero_high": high, "dm_p": dm_p, "skill": metrics["skill"], **looks}
