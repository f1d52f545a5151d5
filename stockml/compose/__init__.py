"""From the keyboard to a checked Config: the one room that knows Hydra and OmegaConf.

`read` composes and checks a command line once; what it gives is what is run.
"""

from __future__ import annotations

import os
import sys

import hydra

from stockml.compose.checks import TRAINING, Tasks
from stockml.compose.composing import VERSION_BASE, isolated_hydra_state
from stockml.compose.grammar import override, quote, setting
from stockml.compose.jobs import callbacks_of, within_hydra
from stockml.compose.launcher import run_sweep
from stockml.compose.modes import ray_settings
from stockml.compose.reading import Command, read
from stockml.compose.records import records
from stockml.compose.sweeps import Job, Sweep
from stockml.config.conf_folder import CONF
from stockml.config.root import Config

__all__ = [
    "Command",
    "Job",
    "Sweep",
    "Tasks",
    "answer_by_hydra",
    "callbacks_of",
    "compose",
    "isolated_hydra_state",
    "override",
    "quote",
    "ray_settings",
    "read",
    "records",
    "run_sweep",
    "setting",
    "within_hydra",
]


def compose(*overrides: str, tasks: Tasks = TRAINING) -> Config:
    """The Config that `python run.py <overrides>` would run with, without running anything. Raises UserError."""
    return read(overrides, tasks).jobs[0]


def answer_by_hydra(arguments: list[str]) -> None:
    """Let Hydra answer its own flags, `--cfg`, `--info`, `--hydra-help` and those of shell completion."""
    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what is wrong, instead of printing it and exiting
    try:
        hydra.main(config_path=str(CONF), config_name="config", **VERSION_BASE)(_run_nothing)()
    finally:
        sys.argv = argv
        del os.environ["HYDRA_FULL_ERROR"]
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error


def _run_nothing(_composed: object) -> None:
    """What Hydra's flags never come to."""
