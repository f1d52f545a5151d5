"""Rules that tie a task to the rest of its config: each function yields the ones that are broken, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stockml.config.root import Config
from stockml.config.values import show
from stockml.data.sources.npz import NpzConfig
from stockml.data.sources.yahoo import YahooConfig
from stockml.runs.looks import problem as ledger_problem


def train(config: Config) -> Iterator[str]:
    """A run of its own."""
    if config.run:
        yield f"run={config.run}: task=train makes a folder of its own; leave it out, or name another task"
    if config.update.of and getattr(config.data, "test_start", None) is None:  # an update has one
        yield f"update.of={config.update.of}: is set by task=update run={config.update.of}; leave it out"


def update(config: Config) -> Iterator[str]:
    """A new run on dated bars."""
    if isinstance(config.data, NpzConfig):
        yield "task=update: needs dated daily bars, to which days are added; train on the new arrays"
    if config.trainer.resume is not None:
        yield f"trainer.resume={config.trainer.resume}: task=update makes a new run; leave out one of them"


def audit(config: Config) -> Iterator[str]:
    """A leak is injected into daily bars only."""
    if config.audit.plant and isinstance(config.data, NpzConfig):
        yield f"audit.plant={config.audit.plant}: needs daily bars, data=csv or data=simulated; leave it out"


def doctor(config: Config) -> Iterator[str]:
    """Dated bars."""
    if isinstance(config.data, NpzConfig):
        yield "task=doctor: needs dated daily bars, data=csv or data=simulated; task=audit looks at arrays"


def features(config: Config) -> Iterator[str]:
    """Features have names of their own in a file."""
    taken = [name for name in config.features.columns if name in ("date", "ticker", "target", "synthetic")]
    if config.export.features and taken:
        yield f"features.columns.{taken[0]}: the file of export.features has a column of this name; take another"


def fetch(config: Config) -> Iterator[str]:
    """One source is downloaded from."""
    if not isinstance(config.data, YahooConfig):
        source = config.data.source
        yield f"data.source={source}: task=fetch downloads from Yahoo; leave it out, or take data=yahoo"


def combine(config: Config) -> Iterator[str]:
    """Runs, and no single one."""
    if not config.runs:
        yield "runs: needed with task=combine, the runs or the sweep to combine: 'runs=[outputs/A,outputs/B]'"
    if config.run:
        yield f"run={config.run}: task=combine is about several: 'runs=[…]'; leave it out"


_OF_COMBINED = ("combine", "predict", "evaluate", "reproduce")
"""The tasks that a combined run is good for, besides its page."""


def of_another_task(config: Config) -> Iterator[str]:
    """Settings that one task alone reads."""
    if config.export.onnx and config.task != "predict":
        yield "export.onnx: a trained model is exported: task=predict run=FOLDER export.onnx=true"
    if config.export.features and config.task != "features":
        yield f"export.features={config.export.features}: is written by task=features; leave it out, or add that"
    if config.update.fresh and config.task != "update":
        yield "update.fresh: is a choice of task=update; leave it out, or add task=update run=FOLDER"
    if config.audit.plant and config.task != "audit":
        yield f"audit.plant={config.audit.plant}: a leak is injected by task=audit alone; leave it out"
    if config.unseal.best is not None and config.task != "unseal":
        yield f"unseal.best={config.unseal.best}: is read by task=unseal alone; leave it out"
    if config.runs and config.task not in _OF_COMBINED:
        key, folder = ("trainer.resume", config.trainer.resume) if config.trainer.resume else ("run", config.run)
        if not folder:
            yield f"runs={show(config.runs)}: are combined by task=combine; leave it out, or add that"
        elif (Path(folder) / "metrics.json").is_file():
            member = f"{folder}/runs/0"
            yield f"{key}={folder}: is a combination of runs, without a model of its own; name a member: {member}"
        else:
            again = f"task=combine runs={show(config.runs)} hydra.run.dir={folder}"
            yield f"{key}={folder}: is a combination that did not come to its end; type its command again: {again}"
    if (
        config.looks.path
        and config.looks.record
        and config.task != "looks"
        and (fault := ledger_problem(Path(config.looks.path).expanduser()))
    ):
        yield f"looks.path={config.looks.path}: {fault}"
    if config.placebo.copies != 20 and config.task != "placebo":
        yield f"placebo.copies={config.placebo.copies}: is read by task=placebo run=FOLDER alone; leave it out"
    asked = [f"combine.{key}={value}" for key, value in vars(config.combine).items() if value not in ("mean", None)]
    if asked and not config.runs and config.task != "combine":
        yield f"{', '.join(asked)}: is read by task=combine alone; leave it out"
