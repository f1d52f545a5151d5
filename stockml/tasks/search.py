"""A search: draws the trials of a sweep from optuna's study one by one, and tells the study how each has ended."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from stockml.compose import Choices, Job
from stockml.compose import Search as Plan
from stockml.errors import UserError, describe_error
from stockml.reporting import search_file
from stockml.reporting.predictions_file import read_columns
from stockml.runs.folder import RunFolder
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import study

_WRITE_SECONDS = 5.0
_MOST_REPEATS = 10  # of drawn parameters, until the first that have not been tried are taken; in an endless space × 10
_JOB, _SEARCH, _ERROR, _REPEATS = "job", "search", "error", "repeats"  # attributes of a trial

TrialOf = Callable[[Sequence[str], int, set[str]], Job]
"""The job of a trial's overrides and number, under a name that is not taken."""


class Search:
    """The trials of a sweep's search."""

    def __init__(self, plan: Plan, folder: SweepFolder, trial_of: TrialOf, opened: study.Opened) -> None:
        self._plan, self._folder, self._trial_of = plan, folder, trial_of
        self._id = search_file.read(folder).get("id") or uuid.uuid4().hex
        self._storage, self._study = opened
        self._running: dict[str, Trial] = {}
        self._checked = self._beaten = self._written = 0.0
        self._is_waiting = False
        self.note: str | None = None
        """Why the search has ended before it had all its trials, where nothing is wrong."""
        self._failed_before = 0
        self._failed_before = self._failures()

    @property
    def done(self) -> int:
        """How many trials of the study have ended well or were pruned, repeated ones left out."""
        return sum(trial.state in study.COUNTED for trial in self._tried())

    @property
    def fault(self) -> str | None:
        """Why the search ended before it had all its trials, where failures were the reason."""
        most, failed = self._most_failures, self._failures()
        if self.done >= self._plan.settings.n_trials or failed <= most:
            return None
        return (
            f"{failed} trials failed, more than hydra.sweeper.max_failure_rate="
            f"{self._plan.settings.max_failure_rate:g} of n_trials={self._plan.settings.n_trials}: the search has ended"
        )

    def fault_of(self, error: Exception) -> str | None:
        """What is wrong with the study's database, where an error is about that."""
        path = self._folder.path
        where = path / "study.db" if self._plan.settings.storage is None else "hydra.sweeper.storage"
        return f"{where}: cannot be used ({study.fault(path, error)})" if isinstance(error, study.FAULTS) else None

    def finished(self) -> Iterator[Job]:
        """The jobs in the sweep's folder that have ended well or were pruned, with what they would be given today."""
        for trial in self._tried():
            if trial.state in study.COUNTED and (name := trial.user_attrs[_JOB]) in self._folder.jobs():
                yield dataclasses.replace(self._trial_of(self._overrides(trial), trial.number, set()), name=name)

    def batches(self, at_once: int) -> Iterator[list[Job]]:
        """The trials for a launcher that runs so many at once and waits for the last of them."""
        jobs = self.jobs(at_once)
        batch: list[Job] = []
        for job in jobs:
            if job is not None:
                batch.append(job)
            if batch and (job is None or len(batch) == at_once):
                yield batch
                for ended in batch:
                    self.ended(ended)
                batch = []
            elif job is None:
                time.sleep(1)  # for trials of other searches
        if batch:
            yield batch
            for ended in batch:
                self.ended(ended)

    def jobs(self, at_once: int) -> Iterator[Job | None]:
        """The trials, each drawn when it can start; None while none can: so many run, or all that are wanted.

        Where several run at once, one more is drawn while they do, so that it starts as soon as one of them ends.
        """
        self._write()
        drawn = at_once + (at_once > 1)
        for trial in self._left_behind():
            while len(self._running) >= drawn:
                yield None
            yield self._job(trial)
        while not self._is_over():
            yield None if len(self._running) >= drawn else self._next()

    def ended(self, job: Job) -> None:
        """Tell the study how a job has ended, by what its folder says."""
        self._tell(self._running.pop(job.name), self._folder.job(job.name))
        self._is_waiting = False
        if time.monotonic() - self._written > _WRITE_SECONDS:
            self._write()

    def answer(self, job: Job, epoch: int, best_loss: float) -> bool:
        """Whether a job that reports an epoch is to stop."""
        trial = self._running[job.name]
        with (
            contextlib.suppress(Exception),
            study.quiet(),
        ):  # a database that does not answer ends the search, not a job
            trial.report(best_loss, epoch)
            return trial.should_prune()
        return False

    def tick(self) -> None:
        """Time has passed: give signs of life."""
        if time.monotonic() - self._beaten > study.HEARTBEAT_SECONDS:
            self._beaten = time.monotonic()
            for trial in self._running.values():
                self._storage.record_heartbeat(trial._trial_id)

    def close(self) -> None:
        """Write what the page is drawn from."""
        objectives, importances = self._plan.settings.objectives, dict[str, dict[str, float]]()
        evaluator = optuna.importance.PedAnovaImportanceEvaluator
        for number, name in enumerate(objectives):
            target = None if len(objectives) == 1 else lambda trial, number=number: trial.values[number]
            with contextlib.suppress(Exception), study.quiet():  # there are too few trials
                found = optuna.importance.get_param_importances(self._study, evaluator=evaluator(), target=target)
                importances[name] = {key: share for key, share in found.items() if math.isfinite(share)}
        self._write(importances)

    def _is_over(self) -> bool:
        if self._is_resting:
            return False
        is_done = self.done >= self._plan.settings.n_trials
        return is_done or self.note is not None or self._failures() > self._most_failures

    @property
    def _is_resting(self) -> bool:
        """Whether no trial was wanted a moment ago, and none of this search has ended since."""
        return self._is_waiting and time.monotonic() - self._checked < 1

    @property
    def _most_failures(self) -> float:
        return self._plan.settings.max_failure_rate * self._plan.settings.n_trials

    def _failures(self) -> int:
        """How many trials have failed since the search was begun or continued."""
        return sum(_ERROR in trial.user_attrs for trial in self._trials()) - self._failed_before

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _tried(self) -> list[FrozenTrial]:
        """The trials that repeat no other, and were not lost with the search that ran them."""
        return [
            trial
            for trial in self._trials()
            if _REPEATS not in trial.user_attrs and (trial.state is not TrialState.FAIL or _ERROR in trial.user_attrs)
        ]

    def _next(self) -> Job | None:
        """A trial that repeats no other; None where none is wanted, as long as those that run do not fail."""
        if self._is_resting:
            return None
        self._checked = time.monotonic()
        self._fail_stale()
        n_trials, repeats = self._plan.settings.n_trials, 0
        while True:
            tried = self._tried()
            if sum(trial.state in (*study.COUNTED, TrialState.RUNNING) for trial in tried) >= n_trials:
                break
            seen = {_key(trial.params) for trial in tried}
            if (self._plan.is_grid or repeats >= _MOST_REPEATS) and self._plan.combinations() is not None:
                choices = self._plan.combinations() or iter(())
                free = next((choice for choice in choices if _key(choice) not in seen), None)
                if free is None:
                    self.note = f"all {len(seen)} combinations of the search space were tried"
                    break
                self._study.enqueue_trial(free)
            elif repeats >= 10 * _MOST_REPEATS:
                self.note = f"{repeats} drawn trials in a row were tried before: the search space has no others"
                break
            trial = self._draw()
            if (job := self._unless_repeated(trial)) is not None:
                return job
            repeats += 1
        self._is_waiting = True
        return None

    def _draw(self) -> Trial:
        # One that a killed search has drawn halfway is drawn again, and does not count.
        offset = sum(
            t.state is not TrialState.FAIL or bool({_JOB, _REPEATS} & t.user_attrs.keys()) for t in self._trials()
        )
        if self._plan.settings.storage is not None:  # which another search draws from at the same time
            offset += zlib.crc32(self._id.encode())
        self._study.sampler = self._plan.new_sampler(offset)
        with study.quiet():
            trial = self._study.ask()
            self._storage.record_heartbeat(trial._trial_id)
            try:
                self._choose(trial)
            except ValueError as error:
                raise UserError(
                    f"hydra.sweeper.params: are not those of the study's earlier trials ({error}); name another "
                    "hydra.sweeper.study_name, or another hydra.sweep.dir"
                ) from error
        trial.set_user_attr(_SEARCH, self._id)
        return trial

    def _choose(self, trial: Trial) -> None:
        for key, of in self._plan.space.items():
            if isinstance(of, Choices):
                trial.suggest_categorical(key, of.values)
            elif of.whole:
                trial.suggest_int(key, int(of.low), int(of.high), step=int(of.step or 1), log=of.log)
            else:
                trial.suggest_float(key, of.low, of.high, step=of.step, log=of.log)
        if self._plan.extend is not None:
            try:
                self._plan.extend(self._plan.base, trial)
            except Exception as error:  # whatever a user's function raises
                name = self._plan.settings.custom_search_space
                raise UserError(f"hydra.sweeper.custom_search_space={name}: {describe_error(error)}") from error

    def _unless_repeated(self, trial: Trial) -> Job | None:
        """The job of a trial that was drawn; None where it is one too many, or repeats an earlier one."""
        earlier = self._drawn_before(trial)
        wanted = sum(other.state in (*study.COUNTED, TrialState.RUNNING) for other in earlier)
        same = [other for other in earlier if _key(other.params) == _key(trial.params)]
        if not same and wanted < self._plan.settings.n_trials:
            return self._job(trial)
        trial.set_user_attr(_REPEATS, same[0].number if same else None)
        self._study.tell(trial, state=TrialState.FAIL)  # a pruner counts the trials that are complete
        return None

    def _drawn_before(self, trial: Trial) -> list[FrozenTrial]:
        """The trials before this one that repeat no other, once those that others are drawing now are drawn."""
        deadline = time.monotonic() + 2
        while True:
            earlier = [other for other in self._tried() if other.number < trial.number]
            drawing = [t for t in earlier if t.state is TrialState.RUNNING and _SEARCH not in t.user_attrs]
            if not drawing or time.monotonic() > deadline:
                return earlier
            time.sleep(0.02)

    def _job(self, trial: Trial) -> Job:
        named = trial.user_attrs.get(_JOB)
        taken = {path.name for path in self._folder.path.iterdir()} - {named}
        job = self._trial_of(self._overrides(trial), trial.number, taken)
        trial.set_user_attr(_JOB, job.name)
        self._folder.plan({job.name: job.swept})
        self._running[job.name] = trial
        return job

    def _overrides(self, trial: Trial | FrozenTrial) -> list[str]:
        return [*self._plan.fixed, *(self._plan.override_of(key, value) for key, value in trial.params.items())]

    def _left_behind(self) -> Iterator[Trial]:
        """The trials that ran when this search was killed or interrupted, those left out whose job has ended."""
        for frozen in self._trials():
            if frozen.state is not TrialState.RUNNING or (
                frozen.user_attrs.get(_SEARCH) != self._id and self._plan.settings.storage is not None
            ):
                continue
            trial = Trial(self._study, frozen._trial_id)
            name = frozen.user_attrs.get(_JOB)
            if name is None:
                self._study.tell(trial, state=TrialState.FAIL)  # it was drawn halfway
            elif (folder := self._folder.job(name)).outcome() in ("ok", "pruned", "failed"):
                self._tell(trial, folder)
            else:
                yield trial

    def _tell(self, trial: Trial, folder: RunFolder) -> None:
        status = folder.outcome()
        values, state = None, {"ok": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(str(status), TrialState.FAIL)
        if status == "ok":
            try:
                values = [_objective(folder, name) for name in self._plan.settings.objectives]
            except UserError as error:
                state = TrialState.FAIL
                print(f"{folder.path.name}: {error}", flush=True)
        if state is TrialState.FAIL:
            result = folder.read_json("result.json") if status is not None else {}
            trial.set_user_attr(_ERROR, str(result.get("error"))[:500])
        with study.quiet():
            self._study.tell(trial, values, state, skip_if_finished=True)

    def _fail_stale(self) -> None:
        """Fail the trials of searches elsewhere that have given no sign of life."""
        if self._plan.settings.storage is not None:
            with study.quiet():
                optuna.storages.fail_stale_trials(self._study)

    def _write(self, importances: Mapping[str, Mapping[str, float]] | None = None) -> None:
        search_file.write(self._folder, self._id, self._plan.settings.objectives, self._study, importances or {})
        self._written = time.monotonic()


def _key(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))


def _objective(folder: RunFolder, name: str) -> float:
    """What a finished job came to; UserError where it has no such figure."""
    metrics = folder.read_json("metrics.json")
    if name == "loss":
        return float(metrics["validation_loss"])
    if name == "seconds":
        return float(metrics["timing"]["train_seconds"])
    ticker, stocks = name.removeprefix("loss/"), read_columns(folder, "stocks.csv")
    loss = "val_pinball" if "val_pinball" in stocks else "val_mse"
    found = dict(zip(stocks["ticker"], stocks[loss], strict=True)).get(ticker)
    if not found:
        raise UserError(f"objective {name}: the job has no validation loss of {ticker}")
    return float(found)
