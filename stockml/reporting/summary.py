"""The table of a sweep: a row for each job, read from the sweep folder; summary.csv and summary.md."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from stockml.config.printable import printable
from stockml.evaluation import joint_tests
from stockml.evaluation.metrics import ERROR, columns, metric, of_column
from stockml.evaluation.multiple_testing import LEVEL
from stockml.reporting import economic, joint_losses
from stockml.reporting.job_ranking import Row, best_on_validation
from stockml.reporting.job_rows import corrected, row_of
from stockml.reporting.text_tables import text_table
from stockml.runs.sweep_folder import SweepFolder

_TRAINING = ("epochs", "best_epoch")
_SIGNIFICANCE = ("r2_zero_low", "r2_zero_high", "dm_p", "dm_p_holm", "dm_p_bh", "skill")
_JOINT = ("spa_p", "in_mcs")
_LOOKS = ("look", "skill_corrected")
_OVERFITTING = ("val_net_sharpe", "deflated_sharpe", "pbo")
_ON_TERMINAL = (
    *("epochs", "best_baseline", "beats_baseline", "seconds", "dm_p_holm", "skill", "in_mcs", "net_sharpe"),
    *_LOOKS,
)
"""The columns that a terminal has room for, besides what was swept and the metrics."""


def _columns(rows: Sequence[Row]) -> list[str]:
    """The columns besides what was swept."""
    baseline = ("best_baseline", "beats_baseline", "seconds", "error", "synthetic")
    end = [*columns("summary last"), *_JOINT, *columns("summary end"), *economic.COLUMNS, *_LOOKS, *_OVERFITTING]
    return _without_foreign(rows, [*_TRAINING, *columns("summary"), *baseline, *_SIGNIFICANCE, *end])


def _without_foreign(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """The columns without the metrics of quantiles, or where those are all that the jobs have, without the others."""
    known = {name for row in rows for name, value in row.items() if value is not None}
    has_quantiles = any(of.of_quantiles for name in known if (of := of_column(name)))
    foreign = {name for name in names if (of := of_column(name)) and (of.of_quantiles or has_quantiles)}
    return [name for name in names if name in known or name not in foreign]


class SweepTable:
    """The rows of a sweep, kept while its jobs end: of each, only its own folder is read again."""

    def __init__(self, sweep: SweepFolder) -> None:
        """Read every job that is planned."""
        self._sweep = sweep
        self._rows: dict[str, Row] = {}
        self._due = 0.0
        self._add_planned()

    @property
    def rows(self) -> list[Row]:
        """A row for each job that is planned, begun or not, in the order of planning."""
        return corrected(list(self._rows.values()))

    def update(self, job: str) -> Row:
        """Read a job again; its row. The files are written too, where that is due.

        They are written at most once a second, and for at most a fiftieth of the time, however many jobs there are.
        """
        if job not in self._rows:
            self._add_planned()
        self._rows[job] = row_of(self._sweep.job(job), self._rows[job]["swept"])
        if (started := time.monotonic()) >= self._due:
            self.write()
            ended = time.monotonic()
            self._due = ended + max(_LEAST_PAUSE_SECONDS, _PAUSE_TO_WRITE * (ended - started))
        return self._rows[job]

    def write(self) -> list[Row]:
        """Write summary.csv and summary.md, once the jobs that have not ended are read again; the rows."""
        with self._sweep.changing():
            self._rows = {name: row for name, row in self._rows.items() if row["status"] in ("ok", "failed", "pruned")}
            self._add_planned()
            rows = self.rows
            _write_files(self._sweep, rows)
        return rows

    def _add_planned(self) -> None:
        planned = self._sweep.jobs()
        missing = {name: row_of(self._sweep.job(name), planned[name]) for name in planned.keys() - self._rows.keys()}
        self._rows = {name: missing[name] if name in missing else self._rows[name] for name in planned}


_LEAST_PAUSE_SECONDS = 1.0
_PAUSE_TO_WRITE = 49
"""The least pause between two writes, in multiples of the time that the first took."""


def write(sweep: SweepFolder, *, joint: bool = True) -> list[Row]:
    """Read every job, and write summary.csv and summary.md; the rows that are in them.

    With `joint`, the finished jobs are tested together on their daily losses, which takes seconds.
    """
    with sweep.changing():  # held while reading, too: no process writes what is older than what is there
        rows = read(sweep)
        if joint:
            done = {row["job"]: sweep.job(row["job"]) for row in rows if row["status"] == "ok"}
            best = best_on_validation(row for row in rows if row["status"] == "ok")
            begun = sum(row["status"] in ("ok", "pruned") for row in rows)
            found = joint_losses.columns(done, best["job"] if best else None, begun)
            rows = [{**row, **found.get(row["job"], {})} for row in rows]
        _write_files(sweep, rows)
    return rows


def _write_files(sweep: SweepFolder, rows: Sequence[Row]) -> None:
    header = ["job", "status", *_swept(rows), *_columns(rows)]
    sweep.write_csv("summary.csv", header, ([_cell(row.get(name)) for name in header] for row in rows))
    sweep.write_text("summary.md", printable(_markdown(rows)))


def read(sweep: SweepFolder) -> list[Row]:
    """A row for each job that is planned, begun or not, read from the job's folder."""
    return SweepTable(sweep).rows


