"""A sweep's table: a row a job, read from the sweep's folder alone, so that it can be drawn at any time."""

from __future__ import annotations

import io
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stockml.errors import UserError
from stockml.evaluation.multiple_testing import LEVEL, benjamini_hochberg, holm
from stockml.runs.folder import RunFolder
from stockml.runs.sweep_folder import SweepFolder

Row = dict[str, Any]

_FIGURES = ("epochs", "best_epoch", "val_mse", "val_r2", "test_mse", "test_mae", "test_r2", "test_r2_zero")
_SIGNIFICANCE = ("r2_zero_low", "r2_zero_high", "dm_p", "dm_p_holm", "dm_p_bh", "skill")
_COLUMNS = (*_FIGURES, "best_baseline", "beats_baseline", "seconds", "error", "synthetic", *_SIGNIFICANCE, "test_ic")
_HIDDEN = {*_COLUMNS} - {  # on a terminal
    "epochs",
    "val_r2",
    "test_mse",
    "test_r2_zero",
    "best_baseline",
    "beats_baseline",
    "seconds",
    "dm_p_holm",
    "skill",
}
_AVERAGED = ("val_mse", "test_mse", "test_mae", "test_r2", "test_r2_zero")


def write(sweep: SweepFolder, known: Mapping[str, Row] | None = None) -> list[Row]:
    """Write summary.csv and summary.md anew; the rows that are in them. `known` are those of jobs that have ended."""
    with sweep.changing():
        rows = read(sweep, known)
        header = ["job", "status", *_swept(rows), *_COLUMNS]
        sweep.write_csv("summary.csv", header, ([_cell(row.get(name)) for name in header] for row in rows))
        sweep.write_text("summary.md", _markdown(rows))
    return rows


def read(sweep: SweepFolder, known: Mapping[str, Row] | None = None) -> list[Row]:
    """A row a job that was planned, begun or not; those that are `known` are not read again."""
    found = known or {}
    rows = [found.get(name) or read_row(sweep.job(name), swept) for name, swept in sweep.jobs().items()]
    tested = [row for row in rows if row.get("dm_p") is not None]
    p_values = [row["dm_p"] for row in tested]
    for one, by_holm, by_bh in zip(tested, holm(p_values), benjamini_hochberg(p_values), strict=True):
        one.update(dm_p_holm=by_holm, dm_p_bh=by_bh)
    return rows


def read_row(folder: RunFolder, swept: Mapping[str, Any]) -> Row:
    """The row of one job, as its folder has it."""
    row: Row = {"job": folder.path.name, "status": "waiting", "swept": dict(swept), **swept}
    try:
        if not (folder.path / "result.json").exists():
            return row
        result = folder.read_json("result.json")
        row.update(status=folder.status(), seconds=result.get("seconds"), error=result.get("error"))
        row["synthetic"] = result.get("synthetic")
        if row["status"] == "killed":
            row["error"] = f"process {result.get('pid')} is gone without a word: killed, perhaps for want of memory"
        elif row["error"]:
            row["error"] = str(row["error"]).removeprefix(f"{folder.path}: ")
        if row["status"] == "ok":
            row.update(_scores(folder))
    except (UserError, KeyError, TypeError) as error:
        row.update(status="failed", error=f"what it left cannot be read: {error}")
    return row


def _scores(folder: RunFolder) -> Row:
    metrics, config = folder.read_json("metrics.json"), folder.read_json("config.json")["config"]
    validation, test, timing, best = (metrics[key] for key in ("validation", "test", "timing", "best_baseline"))
    return {
        "stock": config["stock"]["ticker"],
        "epochs": timing["epochs"],
        "best_epoch": timing["best_epoch"],
        **{f"val_{name}": validation[name] for name in ("mse", "r2")},
        **{f"test_{name}": test[name] for name in ("mse", "mae", "r2", "r2_zero", "ic")},
        "best_baseline": best,
        "beats_baseline": test["mse"] < metrics["baselines"][best]["test"]["mse"],
        **_significance(metrics),
    }


def _significance(metrics: Mapping[str, Any]) -> Row:
    """The interval of test_r2_zero; the p-value that zero and the best baseline are both beaten; the skill, in a word.

    That p-value is the larger of Diebold–Mariano's two, as luck must be ruled out against either (Berger 1982).
    """
    found = metrics.get("significance")
    if found is None:
        return {}
    p_values = [rival["diebold_mariano"]["p_value"] for rival in found["against"].values()]
    low, high = found["r2_zero_interval"] or (None, None)
    dm_p = None if None in p_values else max(p_values)
    return {"r2_zero_low": low, "r2_zero_high": high, "dm_p": dm_p, "skill": metrics["skill"]}


def _swept(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row["swept"]))


def aggregates(rows: Sequence[Row]) -> list[str]:
    """What the finished jobs come to, a line each."""
    return [*means(rows), *findings(rows)]


