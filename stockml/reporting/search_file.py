"""search.json of a sweep folder: the trials of its study, from which its page is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stockml.errors import UserError
from stockml.runs.sweep_folder import SweepFolder

_FILE = "search.json"


def write(
    folder: SweepFolder,
    identity: str,
    objectives: Sequence[str],
    study: Any,
    importances: Mapping[str, Mapping[str, float]],
) -> None:
    """Write the study's trials; `identity` tells this search from others on the same study.

    `importances` has the share of each parameter, by objective.
    """
    trials = [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "values": trial.values,
            "last_epoch": trial.last_step,
            "params": trial.params,
            "job": trial.user_attrs.get("job"),
            "is_repeated": "repeats" in trial.user_attrs,
        }
        for trial in study.get_trials(deepcopy=False)
    ]
    directions = [direction.name.lower() for direction in study.directions]
    content = {"id": identity, "objectives": list(objectives), "directions": directions, "importances": importances}
    folder.write_json(_FILE, {**content, "trials": trials})


def read(folder: SweepFolder) -> dict[str, Any]:
    """The file's content; empty where the sweep was no search."""
    try:
        return folder.read_json(_FILE)
    except UserError:
        return {}
