"""task=placebo: a run or a sweep once more on copies of its data in which nothing can be forecast.

How good the chosen run is among those that the same procedure chooses on the copies is a p-value that has priced the
search: (1 + copies at least as good) / (1 + copies), as of a permutation test (Phipson & Smyth 2010).
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stockml import compose
from stockml.compose import Command
from stockml.config.root import Config
from stockml.config.values import show
from stockml.data import dataset
from stockml.errors import Interrupted, RunError, UserError
from stockml.evaluation.metrics import Scores, deciding_loss
from stockml.reporting import summary
from stockml.reporting.job_ranking import Row, best_on_validation
from stockml.reporting.text_tables import text_table
from stockml.runs.folder import RunFolder
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import TASKS, Request, run_metadata, start, sweep
from stockml.tasks.same_experiment import PLACES, DataState, changed_data, changed_settings

NAME = "placebo"
"""The folder of the copies within that of the run or the sweep; with .json, the file of what they came to."""
_OWN = ("task", "run", "placebo.copies")
_SPLITS = ("test", "validation")
_LARGEST_P = 0.05


def run(config: Config, request: Request) -> None:
    """Repeat the run or sweep `config.run` on `placebo.copies` copies, and print where it ranks among them.

    What else was typed holds for the copies. Copies that are done are not repeated. Raises UserError where it cannot be
    repeated as it was; RunError where a copy failed.
    """
    path, copies = Path(str(config.run)).absolute(), config.placebo.copies
    typed = [argument for argument in request.arguments if _key(argument) not in _OWN]
    if "test" not in map(_key, typed):
        typed.append("test=open")  # of the copies, also where that of the run is sealed
    again = f"the copies that are done are kept; go on with: python run.py task=placebo run={path}"
    try:
        found = (_of_sweep if SweepFolder.is_one(path) else _of_run)(path, copies, typed)
    except Interrupted as error:
        raise Interrupted(error.signum, f"interrupted; {again} placebo.copies={copies}") from error
    _report(path, *found)


Found = tuple[RunFolder, list[RunFolder]]
"""The run that was chosen, and those that were chosen on the copies."""


def _of_run(path: Path, copies: int, typed: Sequence[str]) -> Found:
    """Repeat a run: a sweep over the copies."""
    original = RunFolder.existing(path)
    if original.outcome() != "ok":
        raise UserError(f"run={path}: did not end well ({original.ending}); there is nothing to compare with")
    saved = run_metadata.saved_values(original)
    if saved.get("runs") or saved["update"]["of"]:
        raise UserError(f"run={path}: was made from other runs; name one that was trained by itself")
    lines = ["-cp", str(path / ".hydra"), "-cn", "config", "-m", "data.placebo=1"]
    _read(lines, typed, path / NAME)  # what is wrong is said once, not of each copy
    command, lines = _read([*lines[:-1], f"data.placebo=range(1,{copies + 1})"], typed, path / NAME)
    assert command.sweep is not None
    _refuse_changes([(original, command.jobs[0])])
    print(_cost([original], copies), flush=True)
    sweep.run(command, start.train, lines, compares=False)
    return original, [RunFolder(path / NAME / job.name) for job in command.sweep.jobs]


def _of_sweep(path: Path, copies: int, typed: Sequence[str]) -> Found:
    """Repeat a sweep: one for each copy."""
    original = SweepFolder.existing(path)
    arguments = original.arguments()
    if arguments is None:
        raise UserError(f"run={path}: an earlier release has run this sweep, and did not keep what was typed")
    rows = summary.read(original)
    chosen = _chosen(original, rows)
    print(_cost([original.job(row["job"]) for row in rows], copies), flush=True)
    ends = []
    for number in range(1, copies + 1):
        folder = path / NAME / str(number)
        command, lines = _read(arguments, [*typed, f"data.placebo={number}"], folder)
        if number == 1:
            _refuse_changes(_planned_again(original, rows, command))
        ends.append(_repeated(command, lines, SweepFolder(folder), rows))
        split = _common([chosen, ends[-1]])[0]
        print(f"copy {number:<4} {split} {_text(ends[-1], _figure(ends[-1], split))}", flush=True)
    return chosen, ends


def _repeated(command: Command, lines: Sequence[str], folder: SweepFolder, original: Sequence[Row]) -> RunFolder:
    """Run a sweep on one copy, without its output; the run that is chosen there."""
    failing = {row["job"] for row in original if row["status"] == "failed"}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            sweep.run(command, start.train, lines)
    except RunError:
        left = [row["job"] for row in summary.read(folder) if row["status"] not in ("ok", "pruned")]
        if not set(left) <= failing:
            raise
    return _chosen(folder, summary.read(folder))


def _chosen(folder: SweepFolder, rows: Sequence[Row]) -> RunFolder:
    """The best run on validation. UserError where there is none."""
    best = best_on_validation(row for row in rows if row["status"] == "ok")
    if best is None:
        raise UserError(f"{folder.path}: none of its jobs is done, or their losses cannot be compared")
    return folder.job(best["job"])


def _read(arguments: Sequence[str], typed: Sequence[str], folder: Path) -> tuple[Command, list[str]]:
    """The command of the copies in a folder, and its arguments; what is typed comes before what was typed then."""
    keys = {_key(argument) for argument in typed}
    lines = [argument for argument in arguments if _key(argument) not in keys]
    lines += [line for line in ("report=false", "tracker=none") if _key(line) not in map(_key, (*lines, *typed))]
    lines += [*typed, compose.override("hydra.sweep.dir", str(folder))]
    command = compose.read(lines, TASKS)
    if command.sweep is None:
        raise UserError(f"{folder.parent}: what was typed for this sweep is no sweep today")
    search = command.sweep.search
    if search is not None and search.settings.storage is not None:  # a copy has a study of its own
        lines = [line for line in lines if _key(line) != _STORAGE] + [f"{_STORAGE}=null"]
        command = compose.read(lines, TASKS)
    return command, lines


_STORAGE = "hydra.sweeper.storage"


def _key(argument: str) -> str:
    return argument.lstrip("+~").partition("=")[0]


def _planned_again(
    original: SweepFolder, rows: Sequence[Row], command: Command
) -> Iterator[tuple[RunFolder, Config | None]]:
    """The finished jobs of a sweep, each with the config that the command of a copy gives it."""
    assert command.sweep is not None
    planned = {job.name: job.config for job in command.sweep.jobs}
    plan = command.sweep.search
    for row in rows:
        if row["status"] != "ok":
            continue
        config = planned.get(row["job"])
        if plan is not None and command.trials is not None:
            lines = [*plan.fixed, *(plan.override_of(key, value) for key, value in row["swept"].items())]
            config = command.trials.trial(lines, 0, set()).config
        yield original.job(row["job"]), config


def _refuse_changes(jobs: Iterable[tuple[RunFolder, Config | None]]) -> None:
    """UserError where a job of a copy is not what it was on the data themselves."""
    faults: dict[str, str] = {}
    for folder, config in jobs:
        if config is None:
            faults.setdefault("it is no longer one of its jobs", folder.path.name)
            continue
        if run_metadata.saved_values(folder)["data"]["placebo"] is not None:
            faults.setdefault("it is a placebo copy itself", folder.path.name)
        changed = changed_settings(folder, config)
        changed.pop("data.placebo", None)
        if not changed.keys().isdisjoint(PLACES):
            bars = dataclasses.replace(config, data=dataclasses.replace(config.data, placebo=None))
            if reason := changed_data(folder, DataState.of(dataset.prepare(bars), folder)):
                faults.setdefault(reason, folder.path.name)
            changed = {key: pair for key, pair in changed.items() if key not in PLACES}
        for key, (then, now) in changed.items():
            faults.setdefault(f"{key} was {show(then)}, and is {show(now)} in the copies", folder.path.name)
    if faults:
        raise UserError(
            *(f"{name}: {fault}" for fault, name in faults.items()),
            "the copies must be made as the original was, in the same folder with the same conf/; nothing was run",
        )


def _cost(folders: Sequence[RunFolder], copies: int) -> str:
    """A line about what the copies cost."""
    seconds = sum(float(folder.read_json("result.json").get("seconds") or 0) for folder in folders if folder.outcome())
    return (
        f"placebo     {_copies(copies)} × {seconds:,.0f} s of computing, as the original took: "
        f"{copies * seconds:,.0f} s less those that are done; side by side with hydra/launcher=joblib"
    )


def _figure(folder: RunFolder, split: str) -> float:
    """What runs are ranked by, the higher the better: R² against zero; of a quantile the loss, with a minus."""
    scores: Scores = folder.read_json("metrics.json")[split]
    r2, loss = scores.get("r2_zero"), scores[deciding_loss(scores)]
    if r2 is None and loss is None:
        raise UserError(f"{folder.path}: has no score on {split} to rank it by")
    return float(r2) if r2 is not None else -float(loss or 0)


def _is_r2(folder: RunFolder) -> bool:
    """Whether a run is ranked by its R² against zero."""
    return all(folder.read_json("metrics.json")[split].get("r2_zero") is not None for split in _common([folder]))


def _text(folder: RunFolder, figure: float) -> str:
    return f"{figure:+.2%}" if _is_r2(folder) else f"{figure:+.4g}"


def _copies(number: int) -> str:
    return f"{number} {'copy' if number == 1 else 'copies'}"


def _common(runs: Sequence[RunFolder]) -> list[str]:
    """The splits that all runs have scores of: a sealed test has none."""
    return [split for split in _SPLITS if all(split in of.read_json("metrics.json") for of in runs)]


def _report(path: Path, original: RunFolder, ends: Sequence[RunFolder]) -> None:
    """Print where the original ranks among the copies, and write it beside them."""
    rows: list[list[str]] = []
    found: dict[str, Any] = {"copies": len(ends), "chosen": original.path.name}
    splits = _common([original, *ends])
    for split in splits:
        own, others = _figure(original, split), [_figure(end, split) for end in ends]
        better = sum(other >= own for other in others)
        p_value = (1 + better) / (1 + len(others))
        found[split] = {"figure": own, "of_copies": others, "at_least_as_good": better, "p_value": p_value}
        middle = sum(others) / len(others)
        shown = [_text(original, value) for value in (own, middle, max(others))]
        rows.append([split, *shown, str(better), f"{p_value:.2g}"])
    figure = "r2_zero" if _is_r2(original) else "-loss"
    header = ("", figure, "mean of copies", "best copy", "at least as good", "p")
    print(text_table(header, rows, left=("",)))
    by, least = found[splits[0]], 1 / (1 + len(ends))
    searched = ", the whole search included" if SweepFolder.is_one(path) else ""
    few = f"; of so few, p is never below {least:.2g}: add placebo.copies=20" if least > _LARGEST_P else ""
    print(
        f"verdict     {by['at_least_as_good']} of {_copies(len(ends))} in which nothing can be forecast "
        f"{'is' if by['at_least_as_good'] == 1 else 'are'} at least as good on {splits[0]}: "
        f"p = {by['p_value']:.2g}{searched}{few}{'' if 'test' in splits else '; the test is sealed'}"
    )
    RunFolder(path).write_json(f"{NAME}.json", found)
    print(f"written     {path / NAME}.json, and the copies in {path / NAME}")
