"""The lines that a run prints and keeps in train.log: data report, epochs, result table."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from stockml.config.values import list_stocks

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from stockml.data.dataset import Data
    from stockml.data.panel import Panel
    from stockml.training.interface import EpochStats

SYNTHETIC = (
    "SIMULATED DATA (synthetic: true): made up, never to be taken for the market. For real data:",
    "  python run.py data=csv data.dir=FOLDER stock=AAPL     daily bars, FOLDER/AAPL.csv",
    "  python run.py data=npz data.path=FILE.npz             arrays windowed elsewhere",
)


class RunLog:
    """Prints lines, if `verbose`, and keeps them with the time in a log file once there is one."""

    def __init__(self, *, verbose: bool = True) -> None:
        self._aloud = verbose
        self._log: TextIO | None = None
        self._waiting: list[str] = []
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def emit(self, *lines: str) -> None:
        """Print lines, if aloud, and keep them."""
        for line in lines if self._aloud else ():
            if self._progress is not None:
                self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
            else:
                print(line, flush=True)
        self.record(*lines)

    def record(self, *lines: str) -> None:
        """Keep lines without printing them."""
        self._waiting += [
            f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}" for text in lines for line in text.splitlines()
        ]
        if self._log is not None:
            with contextlib.suppress(OSError):  # a full disk fails a run where it matters, at its next checkpoint
                self._log.writelines(f"{line}\n" for line in self._waiting)
                self._log.flush()
            self._waiting.clear()

    @contextlib.contextmanager
    def writing_to(self, open_log: Callable[[], TextIO]) -> Iterator[None]:
        """Keep what has been said, and what will be, in the log; close it at the end."""
        with contextlib.suppress(OSError):  # as in `note`
            self._log = open_log()
        log = self._log
        try:
            self.record()
            yield
        finally:
            self._log = None
            with contextlib.suppress(OSError):
                if log is not None:
                    log.close()

    @contextlib.contextmanager
    def epochs(self, total: int, done: int) -> Iterator[None]:
        """While a model trains: a bar on a terminal, else `epoch` prints a line an epoch."""
        if not (self._aloud and sys.stdout.isatty()):
            yield
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(24), TextColumn("{task.description}"))
        with Progress(*columns, TimeRemainingColumn(), TextColumn("left")) as self._progress:
            self._task = self._progress.add_task("", total=total, completed=done)
            try:
                yield
            finally:
                self._progress.stop()
                self._progress = None

    def epoch(self, epoch: EpochStats, total: int) -> None:
        """Tell of a finished epoch."""
        losses = (
            f"train {epoch.train_loss:#.5g}  validation {epoch.validation_loss:#.5g}  best epoch {epoch.best_epoch}"
        )
        line = f"epoch {epoch.epoch}/{total}  {losses}  {epoch.seconds:.2f} s"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=epoch.epoch, description=losses)
            self.record(line)
        else:
            self.emit(line)


def data_report(folds: Sequence[Data]) -> list[str]:
    """What the data are, how they are split (into folds, where there are several), and what was left out."""
    data = folds[0]
    panel = data.panel
    rows = f"{len(panel.values):,} {'windows' if panel.windowed else 'rows'}"
    if panel.dates is not None:
        rows += f", {panel.days()}"
    lines = [
        f"data        {panel.ticker} from {panel.origin}",
        *(_stocks(panel)),
        *([f"read as     {panel.parsing_notes}"] if panel.parsing_notes else []),
        f"            {rows}; window {panel.window}; features {', '.join(panel.features)}",
        f"target      {_target(data)}",
    ]
    if len(folds) == 1:
        for name, part in data.split.by_name().items():
            span = f"  {' to '.join(data.span(part))}" if panel.dates is not None else ""
            lines.append(f"{name:<12}{len(part):>7,} samples{span}")
    else:
        lines += [f"fold {number:<7}{_fold(fold)}" for number, fold in enumerate(folds)]
    dropped = list(panel.dropped)
    if purged := sum(fold.split.purged for fold in folds):
        dropped.append(f"{purged} samples (purged: target ends after the next part has begun, or embargo)")
    lines.append(f"left out    {'; '.join(dropped) or 'nothing'}")
    if unknown := list(dict.fromkeys(ticker for fold in folds for ticker in fold.split.unknown)):
        lines.append(
            f"            {list_stocks(unknown)} (no train samples to be scaled by; data.scaler=global keeps them)"
        )
    if panel.dates is None:
        lines.append("            undated: samples are taken to be in order of time, and cannot be purged")
    if panel.data_warnings:
        warnings = ", ".join(panel.data_warnings)
        lines.append(f"doctor      warns of {warnings}; task=doctor, with the same data and stock, shows them")
    return lines


def _stocks(panel: Panel) -> list[str]:
    if panel.stocks is None:
        return []
    return [f"            {list_stocks(panel.stocks.tickers)}"]


def _fold(data: Data) -> str:
    parts = [f"{name} {len(rows):,} from {data.span(rows)[0]}" for name, rows in data.split.by_name().items()]
    return f"{', '.join(parts)} to {data.span(data.split.test)[1]}"


def _target(data: Data) -> str:
    panel, scaler = data.panel, data.scaler
    moments = f"train mean {scaler.target_mean:.4g}, standard deviation {scaler.target_std:.4g}"
    if panel.kind == "class":
        return f"a class, 0 or 1; {moments}"
    if panel.kind == "level":
        return f"a level, direction judged from {panel.last_name}; {moments}"
    ahead = f" {panel.horizon} day{'s' if panel.horizon > 1 else ''} ahead" if panel.horizon else ""
    return f"a return{ahead}; {moments}"


def result_table(evaluated: Mapping[str, Any]) -> str:
    """Model, oracle and baselines with their scores on validation and test, from what metrics.json says, as text."""
    metrics = ("mse", "mae", "rmse", "r2", "r2_zero", "hit_rate", "ic")
    best, oracle = evaluated["best_baseline"], evaluated.get("oracle")
    rows = {"model": evaluated, **({"oracle": oracle} if oracle else {}), **evaluated["baselines"]}
    table = _table("", "part", *metrics)
    for name, parts in rows.items():
        label = f"{name} *" if name == best else name
        for part in ("validation", "test"):
            if part in parts:
                table.add_row(label, part, *(figure(metric, parts[part][metric]) for metric in metrics))
                label = ""
    return f"{_text(table, left=2)}\n* the best baseline on validation"


def results(evaluated: Mapping[str, Any]) -> list[str]:
    """All that is told of the forecasts, from what metrics.json says: scores, significance, verdict."""
    return [result_table(evaluated), *_ranking(evaluated), *significance(evaluated)]


def _ranking(evaluated: Mapping[str, Any]) -> list[str]:
    """Of several stocks: how they are ranked against one another, as text."""
    if "daily_ic" not in evaluated["test"]:
        return []
    rows = {
        "model": evaluated,
        **({"oracle": evaluated["oracle"]} if evaluated.get("oracle") else {}),
        **evaluated["baselines"],
    }
    names = ("daily_ic", "icir", "daily_rank_ic", "rank_icir")
    table = _table("between stocks", "part", *names)
    for name, parts in rows.items():
        for part in ("validation", "test"):
            scores = parts.get(part, {})
            if any(scores.get(metric) is not None for metric in names):
                table.add_row(name, part, *(figure(metric, scores[metric]) for metric in names))
                name = ""
    return [_text(table, left=2)] if table.row_count else []


def stock_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The stocks of a pooled run by their scores on test, as text; of many the best and the worst."""
    names = ("test_n", "test_mse", "test_r2", "test_r2_zero", "test_hit_rate", "test_ic")
    ranked = sorted(rows, key=lambda row: -np.inf if row["test_r2_zero"] is None else -row["test_r2_zero"])
    table = _table("stock", *names)
    half = _MOST_STOCKS // 2
    shown = [*ranked[:half], None, *ranked[-half:]] if len(ranked) > _MOST_STOCKS else ranked
    for row in shown:
        cells = ["…"] * len(names) if row is None else [figure(n.removeprefix("test_"), row[n]) for n in names]
        table.add_row("…" if row is None else row["ticker"], *cells)
    return _text(table)


