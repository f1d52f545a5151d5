"""Whether a config asks for the experiment that an earlier run was, with the same data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.config.root import Config, identity
from stockml.config.values import differences, leaves, plain, show
from stockml.data import dataset, store
from stockml.data.settings import BarsConfig
from stockml.errors import UserError
from stockml.runs.folder import RunFolder
from stockml.runs.old_releases import hashed_facts_of_pool
from stockml.tasks import run_metadata

if TYPE_CHECKING:
    from stockml.data.dataset import Data


def changed_settings(folder: RunFolder, config: Config) -> dict[str, tuple[Any, Any]]:
    """The settings that differ between a run and a config: dotted key → the value of each, `ABSENT` if it has none.

    Settings that only say where or how fast a run goes do not count, nor where the weights lie that both start with:
    `changed_weights` compares these. A world size of "auto" is open. Raises UserError if the run's are unreadable.
    """
    asked = identity(config)
    incidental = dict(leaves(plain(config))).keys() - dict(leaves(asked)).keys()
    changed = differences(run_metadata.saved_values(folder), asked)
    if getattr(config.trainer, "world_size", None) == "auto":
        changed.pop("trainer.world_size", None)
    if changed.get("data.transform") == ("returns", "auto") and asked["data"]["target"] != "difference":
        del changed["data.transform"]  # auto is differences only for prices below 0, of which there are no returns
    if None not in changed.get(_INITIAL, (None,)):
        del changed[_INITIAL]
    return {key: pair for key, pair in changed.items() if key not in incidental}


_INITIAL = "trainer.init_from"
PLACES = ("data.dir", "data.path", "data.context_path")
"""Settings that only say where the data lie: the data themselves are compared."""


def changed_weights(folder: RunFolder, config: Config) -> str | None:
    """What has changed about the weights that the run in `folder` started with, as a phrase; None if nothing.

    Raises UserError where they are missing.
    """
    path = config.trainer.init_from
    then = None if path is None else folder.read_json("config.json").get("init_from")
    if path is None or then is None:
        return None
    from stockml.tasks import initial_weights  # which imports torch

    if initial_weights.content_hash(RunFolder.existing(Path(path))) == then["sha256"]:
        return None
    return f"the weights that it started with have changed ({_INITIAL}={path})"


@dataclass(frozen=True)
class DataState:
    """What must be the same about two runs' data for their numbers to be the same."""

    fingerprint: str
    origin: str
    mapped: bool
    """Whether the panel is read from its file as needed; its samples are then shuffled in another order."""
    large_bytes: int
    """Size of a panel that data.memory_limit applies to; 0 for one that is always held in memory."""
    gaps_in: str
    """What wide gaps between bars were counted in: it depends on whether the extra `calendar` is installed."""
    before: str = ""
    """Pools only: the fingerprint as releases up to 2026-11-29 made it."""

    @classmethod
    def of(cls, data: Data, folder: RunFolder | None = None) -> DataState:
        """The state of prepared data, which are compared with those of the run in `folder`."""
        panel = data.panel
        large = panel.windowed or panel.stocks is not None
        size = panel.values.nbytes if large else 0
        before = ""
        if panel.stored is not None and folder is not None:
            origins = folder.read_json("config.json")["data"].get("tickers", {})
            facts = hashed_facts_of_pool(panel.stored.facts, origins)
            before = panel.fingerprint(store.content_hash(panel.stored.heads, facts))
        return cls(data.fingerprint, panel.origin, panel.mapped, size, panel.gaps_in, before)

    def is_of(self, then: Mapping[str, Any]) -> bool:
        """Whether the data are those that a config.json describes."""
        return then["fingerprint"] in (self.fingerprint, self.before)


def with_its_bars(
    folder: RunFolder, config: Config, prepare: Callable[[Config], list[Data]]
) -> tuple[Config, list[Data]]:
    """The config without the bars that have come since the run in `folder` was made, and what `prepare` gives for it.

    Raises UserError.
    """
    data, last_day = prepare(config), folder.read_json("config.json")["data"].get("last_day")
    dates = data[0].panel.dates
    if last_day is None or dates is None or str(dates.max()) <= last_day or not isinstance(config.data, BarsConfig):
        return config, data
    bars = dataclasses.replace(config.data, end=np.datetime64(last_day).item())
    config = dataclasses.replace(config, data=bars)
    return config, prepare(config)


def changed_data(folder: RunFolder, now: DataState) -> str | None:
    """What has changed since the run in `folder` was made, as a phrase; None if nothing. Raises UserError."""
    limit = run_metadata.saved_values(folder)["data"]["memory_limit"]
    if now.mapped != (now.large_bytes > limit * 1e9):
        held, read = "held in memory", "read from its file"
        was, is_now = (held, read) if now.mapped else (read, held)
        return (
            f"the panel was {was} (data.memory_limit={show(limit)}), and is to be {is_now}, which shuffles the samples "
            "in another order"
        )
    then = folder.read_json("config.json")["data"]
    if not now.is_of(then):
        if now.gaps_in and now.gaps_in != (gaps_in := then.get("gaps_in", "weekdays")):
            return (
                f"data.max_gap counted the days of a gap in {gaps_in}, and is to count them in {now.gaps_in}, as it "
                "does with the extra calendar and not without; or the data have changed"
            )
        return f"the data have changed ({now.origin})"
    return None


def can_go_on(folder: RunFolder, config: Config, folds: Sequence[Data] | None = None) -> bool:
    """Whether a killed or interrupted attempt at this very run left something to go on from; `folds` are its data."""
    if folder.outcome() not in ("killed", "interrupted") or not folder.has_checkpoint:
        return False
    try:
        if changed_settings(folder, config).keys() - set(PLACES) or changed_weights(folder, config):
            return False
        return changed_data(folder, DataState.of(folds[0] if folds else dataset.prepare(config), folder)) is None
    except (UserError, KeyError, TypeError):
        return False
