"""What the jobs of a sweep share: the data that several of them train on are read once, and handed to each.

A job is forked with the arrays in its memory: nothing is copied. They are read-only, and the pages that a job writes to
all the same are its own: nothing reaches another job. A node of a Ray cluster gets them once.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stockml.config.root import Config
from stockml.data import dataset
from stockml.data.batches import Batches
from stockml.data.dataset import Data
from stockml.data.settings import BarsConfig
from stockml.data.sources import loading, reading
from stockml.evaluation import baselines
from stockml.processes import job_pool
from stockml.training import hardware

_MOST_BYTES = 2**28  # of all that is kept; what does not fit is read by each job itself
# An installed source's code runs in the jobs only, and a download would keep every job waiting.
_SOURCES = ("csv", "npz", "simulated")


class SharedData:
    """The data that `least` or more jobs are trained on; `configs` are those of all jobs that are known."""

    def __init__(self, configs: Sequence[Config | None], least: int = 2) -> None:
        self._least = least
        self._jobs = Counter(_key(config) for config in configs if config is not None)
        self._asked: Counter[Hashable] = Counter()
        self._kept: dict[Hashable, list[Data] | None] = {}

    def folds(self, config: Config, cores: int) -> list[Data] | None:
        """What `dataset.prepare_folds` gives for a job that keeps so many cores busy; None: it has to read them itself.

        The forecasts of the baselines are with them, where the job would compute the same.
        """
        if not _is_shared(config):
            return None
        key = _key(config)
        self._asked[key] += 1
        if key not in self._kept:
            if max(self._jobs[key], self._asked[key]) < self._least:
                return None
            self._kept[key] = self._read(config)
        found = self._kept[key]
        if self._asked[key] == self._jobs[key]:
            self._kept[key] = None
        if found is None or (cores == 1 and not (hardware.gpus() and config.hardware.device != "cpu")):
            return found
        return [dataclasses.replace(data, forecasts=None) for data in found]

    def _read(self, config: Config) -> list[Data] | None:
        """The data, read-only; None where they cannot be read, which a job itself reports, or are too large to keep."""
        with contextlib.suppress(Exception), hardware.restored():
            torch.set_num_threads(1)  # no thread of torch's may exist when a job is forked
            folds = [_with_forecasts(data, config) for data in dataset.prepare_folds(config)]
            return _read_only(folds) if self._fits(folds) else None
        return None

    def _fits(self, folds: list[Data]) -> bool:
        return sum(array.nbytes for array in _arrays([folds, *self._kept.values()])) <= _MOST_BYTES


@contextlib.contextmanager
def long_files(configs: Sequence[Config | None]) -> Iterator[None]:
    """While this is open, what jobs of different stocks find in one file is read here, once, before they are forked."""
    by_path: dict[str, dict[str, Config]] = {}
    for config in configs:
        if config is not None and _is_shared(config) and (path := getattr(config.data, "path", None)):
            by_path.setdefault(path, {}).setdefault(config.stock.ticker, config)
    with reading.kept():
        for stocks in by_path.values():
            if len(stocks) > 1:
                with contextlib.suppress(Exception):  # which the jobs report
                    next(loading.loaders([*stocks.values()]))
        yield


def _is_shared(config: Config) -> bool:
    """Whether the data are read here: pooled ones come from the panel store, those of ranks are read by each."""
    pooled = isinstance(config.data, BarsConfig) and config.data.pooled
    known = config.data.source in _SOURCES and config.trainer.name == "single"
    return job_pool.START_METHOD == "fork" and known and not pooled


def _key(config: Config) -> Hashable:
    """What the data and the baselines' forecasts depend on."""
    return config.stock, config.data, config.features, config.trainer.quantile, config.hardware.precision, config.test


def _read_only(folds: list[Data]) -> list[Data]:
    for array in _arrays(folds):
        array.flags.writeable = False
    return folds


def _with_forecasts(data: Data, config: Config) -> Data:
    if config.trainer.quantile is not None:
        return data
    dtype = torch.float64 if config.hardware.precision == "fp64" else torch.float32
    batches = Batches(data.panel, data.scaler, torch.device("cpu"), dtype)
    return dataclasses.replace(data, forecasts=baselines.forecasts(data, batches))


def _arrays(value: Any) -> Iterator[NDArray[Any]]:
    """Every array in dataclasses, mappings and sequences."""
    if isinstance(value, np.ndarray):
        yield value
    elif dataclasses.is_dataclass(value):
        yield from _arrays([getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _arrays(item)
