"""Calls the functions of the source that a config names, and checks what they return."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from stockml.config.values import undecoded
from stockml.data import placebo, sources, spec
from stockml.data.bars import COLUMNS, Bars, MissingColumnsError
from stockml.data.context import joined, of_context, reading_only
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.panel import Panel
    from stockml.data.settings import BarsConfig


def load_bars(config: Config) -> Bars:
    """The daily bars of the config's stock, with the columns of its context. Raises UserError."""
    others = _context(config)
    with _says_what_reads_them(config):
        bars = _call(config, "load", config)
    return joined(_or_copy(_checked(bars, config), config), others, config.data)


def with_context(config: Config, bars: Bars) -> Bars:
    """The bars with the columns of other tickers that the config reads. Raises UserError."""
    return joined(bars, _context(config), config.data)


def load_columns(config: Config, columns: Sequence[str]) -> Bars:
    """The daily bars of the config's stock, with these columns of its own. Raises UserError."""
    needed = columns if config.data.placebo is None else placebo.columns_needed(columns)
    if _source(config).load_columns is not None:
        bars = cast("Bars", _call(config, "load_columns", config, needed))
    else:
        config = reading_only(config, needed)
        bars = _checked(_call(config, "load", config), config)
    bars = _or_copy(_marked(bars, config), config)
    return dataclasses.replace(bars, columns={name: bars.columns[name] for name in columns})


def further_columns(config: Config) -> tuple[list[str], list[str]]:
    """The columns of the stock's table that are numbers and not those of every bar; and those that are no numbers.

    None of a source whose columns are not known. Raises UserError.
    """
    if _source(config).columns is None:
        return [], []
    return cast("tuple[list[str], list[str]]", _call(config, "columns", config))


def load_windows(config: Config) -> tuple[Panel, int]:
    """The panel of windowed arrays, and how many of its samples come before the test. Raises UserError."""
    panel, before_test = cast("tuple[Panel, int]", _call(config, "load", config))
    if config.data.placebo is not None:
        panel = placebo.copy_of_windows(panel, before_test, config.data.placebo)
    return panel, before_test


def sample_shape(config: Config) -> tuple[int, int]:
    """Days and features (T, F) of a windowed array's samples. Raises UserError."""
    if _source(config).sample_shape is None:
        window, width = load_windows(config)[0].values.shape[1:]
        return window, width
    return cast("tuple[int, int]", _call(config, "sample_shape", config))


def content(config: Config) -> str:
    """A text that differs when the bars of the config's stock differ, or those of its context. Raises UserError."""
    return contents([config])[0]


def contents(configs: Sequence[Config]) -> list[str]:
    """The same of several stocks, which have the same context; of one that may be left out, its fault if it has one."""
    others = [_digest(bars) for bars in _context(configs[0]).values()]
    return [" ".join([_own_content_or_fault(config), *others]) for config in configs]


def _own_content_or_fault(config: Config) -> str:
    try:
        return _own_content(config)
    except UserError as error:
        if getattr(config.data, "on_bad_stock", "error") == "error":
            raise
        return str(error)


def _own_content(config: Config) -> str:
    if _source(config).content is not None:
        copy = "" if config.data.placebo is None else f" placebo {config.data.placebo}"
        return f"{_call(config, 'content', config)}{copy}"
    return f"{config.data} {_digest(_checked(_call(config, 'load', config), config))}"


def _digest(bars: Bars) -> str:
    names = sorted(bars.columns)
    digest = hashlib.sha256(repr((bars.ticker, bars.origin, names)).encode())
    for array in (bars.dates.astype(np.int64), *(bars.columns[name] for name in names)):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _context(config: Config) -> dict[str, Bars]:
    """The bars of the other tickers whose columns are read. Raises UserError."""
    found = {}
    for ticker, columns in spec.context_read(config).items():
        other = of_context(config, ticker)
        try:
            found[ticker] = load_columns(other, columns)
        except UserError as error:
            own_path = getattr(config.data, "context_path", None) is not None
            lines = [re.sub(r"\bdata\.(dir|path)=", "data.context_path=", x) if own_path else x for x in error.lines]
            raise UserError(*(f"data.context: {ticker}: {line}" for line in lines)) from error
    return found


def find_stocks(config: Config) -> Sequence[tuple[str, BarsConfig]]:
    """Every stock that the source has, with the settings that load it. Raises UserError."""
    found = cast("Sequence[tuple[str, BarsConfig]]", _call(config, "find_stocks", config))
    if odd := [shown for ticker, _ in found if (shown := undecoded(ticker))]:
        raise UserError(*(f"{shown}: a file's name holds bytes that are not UTF-8; rename the file" for shown in odd))
    return found


