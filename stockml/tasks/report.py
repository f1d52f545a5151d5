"""task=report: a sweep's summary, drawn again from its folder."""

from __future__ import annotations

from pathlib import Path

from stockml.config import Config
from stockml.reporting import summary
from stockml.runs import SweepFolder


def run(config: Config) -> None:
    """Write the summary of the sweep that `run` names, and print its table. Raises UserError where there is none."""
    folder = SweepFolder.existing(Path(str(config.run)))
    print(summary.table(summary.write(folder)), summary.whereabouts(folder), sep="\n")
