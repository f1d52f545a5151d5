"""task=combine: the weighted sum of finished runs' forecasts, as a run of its own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stockml import compose
from stockml.config.root import Config, saved
from stockml.config.values import show
from stockml.errors import UserError
from stockml.evaluation import combination, intervals
from stockml.evaluation.evaluate import evaluate
from stockml.evaluation.portfolio import Portfolio
from stockml.evaluation.predictions import Predictions, deciding
from stockml.reporting import job_ranking, predictions_file, result_tables, summary, terminal
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.runs.members import keep, model_name
from stockml.runs.old_releases import FORMAT, require_baselines
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import Request, breakdown, looks, outcome, report, run_metadata
from stockml.training import checkpoint

SPLITS = ("validation", "test")


def run(config: Config, request: Request) -> None:
    """Combine the runs that `config.runs` names. Raises UserError where they cannot be, before any folder is made."""
    typed = [argument.lstrip("+~").partition("=")[0] for argument in request.arguments if "=" in argument]
    others = [key for key in typed if key.partition(".")[0].partition("/")[0] not in _READ]
    if others:
        raise UserError(f"{', '.join(others)}: a combination has the settings of its members; leave this out")
    combine(config, request.place, request.records)


_READ = ("task", "runs", "combine", "intervals", "portfolio", "report", "looks", "hydra")


@dataclass(frozen=True)
class _Candidate:
    """A finished run."""

    folder: RunFolder
    metadata: dict[str, Any]
    """The content of its config.json."""
    config: Config
    splits: dict[str, Predictions]
    """The predictions by which runs are compared."""

    @classmethod
    def read(cls, folder: RunFolder) -> _Candidate:
        """Read a run. UserError where it is not finished, or no run that can be combined."""
        if folder.outcome() != "ok":
            raise UserError(f"{folder.path}: is not finished ({folder.outcome()}); finish it, or leave it out")
        require_baselines(folder.path)
        run_metadata.require_open(folder)
        metadata, config = folder.read_json("config.json"), run_metadata.saved_config(folder)
        if "members" in metadata:
            raise UserError(f"{folder.path}: is a combination itself; name its members: {folder.path}/runs/0, …")
        if config.trainer.overfit_batches:
            raise UserError(f"{folder.path}: was made to learn a few batches (trainer.overfit_batches); leave it out")
        return cls(folder, metadata, config, deciding(predictions_file.read(folder)))

    @property
    def target(self) -> dict[str, Any]:
        """What is forecast, by setting."""
        data = self.config.data
        return {
            **{f"data.{name}": getattr(data, name, None) for name in ("target", "benchmark", "target_normalize")},
            **{f"data.{name}": self.metadata["data"][name] for name in ("horizon", "kind", "relative")},
            "trainer.quantile": self.config.trainer.quantile,
        }


def combine(config: Config, place: RunLocation, records: Mapping[str, str]) -> RunFolder:
    """Combine the runs that `config.runs` names; the folder of the combined run. Errors are those of `run`."""
    started, began = time.time(), time.perf_counter()
    run_log = terminal.RunLog(verbose=place.verbose)
    folders, chosen = _folders(config)
    runs = [_Candidate.read(folder) for folder in folders]
    for path in (path for of in runs for name in ("best.pt", "folds/*/best.pt") for path in of.folder.path.glob(name)):
        checkpoint.load_best(path)
    if faults := [fault for other in runs[1:] if (fault := _difference(runs[0], other))]:
        raise UserError(*faults)
    each = {split: combination.common([of.splits[split] for of in runs]) for split in SPLITS}
    if not len(each["validation"][0].rows):
        raise UserError(
            f"{', '.join(str(of.folder.path) for of in runs)}: have no validation sample in common; give them the same "
            "data.valid_start or data.valid_ratio"
        )
    first, horizon = runs[0], runs[0].metadata["data"]["horizon"]
    weights = np.full(len(runs), 1 / len(runs)).tolist()
    if config.combine.weights == "ridge":
        if (quantile := first.config.trainer.quantile) is not None:
            raise UserError(
                f"combine.weights=ridge: is fitted by squared errors, and the runs forecast the {quantile:g} quantile; "
                "take combine.weights=mean"
            )
        weights = combination.ridge_weights(each["validation"], horizon).tolist()
    scored = {split: combination.combined(each[split], weights) for split in SPLITS}
    none = _why_no_intervals(runs)
    if config.intervals and not none:
        sigma = {split: next(of.volatility for of in each[split] if of.volatility is not None) for split in SPLITS}
        scored = {split: dataclasses.replace(of, volatility=sigma[split]) for split, of in scored.items()}
        reach = first.metadata["data"]["reach"]
        scored["test"] = intervals.of_combination(scored["test"], reach, scored["validation"], config.intervals)
    own = dataclasses.replace(
        first.config,
        runs=config.runs,
        combine=config.combine,
        intervals=() if none else config.intervals,
        portfolio=config.portfolio,
        looks=config.looks,
    )
    synthetic = bool(first.metadata["synthetic"])
    looks.require_ledger(config, place.path(own.stock.ticker))
    records = {**records, **compose.records(own)}
    if place.exact is not None:
        RunFolder(place.exact).clear_attempt(records["config.yaml"])
    folder = place.create_folder(f"combined_{own.stock.ticker}", records)
    with (
        report.drawn_after(folder, config, run_log.emit, verbose=place.verbose),
        outcome.record_outcome(folder, run_log, started, synthetic=synthetic),
    ):
        if synthetic:
            run_log.emit(*terminal.SYNTHETIC)
        kept = [keep(of.folder, folder.within(f"runs/{number}")) for number, of in enumerate(runs)]
        members = [
            {"folder": f"runs/{number}", "from": str(of.folder.path), "weight": weight, "sha256": digests}
            for number, (of, weight, digests) in enumerate(zip(runs, weights, kept, strict=True))
        ]
        text = _sentence(weights, config.combine.weights, chosen)
        data = {key: value for key, value in first.metadata["data"].items() if key != "features"}
        facts = {"config": saved(own), "data": data, **run_metadata.software(), "combination": text, "members": members}
        own_facts = {key: value for key, value in first.metadata.items() if key not in ("init_from", "updates")}
        folder.write_json("config.json", {**own_facts, "format": FORMAT, **facts})
        folder.write_records(records, resumed=False)
        evaluated = evaluate(scored, horizon, synthetic=synthetic, portfolio=Portfolio.of(own, horizon))
        evaluated["verdict"] += f" {text}"
        evaluated = looks.record(evaluated, scored["test"], own, folder)
        predictions_file.write(folder, scored, own.stock.ticker, synthetic=synthetic)
        tables = {"members": breakdown.by_member(list(_facts(runs, weights)), [_of(each, n) for n in range(len(runs))])}
        run_log.emit(result_tables.member_table(tables["members"]))
        if scored["test"].tickers is not None:
            tables["stocks"] = breakdown.by_stock(scored)
            run_log.emit(result_tables.stock_table(tables["stocks"]))
        for name, rows in tables.items():
            breakdown.write(folder, f"{name}.csv", rows, synthetic=synthetic)
        loss = evaluated["validation"]["mse" if first.config.trainer.quantile is None else "pinball"]
        timing = {"total_seconds": time.perf_counter() - began, "epochs": None, "best_epoch": None}
        further = {"validation_loss": loss, "timing": timing, "synthetic": synthetic}
        folder.write_json("metrics.json", {"format": FORMAT, **evaluated, **further})
        run_log.emit(*result_tables.results(evaluated))
        if none and config.intervals:
            run_log.emit(f"intervals   none: {none}")
        run_log.emit(f"run folder  {folder.path}")
    return folder


def _why_no_intervals(runs: Sequence[_Candidate]) -> str:
    """Why a combination of these runs gets no intervals; empty where it does."""
    if all(of.splits["test"].volatility is None for of in runs):
        return "no member has any"
    if not runs[0].metadata["data"].get("reach"):
        return "a target depends on the other stocks of the day, and when it is known is not in the members' files"
    return ""


def _folders(config: Config) -> tuple[list[RunFolder], str]:
    """The folders of the members; and where all were chosen on validation, from how many, as text."""
    found: list[RunFolder] = []
    candidates = named = 0
    for path in map(Path, config.runs):
        if not SweepFolder.is_one(path):
            found.append(RunFolder.existing(path))
            named += 1
            continue
        sweep = SweepFolder.existing(path)
        rows = [row for row in summary.read(sweep) if row["status"] == "ok"]
        if (best := config.combine.best) is not None:
            candidates += len(rows)
            rows = job_ranking.ranked_on_validation(rows)[:best]
            if len(rows) < best:
                raise UserError(
                    f"combine.best={best}: {path} has {len(rows)} finished jobs whose scores on validation can be "
                    "compared"
                )
        found += [sweep.job(row["job"]) for row in rows]
    if config.combine.best is not None and not candidates:
        raise UserError(f"combine.best={config.combine.best}: chooses among a sweep's jobs, and runs names no sweep")
    paths = [folder.path.resolve() for folder in found]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise UserError(f"runs: {twice} is named twice; name each run once")
    if len(found) < 2:
        count = f"{len(found)} finished run{'' if len(found) == 1 else 's'}"
        raise UserError(f"runs={show(config.runs)}: {count}; name at least two to combine")
    return found, f"chosen on validation from {candidates}" if candidates and not named else ""


def _difference(first: _Candidate, other: _Candidate) -> str | None:
    """What keeps a run from being combined with the first one, in a line; None where nothing does."""
    name, path = other.folder.path, first.folder.path
    stock, of_first = (of.config.stock.ticker for of in (other, first))
    of_another = f"{stock} instead of {of_first}" if stock != of_first else "other data"
    for key, value in first.target.items():
        if (own := other.target[key]) != value:
            return f"{name}: {key}={show(own)}, and {show(value)} in {path}; only forecasts of the same are combined"
    have, has = (dict.fromkeys(combination.keys(of.splits["test"])) for of in (first, other))
    if (missing := min(have.keys() ^ has.keys(), key=_key, default=None)) is not None:
        lacks = "has no" if missing in have else "has a"
        return (
            f"{name}: its test {lacks} sample of {_key(missing)}, unlike that of {path}; runs with the same test days "
            "are combined: give both the same data.test_start and data.end"
        )
    for split in SPLITS:
        one, two = combination.common([first.splits[split], other.splits[split]])
        for values in ("y_true", "last"):
            then, now = getattr(one.truth, values), getattr(two.truth, values)
            if then is not None and len(differing := np.flatnonzero(then != now)):
                key, at = combination.keys(one)[differing[0]], differing[0]
                return (
                    f"{name}: y_true of {_key(key)} is {now[at]:.6g}, and {then[at]:.6g} in {path}: {of_another}; "
                    "combine runs on the same data, of other models or seeds"
                )
    return None


def _key(key: Any) -> str:
    """The day and stock of a sample."""
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _of(each: Mapping[str, Sequence[Predictions]], number: int) -> dict[str, Predictions]:
    return {split: of[number] for split, of in each.items()}


def _facts(runs: Sequence[_Candidate], weights: Sequence[float]) -> Iterator[dict[str, Any]]:
    """What members.csv has of each member besides its scores."""
    for number, (of, weight) in enumerate(zip(runs, weights, strict=True)):
        yield {
            "member": f"runs/{number}",
            "from": str(of.folder.path),
            "model": model_name(of.metadata),
            "features": of.config.features.set,
            "window": getattr(of.config.data, "window", ""),
            "seed": of.config.seed,
            "weight": weight,
        }


def _sentence(weights: Sequence[float], kind: str, chosen: str) -> str:
    """What a reader of the verdict has to know of the forecast."""
    how = "with equal weights" if kind == "mean" else "with weights that are fitted on validation"
    if not any(weights):
        how += ", which are all 0: no member is better than no change there"
    if chosen:
        return f"The forecast combines {len(weights)} runs, {chosen}, {how}."
    return f"The forecast combines {len(weights)} runs, {how}; this holds if they were not chosen by their tests."
