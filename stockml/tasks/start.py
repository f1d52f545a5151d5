"""task=train: what is looked at before anything is trained, and which of the two ways of training it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stockml.tasks import Request
from stockml.trackers import tracking

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.dataset import Data
    from stockml.runs.location import RunLocation
    from stockml.training.interface import Report


def require_installed(configs: Sequence[Config]) -> None:
    """UserError where a page is to be drawn, or a tracker written to, and what that needs is not installed."""
    if any(config.report is True for config in configs):
        from stockml.tasks import report

        report.require_installed()
    tracking.require_installed(configs)


def run(config: Config, request: Request) -> float:
    """Train as `train` does."""
    return train(config, request.place, request.records)


def train(
    config: Config,
    place: RunLocation,
    records: Mapping[str, str],
    folds: Sequence[Data] | None = None,
    report_epoch: Report | None = None,
) -> float:
    """Train by the trainer that the config names; arguments, result and errors are those of `tasks.train.run`."""
    if config.trainer.name == "ddp":
        from stockml.tasks import train_ddp

        return train_ddp.run(config, place, records, report_epoch)
    from stockml.tasks import train

    return train.run(config, place, records, folds=folds, report_epoch=report_epoch)
