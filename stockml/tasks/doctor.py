"""task=doctor: examine the config's daily bars for faults. Nothing is written."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from stockml.config.values import list_stocks
from stockml.data import calendar, doctor, doctor_prices, frequency, pooled, spec
from stockml.data.bars import COLUMNS, PRICES
from stockml.data.sources import loading, reading
from stockml.errors import RunError, UserError
from stockml.reporting import terminal, text_tables
from stockml.tasks import NO_REQUEST, Request

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.bars import Bars
    from stockml.data.doctor import Finding
    from stockml.data.doctor_prices import Days
    from stockml.data.settings import BarsConfig

_MOST_ROWS = 10  # per check


def run(config: Config, _request: Request = NO_REQUEST) -> None:
    """Print all findings. Raises UserError where bars cannot be read, RunError where there are errors."""
    if config.data.synthetic:
        print(*terminal.SYNTHETIC, sep="\n")
    if not cast("BarsConfig", config.data).pooled:
        bars, checks = _examine(config)
        if checks:
            errors = _counted(sum(checks.values()), "error")
            raise RunError(f"{bars.origin}: {errors}, with which no run starts: {', '.join(checks)}")
        return
    with reading.kept():
        _examine_pool(config)


def _examine_pool(config: Config) -> None:
    """Print the findings of each stock; a file of several is read once. Raises as `run`."""
    faulty = []
    every = pooled.each_stock(config)
    next(loading.loaders(every))  # reads the files of several stocks
    for one in every:
        try:
            faulty += [one.stock.ticker] if _examine(one)[1] else []
        except UserError as error:
            if getattr(config.data, "tickers", ()) == "all" and (why := loading.why_no_bars(one)):
                print(f"left out    {one.stock.ticker}: {why}")
                continue
            faulty.append(one.stock.ticker)
            print(*error.lines, sep="\n")
    if faulty:
        raise RunError(
            f"{len(faulty):,} of {list_stocks([one.stock.ticker for one in every])} have errors: {', '.join(faulty)}"
        )


def _examine(config: Config) -> tuple[Bars, Counter[str]]:
    """Print the findings in one stock's bars; the bars, and the number of errors of each check."""
    data = cast("BarsConfig", config.data)
    bars = _bars(config).between(data.start, data.end)
    first, last = bars.dates[[0, -1]].astype("datetime64[D]")
    print(f"data        {bars.ticker} from {bars.origin}")
    found = frequency.of(bars.dates)
    exchange = calendar.resolve(data.calendar, every_day=found.every_day)
    print(f"            {len(bars.dates):,} {found.name} bars, {first} to {last}: {', '.join(bars.columns)}")
    print("            the prices are those that a run uses: multiplied by Adj Close / Close where the data have it")
    if bars.synthetic:
        sessions: Days | None = calendar.weekdays_between(first, last)
        print("calendar    Monday to Friday, the simulator's trading days")
    elif (sessions := calendar.days_between(first, last, exchange)) is not None:
        print(f"calendar    {exchange}")
    else:
        gaps = f"only gaps of more than {doctor_prices.LONGEST_GAP_DAYS} days are reported"
        print(f"calendar    {exchange} is not available for these days, so {gaps}; {calendar.INSTALL}")
    findings = doctor.examine(bars, sessions, data.calendar)
    if findings:
        print(text_tables.finding_table(_rows(bars, findings)))
        remedies = {finding.check: finding.remedy for finding in findings}
        print("what to do", *(f"  {check}: {remedy}" for check, remedy in remedies.items()), sep="\n")
    errors = sum(finding.severity == "error" for finding in findings)
    print(f"found       {_counted(errors, 'error')}, {_counted(len(findings) - errors, 'warning')}", flush=True)
    return bars, Counter(finding.check for finding in findings if finding.severity == "error")


def _bars(config: Config) -> Bars:
    """The bars with all columns; if there are not all, with all prices or the close alone."""
    numbers, texts = loading.further_columns(config)
    further = numbers or [name for name in spec.columns_read(config) if name not in COLUMNS]
    notes = [f"not examined, since they hold no numbers: {', '.join(texts)}"] if texts else []
    problem = ""
    for columns in (COLUMNS, PRICES, ("close",)):
        try:
            loading.load_columns(config, columns)
        except UserError as error:
            problem = problem or f"not all columns can be examined: {error}"
        else:
            bars, faults = _with_further(config, columns, further)
            bars = loading.with_context(config, bars)
            break
    else:
        bars, faults = loading.load_bars(config), []
    notes += [*([problem] if problem else []), *faults]
    print(*notes, sep="\n", end="\n" if notes else "")
    return bars


def _with_further(config: Config, columns: Sequence[str], further: Sequence[str]) -> tuple[Bars, list[str]]:
    """The bars with these columns and the further ones that can be read; and why the others cannot."""
    with contextlib.suppress(UserError):
        return loading.load_columns(config, [*columns, *further]), []
    readable, faults = list(columns), []
    for name in further:
        try:
            loading.load_columns(config, [*columns, name])
        except UserError as error:
            faults.append(f"{name} cannot be examined: {error}")
        else:
            readable.append(name)
    return loading.load_columns(config, readable), faults


def _rows(bars: Bars, findings: list[Finding]) -> list[tuple[str, ...]]:
    """Severity, check, place, day and value of each finding; of many by one check the first, and how many more."""
    rows: list[tuple[str, ...]] = []
    for check, group in itertools.groupby(findings, key=lambda finding: finding.check):
        of_check = list(group)
        for finding in of_check[:_MOST_ROWS]:
            place = Path(bars.where(finding.row)).name if not bars.synthetic else "simulated"
            rows.append((finding.severity, check, place, str(finding.date), finding.value))
        if len(of_check) > _MOST_ROWS:
            rows.append(("", "", "", "", f"and {len(of_check) - _MOST_ROWS:,} more"))
    return rows


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
