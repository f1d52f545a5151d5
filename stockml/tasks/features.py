"""task=features: a table of the config's features; with `export.features`, their values in a file."""

from __future__ import annotations

import dataclasses
import functools
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from stockml.config.values import worded
from stockml.data import dataset
from stockml.data.settings import BarsConfig
from stockml.data.spec import PanelSpec
from stockml.data.split import split
from stockml.errors import UserError
from stockml.evaluation import feature_table
from stockml.reporting import data_report, feature_tables, features_file, terminal
from stockml.tasks import NO_REQUEST, Request

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.dataset import Data
    from stockml.data.panel import Panel
    from stockml.evaluation.feature_table import FeatureTable


def run(config: Config, _request: Request = NO_REQUEST) -> None:
    """Print the table; write the file that `export.features` names. Raises UserError for faults of the data."""
    path = None if config.export.features is None else Path(config.export.features)
    if path is not None:
        features_file.check(path)
    if config.data.synthetic:
        print(*terminal.SYNTHETIC, sep="\n")
    panel, before_test, faults = _load(config)
    own = split(panel, config.data, before_test)
    if path is not None:  # before the values are scaled
        features_file.write(path, panel)
    train = None if panel.dates is None else [panel.date(own.train[0]), panel.date(own.train[-1])]
    folds = len(config.each_fold())
    data = dataset.scale(panel, own, functools.partial(dataset.fit_scaler, config))
    print(*data_report.lines([data], config), "", sep="\n")
    found = dataclasses.asdict(of(config, data))
    basis = worded(feature_tables.basis(found, train, folds=folds), panel.noun)
    print(feature_tables.text(found), *textwrap.wrap(basis, 110), sep="\n")
    if panel.kind != "level" and (warning := feature_tables.warning(found)):  # a level is like its own past
        print(*textwrap.wrap(f"warning     {warning}", 110), sep="\n")
    print(*(f"no run yet  {fault}" for fault in faults), sep="\n", end="\n" if faults else "")
    if path is not None:
        print(f"file        {path}: {len(panel.values):,} rows, {len(panel.features):,} features and the target")
        print("            unscaled; rows of train, validation and test; the last ones have no target yet")


def of(config: Config, data: Data) -> FeatureTable:
    """The table of the features of a config's data."""
    if not isinstance(config.data, BarsConfig):
        return feature_table.of(data, None)
    return feature_table.of(data, dataclasses.replace(PanelSpec.of(config).features, transform=data.panel.transform))


def _load(config: Config) -> tuple[Panel, int | None, tuple[str, ...]]:
    """The panel, the number of samples of arrays before the test, and why no run starts on missing values.

    Raises UserError for other faults.
    """
    try:
        return *dataset.load_panel(config), ()
    except UserError as error:
        if config.features.missing != "error" or not config.features.columns:
            raise
        dropping = dataclasses.replace(config, features=dataclasses.replace(config.features, missing="drop"))
        return *dataset.load_panel(dropping), error.lines