_MOST_STOCKS = 12


def fold_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The folds of a walk-forward run, as text; their days are in the data report."""
    names = ("epochs", "best_epoch", "test_n", "test_mse", "test_r2", "test_r2_zero", "test_hit_rate", "test_ic")
    table = _table("fold", *names)
    for row in rows:
        table.add_row(str(row["fold"]), *(figure(name.removeprefix("test_"), row[name]) for name in names))
    return _text(table)


def forecast_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Forecasts a row a day, as text."""
    table = _table(*header)
    for row in rows:
        table.add_row(
            *("–" if cell in (None, "") else f"{cell:+.6g}" if isinstance(cell, float) else cell for cell in row)
        )
    return _text(table, left=3)


def finding_table(rows: Sequence[Sequence[str]]) -> str:
    """What the data doctor found, a row each, as text."""
    table = _table("severity", "check", "place", "date", "value")
    for row in rows:
        table.add_row(*row)
    return _text(table, left=5, width=160)


def _table(*header: str) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table

    return Table(*header, box=SIMPLE, pad_edge=False, padding=(0, 1))


def _text(table: Table, left: int = 1, width: int = 110) -> str:
    """The table as lines, its columns but for the first ones set to the right."""
    from rich.console import Console

    for column in table.columns[left:]:
        column.justify = "right"
    text = io.StringIO()
    Console(file=text, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines() if line.strip())