def why_no_bars(config: Config) -> str:
    """Why a stock whose bars cannot be loaded is none at all, as a phrase; empty where it may be one."""
    return "" if _source(config).why_no_bars is None else str(_call(config, "why_no_bars", config))


def loaders(configs: Sequence[Config]) -> Iterator[Callable[[], Bars]]:
    """A function for each config that loads the bars of its stock; their context is read once."""
    others = _context(configs[0])
    name = "load" if _source(configs[0]).load_many is None else "load_many"
    if name == "load":
        each: Iterable[Callable[[], Bars]] = (functools.partial(_call, one, name, one) for one in configs)
    else:
        each = _call(configs[0], name, configs)
    for config, load in zip(configs, each, strict=True):
        yield functools.partial(_load_with, load, config, others)


def _load_with(load: Callable[[], Bars], config: Config, others: Mapping[str, Bars]) -> Bars:
    with _user_errors(config, "load_many"), _says_what_reads_them(config):
        bars = load()
    return joined(_or_copy(_checked(bars, config), config), others, config.data)


def _or_copy(bars: Bars, config: Config) -> Bars:
    """The bars, or the placebo copy of them that the config names."""
    data = cast("BarsConfig", config.data)
    return bars if data.placebo is None else placebo.copy_of_bars(bars, data)


def _source(config: Config) -> sources.Source:
    found = sources.source(config.data.source)
    if found is None:
        raise UserError(
            f"data.source={config.data.source}: is not installed here; available: {', '.join(sources.names())}"
        )
    return found


def _call(config: Config, function: str, *arguments: Any) -> Any:
    """The result of one of the source's functions, by its field in `Source`. Raises UserError."""
    named = str(getattr(_source(config), function))
    with _user_errors(config, function):
        module, _, name = named.partition(":")
        try:
            called = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            if config.data.source in sources.BUILT_IN:
                raise
            raise UserError(
                f"data={config.data.source}: the source's {function}={named!r} cannot be imported ({error})"
            ) from error
        return called(*arguments)


@contextlib.contextmanager
def _user_errors(config: Config, function: str) -> Iterator[None]:
    """Turn a file that cannot be read, and any exception in an installed source's code, into a UserError."""
    name = config.data.source
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
        if name in sources.BUILT_IN:
            raise
        raise UserError(
            f"data={name}: the installed source's {function} failed: {type(error).__name__}: {error}; "
            "HYDRA_FULL_ERROR=1 shows where"
        ) from error


@contextlib.contextmanager
def _says_what_reads_them(config: Config) -> Iterator[None]:
    """Where columns are missing, add which features read them."""
    try:
        yield
    except MissingColumnsError as error:
        raise UserError(f"{error}{spec.read_by(config, error.columns)}") from error


def _checked(bars: Bars, config: Config) -> Bars:
    """The bars; UserError where an installed source returned something that cannot be used."""
    name = config.data.source
    if name not in sources.BUILT_IN and (fault := _fault(bars, config)):
        raise UserError(f"data={name}: the installed source returned {fault} for {config.stock.ticker}")
    return _marked(bars, config)


def _marked(bars: Bars, config: Config) -> Bars:
    """The bars, which know whether the config can use prices of 0 or less."""
    any_price = cast("BarsConfig", config.data).takes_any_price
    return dataclasses.replace(bars, takes_any_price=True) if any_price else bars


def _fault(bars: object, config: Config) -> str:
    """What is wrong with bars; an empty text where nothing is."""
    if not isinstance(bars, Bars):
        return f"a {type(bars).__name__} instead of stockml.data.bars.Bars"
    wanted = spec.columns_read(config)
    if missing := [column for column in wanted if column not in bars.columns]:
        return f"bars without the columns {', '.join(missing)} (they have {', '.join(bars.columns) or 'none'})"
    if not len(bars.dates):
        return "no bars"
    if np.asarray(bars.dates).dtype.kind != "M" or (np.diff(bars.dates).astype(np.int64) <= 0).any():
        return "dates that are not datetime64 in increasing order, each once,"
    if bars.synthetic != config.data.synthetic:
        return f"bars with synthetic={bars.synthetic}, but its settings have synthetic={config.data.synthetic},"
    for column, values in bars.columns.items():
        if np.shape(values) != bars.dates.shape or np.asarray(values).dtype != np.float64:
            return f"a column {column} that is not one float64 number per date,"
        if column in COLUMNS:
            any_price = bars.below_zero and cast("BarsConfig", config.data).takes_any_price
            low = values < 0 if column == "volume" else (values <= 0) & (not any_price)
            unusable = ~np.isfinite(values) | low
        else:
            unusable = np.isinf(values)  # NaN: no value on that day
        if column in wanted and unusable.any():
            row = int(unusable.argmax())
            return f"{column} {values[row]:g} on {bars.dates[row]}, which cannot be used,"
    return ""
