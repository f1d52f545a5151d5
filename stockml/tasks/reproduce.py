"""task=reproduce: a run made again from its saved config, and compared number by number."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from stockml import compose
from stockml.config.root import Config
from stockml.config.values import differences, show
from stockml.data import dataset
from stockml.errors import RunError, UserError
from stockml.processes import job_pool
from stockml.reporting import summary
from stockml.runs.comparison import different_numbers
from stockml.runs.folder import RunFolder
from stockml.runs.location import RememberedLocation, RunLocation
from stockml.runs.members import members
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import TASKS, Request, combine, run_metadata, start, supervisor, sweep
from stockml.tasks import train as training
from stockml.tasks.same_experiment import (
    DataState,
    changed_data,
    changed_settings,
    changed_weights,
    with_its_bars,
)

Facts = dict[str, Any]


def run(config: Config, request: Request) -> None:
    """Train again as the run that `config.run` names, and compare every number of metrics.json but its timing.

    Of a sweep, each of its finished jobs. Raises UserError where there is nothing to compare with, RunError where the
    numbers differ or, before anything is trained, where the data do.
    """
    path = Path(str(config.run))
    if SweepFolder.is_one(path):
        _run_sweep(path, request.arguments)
        return
    original = RunFolder.existing(path)
    if original.outcome() != "ok":
        raise UserError(f"{original.path}: did not end well ({original.ending}); there is nothing to compare with")
    if kept := members(original):
        _run_combined(original, [str(of.folder.path) for of in kept], config, request)
        return
    then = original.read_json("config.json")
    config, (data,) = with_its_bars(original, config, lambda own: [dataset.prepare(own)])
    now = run_metadata.collect(config, [data], training.device(config))
    state = DataState.of(data, original)
    if state.is_of(then["data"]):
        now["data"]["fingerprint"] = then["data"]["fingerprint"]
    differences = _what_differs(original, config, request.conf_changes, then, now)
    print(f"reproducing {original.path}", *differences, sep="\n", flush=True)
    if reason := changed_data(original, state) or changed_weights(original, config):
        raise RunError(f"{original.path}: {reason}; nothing was trained")
    place = RememberedLocation(request.place.exact)
    start.train(config, place, {**request.records, **compose.records(config)})
    _compare(original, RunFolder(place.made[-1]))


def _compare(original: RunFolder, again: RunFolder) -> None:
    """RunError where the numbers of two runs differ."""
    if changed := different_numbers(original.read_json("metrics.json"), again.read_json("metrics.json")):
        raise RunError(
            *(f"{key}: {show(one)} then, {show(other)} now" for key, (one, other) in changed.items()),
            f"not reproduced: {len(changed)} numbers of {original.path} differ",
        )
    print("reproduced: identical", flush=True)


def _run_combined(original: RunFolder, kept: Sequence[str], config: Config, request: Request) -> None:
    """Combine the members of a combined run again, from their predictions in its folder, and compare every number."""
    print(f"reproducing {original.path} from the predictions of its {len(kept)} members", flush=True)
    again = dataclasses.replace(config, runs=tuple(kept), combine=dataclasses.replace(config.combine, best=None))
    _compare(original, combine.combine(again, request.place, request.records))
    print(f"            to train a member again: task=reproduce run={kept[0]}", flush=True)


def _what_differs(
    original: RunFolder, config: Config, conf_changes: Sequence[str], then: Facts, now: Facts
) -> list[str]:
    """What is not as it was when the run was made, a line each."""
    lines = [f"config      {_pair(key, pair)}" for key, pair in changed_settings(original, config).items()]
    lines += [f"conf/       {line}" for line in conf_changes]
    if then["data"]["fingerprint"] != now["data"]["fingerprint"]:
        lines.append(f"data        fingerprint: {then['data']['fingerprint']} then, {now['data']['fingerprint']} now")
    for name in ("git_commit", "device", "platform"):
        if then.get(name) != now[name]:
            lines.append(f"{name:<12}{then.get(name)} then, {now[name]} now")
    changed = differences(then.get("versions", {}), now["versions"])
    lines += [f"version     {_pair(key, pair)}" for key, pair in changed.items()]
    return lines or ["same config, data, code, versions and device"]


def _pair(key: str, pair: tuple[Any, Any]) -> str:
    return f"{key}: {show(pair[0])} then, {show(pair[1])} now"


def _run_sweep(path: Path, typed: Sequence[str]) -> None:
    """Reproduce every finished job of a sweep; RunError where one differs.

    `typed` is the command line, in which `run=` names the sweep.
    """
    names, rows = [], summary.read(SweepFolder.existing(path))
    for row in rows:
        if row["status"] == "ok":
            names.append(row["job"])
        else:
            print(f"{row['job']:<20} left out: {row['status']}")
    if not names:
        raise UserError(f"{path}: none of its jobs is done; there is nothing to compare with")
    others = [argument for argument in typed if not argument.startswith("run=")]
    commands = [compose.read([*others, f"run={compose.quote(str(path / name))}"], TASKS) for name in names]
    configs = [command.jobs[0] for command in commands]
    for note in (note for command in commands for note in command.notes):
        print(f"note        {note}", flush=True)
    differing = []
    with supervisor.pool(commands[0]) as cluster:
        calls = [
            job_pool.Call(
                functools.partial(_as_call, command),
                Path(os.devnull),
                supervisor.cores(config),
                supervisor.gpus(config),
            )
            for command, config in zip(commands, configs, strict=True)
        ]
        with closing(supervisor.run_each(calls, configs, -1, cluster)) as events:
            for event in events:
                number, ended = event or (0, None)
                if ended is None:
                    continue
                lines = [str(ended.error)] if ended.value is None else ended.value
                print(f"{names[number]:<20} {'; '.join(lines) or 'identical'}", flush=True)
                differing += [names[number]] if lines else []
    if differing:
        raise RunError(f"not reproduced: {', '.join(differing)} ({len(differing)} of {len(names)} jobs)")
    print(f"reproduced: identical ({len(names)} of {len(rows)} jobs)")


def _as_call(command: compose.Command) -> Callable[[], list[str]]:
    return functools.partial(_differences, command)


def _differences(command: compose.Command) -> list[str]:
    """Reproduce one job; what differs, a line each."""
    config = command.jobs[0]
    request = Request(RunLocation(exact=command.folder), command.records, (), command.conf_changes)
    try:
        with sweep.gpus_of_its_own(config):
            compose.within_hydra(command, lambda: run(config, request))
    except UserError as error:
        return list(error.lines)
    return []
