"""Earlier releases' run folders: the one place that knows how their files differ from those written today."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stockml.errors import UserError

FORMAT = 2
"""The format of config.json and metrics.json, which both state. Files without it have format 1: up to 2026-11-26."""


@dataclass(frozen=True)
class Added:
    """Settings that a release added to the config."""

    date: str
    feature: str
    """What they are for."""
    settings: Mapping[str, Any]
    """Dotted key → the value under which a run does what it did before the setting existed."""
    sources: tuple[str, ...] = ()
    """The data sources whose configs have these settings; empty: all."""


_BARS = ("simulated", "csv", "yahoo")

ADDED = (
    Added("2026-11-24", "sweeps, task=reproduce", {"run": None, "sweep.fail_fast": False}),
    Added(
        "2026-11-24",
        "walk-forward",
        {
            "data.split": "holdout",
            "data.folds": 5,
            "data.fold": None,
            "data.train_span": "expanding",
            "data.embargo": 0,
        },
        _BARS,
    ),
    Added("2026-11-24", "task=predict", {"export.onnx": False}),
    Added("2026-11-24", "days to come", {"data.calendar": "XNYS"}, _BARS),
    Added("2026-11-24", "task=audit", {"audit.plant": None}),
    Added("2026-11-24", "report pages", {"report": "auto"}),
    Added(
        "2026-11-24", "any CSV", {"data.path": None, "data.date_format": None, "data.on_bad_rows": "error"}, ("csv",)
    ),
    # Everything was held in memory, so no limit that a machine can reach.
    Added("2026-11-26", "large panels", {"data.memory_limit": 1e6, "data.panel_cache": "~/.cache/stockml/panels"}),
    Added("2026-11-26", "pooled panels", {"data.tickers": [], "data.scaler": "per_stock"}, _BARS),
    Added(
        "2026-11-26",
        "schedules of the learning rate",
        {"trainer.schedule": "constant", "trainer.warmup_epochs": 0.0, "trainer.plateau_patience": 2},
    ),
    Added("2026-11-26", "ensembles", {"trainer.ensemble": 1}),
    Added("2026-11-28", "horizon of arrays", {"data.horizon": 0}, ("npz",)),
    Added("2026-11-28", "gaps between bars", {"data.max_gap": None}, _BARS),
    Added("2026-11-28", "scalers of stocks with few samples", {"data.min_scaler_samples": 2}, _BARS),
    Added("2026-11-28", "volume adjusted for splits", {"data.adjust_volume": False}, ("csv",)),
    Added(
        "2026-11-28",
        "features",
        {"features.set": "bars", "features.bars": True, "features.columns": {}, "features.missing": "error"},
    ),
    Added("2026-11-28", "late columns", {"data.lag": {}}, _BARS),
    Added("2026-11-28", "other tickers' columns", {"data.context": [], "data.context_max_age": 5}, _BARS),
    Added("2026-11-28", "names of a file's columns", {"data.columns": {}, "data.context_path": None}, ("csv",)),
    Added("2026-11-28", "excess returns", {"data.benchmark": None}, _BARS),
    Added("2026-11-28", "task=features", {"export.features": None}),
    Added("2026-11-28", "forecasts of quantiles", {"trainer.quantile": None}),
    Added("2026-11-28", "weights to start with", {"trainer.init_from": None, "trainer.warm_start": False}),
    Added("2026-11-28", "task=update", {"update.fresh": False, "update.of": None}),
    Added("2026-11-28", "train and validation of a fixed length", {"data.train_days": None}, _BARS),
    Added("2026-11-28", "intervals", {"intervals": []}),
    Added("2026-11-28", "targets as ranks", {"data.target_normalize": "none"}, _BARS),
    Added(
        "2026-11-28",
        "task=explain",
        {"explain.split": "validation", "explain.repeats": 5, "explain.samples": 20_000},
    ),
    Added("2026-11-28", "task=combine", {"runs": [], "combine.weights": "mean", "combine.best": None}),
    Added(
        "2026-11-29",
        "economic value",
        {
            "portfolio.cost_bps": 5.0,
            "portfolio.rule": "none",
            "portfolio.quantile": 0.2,
            "portfolio.volatility_target": None,
            "portfolio.delay": 0,
        },
    ),
    Added("2026-11-29", "a ledger of looks", {"looks.record": False, "looks.path": None}),
    Added("2026-11-29", "a sealed test", {"test": "open", "unseal.best": None}),
    Added("2026-11-29", "task=placebo", {"data.placebo": None, "placebo.copies": 20}),
    Added("2026-11-29", "pools with odd files", {"data.on_bad_stock": "error"}, _BARS),
    Added("2026-11-29", "files without names of columns", {"data.header": True}, ("csv",)),
    Added("2026-11-29", "intraday bars", {"data.across_sessions": "all"}, _BARS),
    Added("2026-11-29", "time zones", {"data.timezone": None}, ("csv",)),
)
"""Oldest first. A release that adds a setting appends an entry."""

CHANGED: Mapping[str, tuple[Any, Any]] = {
    "data.signal": ("null", None),  # 2026-11-24: the text became null itself
}
"""Dotted key → a value that is no longer allowed, and the one that means the same."""

GONE: Mapping[str, str] = {
    "tracker.csv": "2026-11-28: history.csv in each run folder has these figures",
}
"""Dotted key of a setting that was removed → since when, and why a run does without it."""


def upgrade_config(values: Mapping[str, Any]) -> dict[str, Any]:
    """A saved config of any release, as plain values with today's keys; `values` stay as they are.

    Missing settings get the value of their old meaning, removed ones are left out. Any other key stays: the check of
    the config names the ones that no release had.
    """
    upgraded: dict[str, Any] = copy.deepcopy(dict(values))
    data = upgraded.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    for added in ADDED:
        for key, value in added.settings.items() if not added.sources or source in added.sources else ():
            section, name = _section(upgraded, key)
            section.setdefault(name, copy.deepcopy(value))
    for key, (old, new) in CHANGED.items():
        section, name = _section(upgraded, key)
        if section.get(name) == old:
            section[name] = new
    for key in GONE:
        section, name = _section(upgraded, key)
        section.pop(name, None)
    return upgraded


def check_format(path: Path, content: Mapping[str, Any]) -> None:
    """Raise UserError if a file was written by a later release than this one."""
    found = content.get("format", 1)
    if not isinstance(found, int) or found > FORMAT:
        raise UserError(
            f"{path}: has format {found}, and this release of stockml reads formats up to {FORMAT}; "
            "use the release that wrote it"
        )


def hashed_facts_of_pool(facts: Mapping[str, Any], origins: Mapping[str, str]) -> dict[str, Any]:
    """The facts of a stored pool that were part of its fingerprint up to 2026-11-29, in their order then.

    `origins` says where the bars of each ticker were; of a ticker without one, they are where they are now.
    """
    other = facts["unhashed"]
    where = [origins.get(ticker, now) for ticker, now in zip(facts["tickers"], other["origins"], strict=True)]
    return {
        "tickers": facts["tickers"],
        "starts": facts["starts"],
        "origins": where,
        **{name: other[name] for name in ("understood", "doubts", "dropped")},
    }


def require_baselines(folder: Path) -> None:
    """Raise UserError if a run folder lacks the baselines' forecasts."""
    if not (folder / "baselines.csv").is_file():
        raise UserError(
            f"{folder}: has no baselines.csv, which releases before 2026-11-24 did not write; make the run again with "
            f"this one, and use that: task=reproduce run={folder}"
        )


# Each came with its settings; every config has the others.
_NEW_SECTIONS = (
    "sweep",
    "export",
    "audit",
    "features",
    "update",
    "explain",
    "combine",
    "portfolio",
    "looks",
    "unseal",
    "placebo",
)


def _section(values: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The dict of `values` that a dotted key belongs to, and the key in it; a dict of no effect if there is none."""
    section, _, name = key.rpartition(".")
    if section in _NEW_SECTIONS:
        values.setdefault(section, {})
    found = values.get(section) if section else values
    return (found if isinstance(found, dict) else {}), name
