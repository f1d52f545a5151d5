"""The ledger of looks: a look is recorded before its scores are shown; task=looks shows and verifies the ledger."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml.config.root import Config, identity
from stockml.config.values import plain, worded
from stockml.data.settings import BarsConfig
from stockml.errors import RunError, UserError
from stockml.evaluation.looks import corrected, corrected_skill, largest_p_value, sentence
from stockml.reporting.text_tables import text_table
from stockml.runs import looks
from stockml.runs.folder import RunFolder
from stockml.runs.looks import Ledger, Line, Look
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import Request

if TYPE_CHECKING:
    from stockml.evaluation.predictions import Predictions


def require_ledger(config: Config, folder: Path) -> None:
    """UserError where the look of a run in that folder could not be recorded."""
    path = _path(config, folder)
    if path is None or not (os.access(path.parent, os.W_OK) or os.access(folder.parent, os.W_OK)):
        return  # where no folder can be made either, that is said
    if problem := looks.problem(path):
        raise UserError(f"{path}: the ledger of looks {problem}")


def record(
    evaluated: Mapping[str, Any], test: Predictions, config: Config, folder: RunFolder, fingerprint: str | None = None
) -> dict[str, Any]:
    """Record the look at a run's test scores; what metrics.json says of them, with `looks` and the verdict's sentence.

    `folder` is the run's, with its config.json. `fingerprint` is that of the data, where they are not the run's own.
    Raises RunError where the ledger cannot be written: no score may be shown then.
    """
    path, days = _path(config, folder.path), "test samples" if test.dates is None else "test days"
    found: dict[str, Any] = {"ledger": None}
    if config.data.placebo is not None:
        found["placebo"] = config.data.placebo
    if path is not None:
        look = _look(evaluated, test, config, folder, fingerprint)
        try:
            ledger, line = looks.append(path, look)
        except OSError as error:
            raise RunError(
                f"{path}: the look cannot be recorded ({error.strerror or error}), so no score is shown; once it can, "
                f"repeat the command, or go on: trainer.resume={folder.path}"
            ) from error
        found = {
            "ledger": str(path),
            "line": line.number,
            "sha256": line.sha256,
            **counted(ledger, line._replace(look=look)),
            "same_forecasts": line.look.forecasts == look.forecasts,
            "sound": not ledger.faults,
        }
    said = sentence(found, worded(days, evaluated.get("step", "day")))
    return {**evaluated, "looks": found, "verdict": f"{evaluated['verdict']} {said}"}


def counted(ledger: Ledger, line: Line) -> dict[str, Any]:
    """Which look at its days a line of the ledger is, of how many; its p-values and skill corrected for all of them."""
    family = ledger.family(line.look)
    own = next(index for index, other in enumerate(family) if other.number == line.number)
    family[own] = line
    p = {test: corrected([getattr(of.look, test) for of in family], own) for test in ("diebold_mariano", "clark_west")}
    return {
        "look": own + 1,
        "of": len(family),
        "p_value": p["diebold_mariano"],
        "p_value_clark_west": p["clark_west"],
        "skill": corrected_skill(line.look.skill, *p.values()),
    }


def run(config: Config, request: Request) -> None:  # noqa: ARG001  (as every task has it)
    """Print the looks by test days, and verify the ledger; RunError where it is not what was written.

    It is that of `looks.path`, or of the run or sweep `config.run`, or the one of this folder.
    """
    path = Path(looks.NAME).absolute()
    if config.looks.path is not None:
        path = Path(config.looks.path)
    elif config.run is not None:
        path = _ledger_of(Path(config.run))
    ledger = looks.read(path)
    header = ("stocks", "test days", "looks", "overlapping", "lowest p", "corrected", "skill", "its run")
    print(text_table(header, _rows(ledger, path.parent), left=[*header[:2], *header[-2:]], width=1000, wrap=False))
    print("p: better than every rival by luck (Diebold–Mariano); corrected for all looks at overlapping days (Holm)")
    if ledger.is_cut:
        print("            the last line is incomplete: a process was killed; the next look takes its place")
    if faults := [*ledger.faults, *looks.missing(path, ledger)]:
        raise RunError(*faults, f"{path}: is not the ledger that was written")
    print(f"chain       sound: {len(ledger.lines)} looks in {path}")


def _ledger_of(run: Path) -> Path:
    """The ledger that a run, or the jobs of a sweep, wrote into."""
    jobs = [SweepFolder(run).job(name) for name in SweepFolder(run).jobs()] if SweepFolder.is_one(run) else []
    for folder in jobs or [RunFolder.existing(run)]:
        if (folder.path / "metrics.json").exists():
            ledger = folder.read_json("metrics.json").get("looks", {}).get("ledger")
            return Path(ledger or looks.default_path(folder.path))
    raise UserError(f"{run}: is not finished, so it has shown no score and has no look")


def _path(config: Config, folder: Path) -> Path | None:
    """The ledger of a run in that folder; None where looks are not counted."""
    if not config.looks.record or config.data.placebo is not None:  # no look at the real test
        return None
    return Path(config.looks.path) if config.looks.path is not None else looks.default_path(folder)


def _look(
    evaluated: Mapping[str, Any], test: Predictions, config: Config, folder: RunFolder, fingerprint: str | None
) -> Look:
    metadata = folder.read_json("config.json")
    days = (None, None) if test.dates is None else (str(test.dates.min()), str(test.dates.max()))
    return Look(
        when=datetime.now().astimezone().isoformat(timespec="seconds"),
        run=str(folder.path),
        experiment=_hash(_experiment(config, metadata)),
        fingerprint=fingerprint or metadata["data"]["fingerprint"],
        series=_series(config, test),
        tickers=tuple(sorted(set(test.tickers.tolist()))) if test.tickers is not None else (config.stock.ticker,),
        first=days[0],
        last=days[1],
        diebold_mariano=largest_p_value(evaluated["significance"], "diebold_mariano"),
        clark_west=largest_p_value(evaluated["significance"], "clark_west"),
        skill=evaluated["skill"],
        forecasts=hashlib.sha256(test.model.tobytes()).hexdigest(),
    )


def _experiment(config: Config, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that make an experiment what it is; data, weights and members by their content."""
    values = identity(config)
    for key in ("dir", "path", "context_path", "end"):
        values["data"].pop(key, None)
    values["trainer"]["init_from"] = (metadata.get("init_from") or {}).get("sha256")
    members = [(of["weight"], sorted(of["sha256"].items())) for of in metadata.get("members", ())]
    return {**values, "members": members}