def means(rows: Sequence[Row]) -> list[str]:
    """The finished jobs' means over seeds, and over stocks; a line each."""
    done = [row for row in rows if row["status"] == "ok"]
    lines = []
    keys = _swept(rows)
    others = [key for key in keys if key not in ("seed", "stock", "stock.ticker")]
    if "seed" in keys:
        for name, group in _groups(done, ["stock", *others]):
            if len(group) > 1:
                lines.append(f"{name}, {len(group)} seeds: {_averages(group, spread=True)}")
    for name, group in _groups(done, others):
        per_stock = [_mean_row(rows) for _, rows in _groups(group, ["stock"])]
        if len(per_stock) > 1:
            lines.append(f"{name}{', ' if name else ''}mean over {len(per_stock)} stocks: {_averages(per_stock)}")
    return lines


def findings(rows: Sequence[Row]) -> list[str]:
    """The best job, how many beat their baseline, and how many by more than luck; a line each."""
    done = [row for row in rows if row["status"] == "ok"]
    lines = []
    scored = [row for row in done if row["val_r2"] is not None]
    if scored:
        best = max(scored, key=lambda row: float(row["val_r2"]))
        figures = ", ".join(f"{name} {_shown(name, best[name])}" for name in ("val_r2", "test_r2", "test_r2_zero"))
        lines.append(f"best on validation: {best['job']} ({figures})")
    if done:
        lines.append(f"beat their best baseline: {sum(row['beats_baseline'] for row in done)} of {len(done)} jobs")
    if tested := [row for row in done if row.get("dm_p") is not None]:
        alone, by_holm, by_bh = (sum(row[name] < LEVEL for row in tested) for name in ("dm_p", "dm_p_holm", "dm_p_bh"))
        lines.append(
            f"beat zero and their best baseline by more than luck (Diebold–Mariano, p < {LEVEL}): "
            f"{alone} of {len(tested)} jobs; corrected for so many jobs {by_holm} (Holm), {by_bh} (Benjamini–Hochberg)"
        )
    return lines


def _groups(rows: Iterable[Row], keys: Sequence[str]) -> list[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[", ".join(f"{row[key]}" if key == "stock" else f"{key} {row.get(key)}" for key in keys)].append(row)
    return list(groups.items())


def _mean_row(rows: Sequence[Row]) -> Row:
    return {name: _mean([row[name] for row in rows]) for name in _AVERAGED}


def _averages(rows: Sequence[Row], *, spread: bool = False) -> str:
    parts = []
    for name in _AVERAGED:
        values = [row[name] for row in rows]
        mean = _mean(values)
        deviation = f" ± {statistics.stdev(values):.2g}" if spread and mean is not None else ""
        parts.append(f"{name} {_shown(name, mean)}{deviation}")
    return ", ".join(parts)


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return statistics.fmean(defined) if len(defined) == len(values) else None


def cells(rows: Sequence[Row], without: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """The table as it is shown, some columns left out: its header, and the text of each row's cells."""
    header = [name for name in _shown_columns(rows) if name not in without]
    return header, [[_shown(name, row.get(name)) for name in header] for row in rows]


def _markdown(rows: Sequence[Row]) -> str:
    header, shown = cells(rows)
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for row in shown:
        escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in row)
        lines.append(f"| {' | '.join(escaped)} |")
    if found := aggregates(rows):
        lines += ["", *(f"- {line}" for line in found)]
    if any(row.get("synthetic") for row in rows):
        lines += ["", "Simulated data (synthetic: true): made up, never to be taken for the market."]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Row]) -> str:
    """The table and the aggregates, for a terminal."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    header = [name for name in _shown_columns(rows) if name not in _HIDDEN]
    drawn = Table(*header, box=SIMPLE, pad_edge=False, padding=(0, 1))
    for column, name in zip(drawn.columns, header, strict=True):
        column.justify = "right" if name in (*_FIGURES, "seconds", "dm_p_holm") else "left"
        column.no_wrap = True
    for row in rows:
        drawn.add_row(*(_shown(name, row.get(name)) for name in header))
    text = io.StringIO()
    Console(file=text, width=1000, color_system=None).print(drawn)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join([*filter(None, lines), *aggregates(rows)])


def whereabouts(sweep: SweepFolder) -> str:
    """Where the summary is, for a terminal."""
    return f"summary     {sweep.path / 'summary.csv'}, and summary.md beside it"


def _shown_columns(rows: Sequence[Row]) -> list[str]:
    return ["job", "status", *(key for key in _swept(rows) if key != "stock"), *_COLUMNS]


def _shown(name: str, value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if name == "seconds":
            return f"{value:.1f}"
        return f"{value:+.4f}" if "r2" in name or name == "test_ic" else f"{value:.4g}"
    return str(value)


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