def _swept(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row["swept"]))


def aggregates(rows: Sequence[Row]) -> list[str]:
    """The results of the finished jobs, a line each: means, then findings."""
    return [*means(rows), *findings(rows)]


def means(rows: Sequence[Row]) -> list[str]:
    """The means of the finished jobs over seeds, and over stocks; a line each."""
    return [f"{name}: {', '.join(f'{key} {text}' for key, text in cells.items())}" for name, cells in mean_cells(rows)]


def mean_cells(rows: Sequence[Row]) -> list[tuple[str, dict[str, str]]]:
    """The means of the finished jobs over seeds, and over stocks: what they are of, and the text of each column."""
    done = [row for row in rows if row["status"] == "ok"]
    found = []
    keys = _swept(rows)
    others = [key for key in keys if key not in ("seed", "stock", "stock.ticker")]
    if "seed" in keys:
        for name, group in _groups(done, ["stock", *others]):
            if len(group) > 1:
                found.append((f"{name}, {len(group)} seeds", _mean_texts(group, spread=True)))
    for name, group in _groups(done, others):
        per_stock = [_mean_row(rows) for _, rows in _groups(group, ["stock"])]
        if len(per_stock) > 1:
            found.append((f"{name}{', ' if name else ''}mean over {len(per_stock)} stocks", _mean_texts(per_stock)))
    return found


def findings(rows: Sequence[Row]) -> list[str]:
    """The best job, how many beat their best baseline, and how many significantly; a line each."""
    done = [row for row in rows if row["status"] == "ok"]
    lines = []
    if best := best_on_validation(done):
        of_mean, of_quantile = ["val_r2", "test_r2", "test_r2_zero", "test_r2_ct"], ["val_pinball", "test_pinball"]
        shown = of_quantile if best["val_r2"] is None else of_mean
        figures = ", ".join(f"{name} {_shown(name, best.get(name))}" for name in shown)
        lines.append(f"best on validation: {best['job']} ({figures})")
    opened = [row["beats_baseline"] for row in done if row["beats_baseline"] is not None]
    if opened:
        lines.append(f"better than their best baseline: {sum(opened)} of {len(opened)} jobs")
    if len(opened) < len(done):
        lines.append(f"sealed: the tests of {len(done) - len(opened)} of {len(done)} jobs, until task=unseal")
    if tested := [row for row in done if row.get("dm_p") is not None]:
        alone, by_holm, by_bh = (sum(row[name] < LEVEL for row in tested) for name in ("dm_p", "dm_p_holm", "dm_p_bh"))
        lines.append(
            f"significantly better than the drift and their best baseline (Diebold–Mariano, p < {LEVEL:g}): {alone} of "
            f"{len(tested)} jobs; corrected for the number of jobs {by_holm} (Holm), {by_bh} (Benjamini–Hochberg)"
        )
    return [*lines, *_joint_findings(done), *_overfitting(best)]