def _series(config: Config, test: Predictions) -> str:
    """What a ledger's line says of the series that is forecast, where the ticker does not tell which it is."""
    if test.dates is None:
        return hashlib.sha256(test.truth.y_true.tobytes()).hexdigest()
    if not config.data.synthetic:
        return ""
    shared = {spec.name for spec in dataclasses.fields(BarsConfig)}
    of_source = {key: value for key, value in plain(config.data).items() if key not in shared}
    return _hash({**of_source, "simulator": plain(config.stock)["simulator"]})


def _hash(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _rows(ledger: Ledger, base: Path) -> Iterator[list[str]]:
    """A row for the looks at the same stocks and days, with the best of them; runs are named from `base` on."""

    def span(line: Line) -> tuple[tuple[str, ...], str, str, str]:
        return line.look.tickers, line.look.first or "", line.look.last or "", line.look.series

    def p_value(line: Line) -> float:
        return 1.0 if line.look.diebold_mariano is None else line.look.diebold_mariano

    for (tickers, first, last, _), group in groupby(sorted(ledger.lines, key=span), span):
        lines = list(group)
        best = min(lines, key=p_value)
        found = counted(ledger, best)
        yield [
            tickers[0] if len(tickers) == 1 else f"{len(tickers)} stocks",
            f"{first} to {last}" if first else "not known",
            str(len(lines)),
            str(found["of"]),
            f"{p_value(best):.2g}",
            "–" if found["p_value"] is None else f"{found['p_value']:.2g}",
            found["skill"],
            best.look.run.removeprefix(f"{base}{os.sep}"),
        ]