def significance(evaluated: Mapping[str, Any]) -> list[str]:
    """How sure the result is, and the verdict: lines of at most 100 columns, from what metrics.json says."""
    from stockml.evaluation.verdict import percent

    found = evaluated["significance"]
    tested = [
        (f"better than {rival}?", [("Diebold–Mariano", of["diebold_mariano"]), ("Clark–West", of["clark_west"])])
        for rival, of in found["against"].items()
    ]
    tested.append(("right direction?", [("Pesaran–Timmermann", found["pesaran_timmermann"])]))
    width = max(len(question) for question, _ in tested)
    lines = [
        f"significance of {found['n']:,} test {found['unit']}; p is how often luck alone does as well",
        *(
            f"            {question:<{width}}  {'   '.join(f'{name} p {_p_value(of)}' for name, of in outcomes)}"
            for question, outcomes in tested
        ),
    ]
    identity, interval = found["r2_identity"], found["r2_zero_interval"]
    if interval is not None:
        low, high = interval
        ct = "" if found["r2_ct"] is None else f"   r2_ct {percent(found['r2_ct'])}"
        lines.append(
            f"            r2_zero {found['confidence']:.0%} sure between {percent(low)} and {percent(high)}{ct}"
        )
    if identity["r2"] is not None:
        correlation, spread, bias = identity["correlation"] or 0.0, identity["spread_ratio"], identity["bias_ratio"]
        parts = f"ρ² {correlation**2:.2%} − (s−ρ)² {(spread - correlation) ** 2:.2%} − (bias/σ)² {bias**2:.2%}"
        lines.append(f"            R² {percent(identity['r2'])} = {parts}")
    hang = " " * 12
    return [*lines, textwrap.fill(f"verdict     {evaluated['verdict']}", 100, subsequent_indent=hang)]


def _p_value(outcome: Mapping[str, float | None]) -> str:
    p = outcome["p_value"]
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def figure(metric: str, value: Any) -> str:
    """A metric as it is shown; – where it is undefined."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if metric in ("mse", "mae", "rmse"):
        return f"{value:#.4g}"
    return f"{value:.1%}" if metric == "hit_rate" else f"{value:+.4f}"


class SweepProgress:
    """One line a job that ends; on a terminal, a last line with how the sweep stands."""

    def __init__(self, total: int | None, done: int) -> None:
        self._total, self._done, self._failed, self._running = total, done, 0, 0
        self._started: float | None = None
        self._ended = 0
        self._best: tuple[float, str] | None = None
        self._live = sys.stdout.isatty()

    def started(self) -> None:
        """A job has started."""
        self._running += 1
        self._started = self._started or time.monotonic()
        self.tick()

    def ended(self, row: Mapping[str, Any]) -> None:
        """A job has ended, as its row of the summary says."""
        self._running -= 1
        self._ended += 1
        if row["status"] == "ok":
            self._done += 1
            score = row["val_r2"]  # comparable from stock to stock, as errors are not
            if score is not None and (self._best is None or score > self._best[0]):
                self._best = (score, str(row["job"]))
            epochs = "1 epoch" if row["epochs"] == 1 else f"{row['epochs']} epochs"
            figures = f"{epochs}, validation r2 {figure('r2', score)}"
        else:
            self._failed += 1
            figures = str(row.get("error") or "")
        seconds = f", {row['seconds']:.1f} s" if row.get("seconds") is not None else ""
        self._clear()
        print(f"{row['job']:<16} {row['status']:<7} {figures}{seconds}  |  {self._standing()}", flush=True)
        self.tick()

    def tick(self) -> None:
        """Time has passed."""
        if self._live:
            self._clear()
            print(self._standing()[: shutil.get_terminal_size().columns - 1], end="", flush=True)

    def ending(self) -> None:
        """The jobs that run are told to end, which takes them a moment."""
        self._clear()
        print(f"ending {self._running} job{'' if self._running == 1 else 's'} …", flush=True)

    def close(self) -> None:
        """No more jobs."""
        self._clear()

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="")

    def _standing(self) -> str:
        counts = ((self._done, "done"), (self._failed, "failed"), (self._running, "running"))
        parts = [f"{count} {what}" for count, what in counts if count]
        if self._total is not None:
            left = self._total - self._done - self._failed - self._running
            parts += [f"{left} left"] if left else []
            if self._started is not None and self._ended and left + self._running:
                seconds = (time.monotonic() - self._started) / self._ended * (left + self._running)
                parts.append(f"about {seconds:.0f} s to go")
        if self._best is not None:
            parts.append(f"best {self._best[1]}, r2 {self._best[0]:+.4f}")
        return ", ".join(parts)
