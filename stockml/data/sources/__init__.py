"""The register of data sources. Importing it imports settings only.

A package adds a source with an entry point in the group `stockml.sources`, whose name is the source's name and whose
value is a `Source`:

    [project.entry-points."stockml.sources"]
    my_source = "my_package:SOURCE"

`data=my_source` then works without a file in `conf/data`. The source's own settings take the defaults of its dataclass,
and the settings of `BarsConfig` and `DataConfig` take those of `conf/base`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from stockml.config import entry_points
from stockml.config.schema import bounded
from stockml.data.settings import BarsConfig, DataConfig
from stockml.data.sources.csv import CsvConfig
from stockml.data.sources.npz import NpzConfig
from stockml.data.sources.simulated import SimulatedConfig
from stockml.data.sources.yahoo import YahooConfig

__all__ = [
    "BUILT_IN",
    "ENTRY_POINTS",
    "BarsConfig",
    "DataConfig",
    "Source",
    "bounded",
    "modules",
    "names",
    "settings",
    "source",
]

ENTRY_POINTS = "stockml.sources"


@dataclass(frozen=True)
class Source:
    """A data source: its settings, and the functions that read it, each named as `module:function`.

    A source of dated daily bars has settings derived from `BarsConfig`. Any other source provides windowed arrays.
    """

    config: type[DataConfig]
    load: str
    """`(config) -> Bars` of the config's stock; for windowed arrays `(config) -> (Panel, samples before the test)`."""
    content: str | None = None
    """`(config) -> str` that differs when the bars differ; None: a hash of the loaded bars."""
    find_stocks: str | None = None
    """`(config) -> [(ticker, its settings), …]` for `data.tickers=all`; needed if `config.can_find_stocks` is set."""
    why_no_bars: str | None = None
    """`(config) -> str`: why a stock that `find_stocks` found is none after all, where its bars cannot be loaded; empty
    where it is one. Such stocks are left out by name."""
    load_many: str | None = None
    """`(configs) -> iterator of functions () -> Bars`, for a source with many stocks in one file; None: `load` each."""
    load_columns: str | None = None
    """`(config, columns) -> Bars` with these columns alone, `close` or not; None: `load` with them as features."""
    columns: str | None = None
    """`(config) -> (names, names)`: the further columns of the stock's table that are numbers, and the others."""
    sample_shape: str | None = None
    """Windowed arrays: `(config) -> (T, F)` without loading them; None: they are loaded."""

    def __post_init__(self) -> None:
        if not (isinstance(self.config, type) and issubclass(self.config, DataConfig)):
            raise TypeError("config must be a dataclass derived from BarsConfig or DataConfig")
        if not dataclasses.is_dataclass(self.config):
            raise TypeError(f"{self.config.__name__} must be a dataclass")
        if issubclass(self.config, BarsConfig) and self.config.can_find_stocks and self.find_stocks is None:
            raise TypeError(f"{self.config.__name__}.can_find_stocks is set, but find_stocks is None")

    @property
    def is_dated(self) -> bool:
        """Whether it provides dated daily bars, and not windowed arrays."""
        return issubclass(self.config, BarsConfig)

    def modules(self) -> set[str]:
        """The modules of its functions."""
        functions = (
            self.load,
            self.content,
            self.find_stocks,
            self.why_no_bars,
            self.load_many,
            self.load_columns,
            self.columns,
            self.sample_shape,
        )
        return {function.partition(":")[0] for function in functions if function}


_CSV = "stockml.data.sources.csv.tables"
_YAHOO = "stockml.data.sources.yahoo.downloads"
_SIMULATED = "stockml.data.sources.simulated.simulator"
_NPZ = "stockml.data.sources.npz.arrays"

BUILT_IN = {
    "simulated": Source(SimulatedConfig, f"{_SIMULATED}:load", f"{_SIMULATED}:content"),
    "csv": Source(
        CsvConfig,
        f"{_CSV}:load",
        f"{_CSV}:content",
        "stockml.data.sources.csv.pool:find_stocks",
        "stockml.data.sources.csv.pool:why_no_bars",
        f"{_CSV}:load_many",
        f"{_CSV}:load_columns",
        f"{_CSV}:columns",
    ),
    "yahoo": Source(YahooConfig, f"{_YAHOO}:load", f"{_YAHOO}:content"),
    "npz": Source(NpzConfig, f"{_NPZ}:load", sample_shape=f"{_NPZ}:sample_shape"),
}


def names() -> list[str]:
    """Every source, built in or installed."""
    return [*BUILT_IN, *sorted(entry_points.names(ENTRY_POINTS) - set(BUILT_IN))]


def source(name: str) -> Source | None:
    """The source of that name, None where there is none. Raises UserError where a package's entry point is broken."""
    return BUILT_IN.get(name) or entry_points.find(ENTRY_POINTS, name, Source, "data")


def settings(name: object) -> dict[str, type[DataConfig]]:
    """The settings dataclass of each built-in source, and of the installed source `name`. Raises as `source`."""
    found = source(name) if isinstance(name, str) else None
    return {built_in: known.config for built_in, known in BUILT_IN.items()} | (
        {str(name): found.config} if found else {}
    )


def modules(name: str) -> set[str]:
    """The modules that read a built-in source; none of an installed one, whose code runs in the jobs only."""
    return BUILT_IN[name].modules() if name in BUILT_IN else set()
