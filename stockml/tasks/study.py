"""optuna's study of a search, and the database that it is kept in."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import sqlite3
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import TrialState

from stockml import models
from stockml.compose import Search as Plan
from stockml.config.root import Config, identity
from stockml.config.values import leaves, show
from stockml.errors import UserError
from stockml.runs.names import safe_name

HEARTBEAT_SECONDS = 30
"""Between two signs of life of a running trial; one without for twice as long belongs to a search that was killed."""
FAULTS = (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError)
"""What is raised where its database cannot be read or written."""
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)
"""The states of trials that count for `n_trials`."""
_FIXED = "fixed"
"""Attribute of a study: the settings that all its trials have, by dotted key."""

Opened = tuple[optuna.storages.RDBStorage, optuna.Study]
"""A study, and its storage, which takes the signs of life."""


def opened(plan: Plan, folder: Path, config: Config) -> Opened:
    """The study, made if there is none: in the storage that is named, else in study.db of the sweep's folder.

    `config` is that of its trials, but for what they choose. UserError where it cannot be opened, or is of another
    search.
    """
    settings, url = plan.settings, plan.settings.storage
    own = sqlalchemy.URL.create("sqlite", database=str(folder / "study.db")).render_as_string(hide_password=False)
    try:
        shown = own if url is None else sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        raise UserError(
            f"hydra.sweeper.storage={url}: is no URL of a database, such as sqlite:////path/study.db"
        ) from None
    if url is None:
        _require_tables(folder / "study.db")
    try:
        storage, study = _made(plan, url or own, models.most_epochs(config))
        trials, known = study.get_trials(deepcopy=False), study.user_attrs.get(_FIXED)
    except Exception as error:  # whatever the driver of the database raises
        reason = fault(folder, error)
        if url is None:
            raise UserError(
                f"{folder / 'study.db'}: cannot be opened ({reason}); mend that, or choose another hydra.sweep.dir"
            ) from error
        raise UserError(
            f"hydra.sweeper.storage={shown}: cannot be opened ({reason}); name another, or null: study.db in the "
            "sweep's folder"
        ) from error
    directions = [direction.name.lower() for direction in study.directions]
    if directions != list(settings.direction):
        raise UserError(
            f"hydra.sweeper.direction: the study {settings.study_name} in {shown} has {', '.join(directions)}; name "
            "another hydra.sweeper.study_name"
        )
    for trial in [trial for trial in trials if trial.state in COUNTED][-1:]:
        if names := set(plan.space) ^ set(trial.params) if plan.extend is None and trial.params else None:
            raise UserError(
                f"hydra.sweeper.study_name={settings.study_name}: its earlier trials chose other settings "
                f"({', '.join(sorted(names))}); name another, or another hydra.sweep.dir"
            )
    for trial in trials:  # a database may be somebody else's
        job = trial.user_attrs.get("job", "x")
        is_named = isinstance(job, str) and job == safe_name(job)
        if not is_named or (plan.extend is None and not trial.params.keys() <= set(plan.space)):
            raise UserError(
                f"hydra.sweeper.study_name={settings.study_name}: its trial {trial.number} was not made by this "
                f"search ({shown}); name another, or another hydra.sweep.dir"
            )
    fixed = {key: value for key, value in leaves(identity(config)) if not _is_chosen(key, plan)}
    if known is None:
        study.set_user_attr(_FIXED, fixed)
        return storage, study
    if not isinstance(known, dict):
        raise UserError(f"{shown}: does not say what its trials have in common; name another hydra.sweep.dir")
    if changed := [key for key in fixed.keys() & known.keys() if fixed[key] != known[key]]:
        raise UserError(
            *(f"{key} is {show(known[key])} in the study's trials, not {show(fixed[key])}" for key in sorted(changed)),
            f"hydra.sweeper.study_name={settings.study_name}: is not continued; leave these as they were, or name "
            "another, or another hydra.sweep.dir",
        )
    return storage, study


def fault(folder: Path, error: BaseException) -> str:
    """Why the database of a study in the sweep's folder could not be used, as a phrase."""
    while error.__cause__ is not None:  # optuna's and sqlalchemy's say less than the driver's
        error = error.__cause__
    with contextlib.suppress(OSError, AttributeError):  # which sqlite does not say of a disk without room for a file
        disk = os.statvfs(folder)
        if disk.f_bavail == 0 or disk.f_files > disk.f_favail == 0:
            return os.strerror(errno.ENOSPC)
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _require_tables(path: Path) -> None:
    """UserError where a database has what runs when it is read: views, triggers, columns that are computed."""
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as database:
            made = database.execute("SELECT type, sql FROM sqlite_master").fetchall()
            is_torn = database.execute("PRAGMA foreign_key_check").fetchone() is not None
    except sqlite3.Error as error:
        reason = fault(path.parent, error)
        raise UserError(f"{path}: cannot be opened ({reason}); mend that, or choose another hydra.sweep.dir") from error
    if any(kind not in ("table", "index") or re.search(r"\b(AS|VIRTUAL)\b", sql or "", re.I) for kind, sql in made):
        raise UserError(f"{path}: has more than tables, as no search writes it; name another hydra.sweep.dir")
    if is_torn:
        raise UserError(f"{path}: has rows of trials that are missing; restore it, or name another hydra.sweep.dir")


def _is_chosen(key: str, plan: Plan) -> bool:
    """Whether a setting is chosen for each trial, or its config group is."""
    return any(f"{key}.".startswith(f"{chosen.replace('/', '.')}.") for chosen in plan.space)


def _made(plan: Plan, url: str, most_epochs: int, tries: int = 5) -> Opened:
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # of a signal, which is raised as well
    try:
        with quiet():
            storage = optuna.storages.RDBStorage(
                url,
                # Jobs are forked from this process: no connection may be open then.
                engine_kwargs={"poolclass": sqlalchemy.pool.NullPool},
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=2 * HEARTBEAT_SECONDS,
            )
            if plan.settings.storage is None:  # an epoch may be shorter than a disk takes for the report of it
                sqlalchemy.event.listen(storage.engine, "connect", _without_waiting_for_the_disk)
            study = optuna.create_study(
                study_name=plan.settings.study_name,
                storage=storage,
                pruner=plan.new_pruner(most_epochs) or optuna.pruners.NopPruner(),
                directions=plan.settings.direction,
                load_if_exists=True,
            )
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError):
        if tries == 1:
            raise
        time.sleep(0.2)  # another search may be making the same tables at this moment
        return _made(plan, url, most_epochs, tries - 1)
    return storage, study


def _without_waiting_for_the_disk(connection: Any, _record: object) -> None:
    """What is written outlives this process however it ends, but not a loss of power at that moment."""
    connection.execute("PRAGMA synchronous=OFF")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without optuna's warnings: of what is experimental, of an epoch that was reported before a search was killed."""
    with warnings.catch_warnings(action="ignore"):
        yield
