"""Calls the functions of the source that a config names, and checks what they return."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from stockml.data import sources
from stockml.data.bars import Bars
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.panel import Panel
    from stockml.data.settings import BarsConfig


def load_bars(config: Config) -> Bars:
    """The daily bars of the config's stock. Raises UserError."""
    return _checked(_call(config, "load", config), config)


def load_windows(config: Config) -> tuple[Panel, int]:
    """The panel of windowed arrays, and how many of its samples come before the test. Raises UserError."""
    return cast("tuple[Panel, int]", _call(config, "load", config))


def sample_shape(config: Config) -> tuple[int, int]:
    """Days and features (T, F) of a windowed array's samples. Raises UserError."""
    if _source(config).sample_shape is None:
        window, width = load_windows(config)[0].values.shape[1:]
        return window, width
    return cast("tuple[int, int]", _call(config, "sample_shape", config))


def content(config: Config) -> str:
    """A text that differs when the bars of the config's stock differ. Raises UserError."""
    if _source(config).content is not None:
        return str(_call(config, "content", config))
    bars = load_bars(config)
    names = sorted(bars.columns)
    digest = hashlib.sha256(repr((bars.ticker, bars.origin, names)).encode())
    for array in (bars.dates.astype(np.int64), *(bars.columns[name] for name in names)):
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return f"{config.data} {digest.hexdigest()}"


def find_stocks(config: Config) -> Sequence[tuple[str, BarsConfig]]:
    """Every stock that the source has, with the settings that load it. Raises UserError."""
    return cast("Sequence[tuple[str, BarsConfig]]", _call(config, "find_stocks", config))


def loaders(configs: Sequence[Config]) -> Iterator[Callable[[], Bars]]:
    """A function for each config that loads the bars of its stock."""
    if _source(configs[0]).load_many is None:
        yield from (functools.partial(load_bars, config) for config in configs)
        return
    each = _call(configs[0], "load_many", configs)
    for config, load in zip(configs, each, strict=True):
        yield functools.partial(_load_with, load, config)


def _load_with(load: Callable[[], Bars], config: Config) -> Bars:
    with _user_errors(config, "load_many"):
        bars = load()
    return _checked(bars, config)


def _source(config: Config) -> sources.Source:
    found = sources.source(config.data.source)
    if found is None:
        raise UserError(
            f"data.source={config.data.source}: is not installed here; available: {', '.join(sources.names())}"
        )
    return found


def _call(config: Config, function: str, argument: Any) -> Any:
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
        return called(argument)


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


def _checked(bars: Bars, config: Config) -> Bars:
    """The bars; UserError where an installed source returned something that cannot be used."""
    name = config.data.source
    if name not in sources.BUILT_IN and (fault := _fault(bars, config)):
        raise UserError(f"data={name}: the installed source returned {fault} for {config.stock.ticker}")
    return bars


def _fault(bars: object, config: Config) -> str:
    """What is wrong with bars; an empty text where nothing is."""
    if not isinstance(bars, Bars):
        return f"a {type(bars).__name__} instead of stockml.data.bars.Bars"
    wanted = dict.fromkeys([*config.stock.features, "close"])
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
        low = values < 0 if column == "volume" else values <= 0
        if column in wanted and (unusable := ~np.isfinite(values) | low).any():
            row = int(unusable.argmax())
            return f"{column} {values[row]:g} on {bars.dates[row]}, which cannot be used,"
    return ""