def _overfitting(best: Row | None) -> list[str]:
    """What the number of trials leaves of the best job, in a line; none where it is not valued."""
    if best is None or best.get("deflated_sharpe") is None:
        return []
    ratio = f"Sharpe ratio {best['val_net_sharpe']:+.2f} on validation after costs, {best['trials']:,} trials"
    pbo = "" if best["pbo"] is None else f"; probability of backtest overfitting {best['pbo']:.0%} (CSCV)"
    return [f"deflated Sharpe ratio of the best job {best['deflated_sharpe']:.2f} ({ratio}){pbo}"]


def _joint_findings(done: Sequence[Row]) -> list[str]:
    """What the tests of all jobs together found, a line each; what is missing for them."""
    if len(done) > 1 and not joint_tests.available():
        return [joint_tests.MISSING]
    p_values = list(dict.fromkeys(row["spa_p"] for row in done if row.get("spa_p") is not None))
    lines = [
        f"any job better than zero and the drift: p {', '.join(f'{p:.3f}' for p in p_values)} (Hansen's SPA"
        f"{', a p-value for each group of jobs with the same test days' if len(p_values) > 1 else ''})"
    ]
    compared = [row["in_mcs"] for row in done if row.get("in_mcs") is not None]
    of_set = f"cannot be told from the best job on the same targets: {sum(compared)} of {len(compared)} jobs"
    return [
        *(lines if p_values else []),
        *([f"{of_set} (model confidence set, {joint_tests.CONFIDENCE_OF_SET:.0%})"] if compared else []),
    ]


def _groups(rows: Iterable[Row], keys: Sequence[str]) -> list[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[", ".join(f"{row[key]}" if key == "stock" else f"{key} {row.get(key)}" for key in keys)].append(row)
    return list(groups.items())


def _mean_row(rows: Sequence[Row]) -> Row:
    return {name: _mean([row.get(name) for row in rows]) for name in columns("sweep means")}


def _mean_texts(rows: Sequence[Row], *, spread: bool = False) -> dict[str, str]:
    """The mean of each column, with the standard deviation if `spread`."""
    texts = {}
    for name in _without_foreign(rows, columns("sweep means")):
        values: list[Any] = [row.get(name) for row in rows]
        mean = _mean(values)
        deviation = f" ± {statistics.stdev(values):.2g}" if spread and mean is not None else ""
        texts[name] = f"{_shown(name, mean)}{deviation}"
    return texts


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return statistics.fmean(defined) if len(defined) == len(values) else None


def cells(rows: Sequence[Row], without: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """The table as text, without some columns: its header, and the cells of each row."""
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
        lines += ["", "Simulated data (synthetic: true), no market prices."]
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Row]) -> str:
    """The table and the aggregates, for a terminal."""
    on_terminal = {*_ON_TERMINAL, *columns("sweep terminal")}
    header = [name for name in _shown_columns(rows) if name in on_terminal or name not in _columns(rows)]
    numbers = (*_TRAINING, *columns("summary"), "seconds", "dm_p_holm")
    cells = ([_shown(name, row.get(name)) for name in header] for row in rows)
    left = [name for name in header if name not in numbers]
    return "\n".join([text_table(header, cells, left=left, width=1000, wrap=False), *aggregates(rows)])


def location_line(sweep: SweepFolder) -> str:
    """The line that names the files of the summary."""
    return f"summary     {sweep.path / 'summary.csv'}, and summary.md beside it"


def _shown_columns(rows: Sequence[Row]) -> list[str]:
    return ["job", "status", *(key for key in _swept(rows) if key != "stock"), *_columns(rows)]


def _shown(name: str, value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if name == "seconds":
            return f"{value:.1f}"
        of = metric("r2_zero") if name in ("r2_zero_low", "r2_zero_high") else of_column(name)
        return f"{value:.4g}" if of is None or of.format is ERROR else of.format(value)
    return str(value)


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
