"""Sweeps planned: which jobs there will be, and what each is called."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stockml.compose.checks import compose_job, forced
from stockml.compose.grammar import composition, one_line, parse
from stockml.config.root import Config
from stockml.config.values import show
from stockml.errors import UserError
from stockml.runs.names import numbered_names, safe_name

_LONGEST_NAME = 100  # of a job; a file system takes 255 bytes


@dataclass(frozen=True)
class Job:
    """One job of a sweep."""

    name: str
    swept: dict[str, Any]
    """The value of each key that differs from job to job."""
    config: Config | None
    """None where it cannot be composed, which the job itself will tell."""


@dataclass(frozen=True)
class Sweep:
    """A sweep as it was typed."""

    folder: Path
    is_named: bool
    """Whether the folder was typed: then what it holds is continued."""
    fixed: frozenset[str]
    """Keys that are the same for every job."""
    jobs: tuple[Job, ...]
    """In Hydra's order; none where a search chooses them as it goes."""
    launcher: str
    """Hydra's class for it; ours, or another's."""
    trials: int | None
    """How many jobs a search is to choose; None where all are known."""
    sampler_seed: int | None
    n_jobs: int
    """Jobs at once; -1 where as many as the machine has room for."""


@dataclass(frozen=True)
class Mode:
    """Whether there is to be a sweep, and what Hydra's own config says of it."""

    multirun: bool
    params: list[Override]
    """What hydra.sweeper.params sweeps, less the keys that were typed."""
    search: bool
    """Whether the sweeper is another than the grid."""
    settings: Any
    """The section `hydra` of the config."""


def mode(overrides: list[Override], multirun: bool) -> Mode:
    """Look whether a sweep is asked for, by -m or by `hydra.mode` of an experiment; UserError where none composes."""
    fixed = [o for o in overrides if not o.is_sweep_override()]
    concerned = [o for o in fixed if _concerns_hydra(o)]
    if not multirun and not concerned:
        return Mode(False, [], False, None)
    try:
        try:
            composed = composition(*forced(fixed))  # which is that of the job, where there is but one
        except (HydraException, OmegaConfBaseException):
            composed = composition(*forced(concerned))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from error
    settings = composed["hydra"]
    sweeps = multirun or str(settings.mode).endswith("MULTIRUN")
    given = OmegaConf.to_container(settings.sweeper.get("params") or OmegaConf.create())
    assert isinstance(given, dict)
    typed = {o.get_key_element() for o in overrides}
    params = [o for o in parse(f"{key!s}={value}" for key, value in given.items()) if o.get_key_element() not in typed]
    return Mode(
        sweeps,
        params if sweeps else [],
        not settings.sweeper._target_.endswith(("BasicSweeper", "GridSweeper")),
        settings,
    )


def _concerns_hydra(o: Override) -> bool:
    return o.key_or_group.split(".")[0].split("/")[0] in ("hydra", "experiment", "local")


def grid(overrides: list[Override]) -> list[list[str]]:
    """The overrides of every job of a grid, in Hydra's order."""
    return [job for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]


def jobs_of(grid: Sequence[Sequence[str]], configs: Sequence[Config], swept: set[str]) -> tuple[Job, ...]:
    """The jobs of a grid, each under a name of its own."""
    values = [_swept(job, swept) for job in grid]
    plain = [_name(config, job) for config, job in zip(configs, values, strict=True)]
    distinct: dict[str, set[str]] = {}
    for name, job in zip(plain, values, strict=True):
        distinct.setdefault(name, set()).add(str(job))
    wanted = [
        f"{name}-{_hash(job)}" if len(distinct[name]) > 1 else name for name, job in zip(plain, values, strict=True)
    ]
    names: list[str] = []
    for number, name in enumerate(wanted):
        first = name not in wanted[:number]
        names.append(name if first else _free(name, {*wanted, *names}))
    return tuple(Job(name, job, config) for name, job, config in zip(names, values, configs, strict=True))


def job_of(overrides: Sequence[str], fixed: frozenset[str], taken: Iterable[str]) -> Job:
    """The job that a search has chosen, by its overrides, under a name that is not taken."""
    swept = {o.key_or_group for o in parse(overrides)} - fixed
    config, _, _ = compose_job(parse(overrides))
    values = _swept(overrides, swept)
    name = _name(config, values)
    return Job(_free(name, set(taken)), values, config)


def _free(name: str, taken: set[str]) -> str:
    """The name, or with `_2`, `_3`, … the first that is not taken."""
    return next(own for own in numbered_names(name) if own not in taken)


def _swept(overrides: Iterable[str], keys: set[str]) -> dict[str, Any]:
    return {o.key_or_group: o.value() for o in parse(overrides) if o.key_or_group in keys}


def _name(config: Config | None, swept: dict[str, Any]) -> str:
    """`AAPL`, `AAPL-seed_3`: the ticker, then what else was swept."""
    ticker = config.stock.ticker if config else "job"
    last = Counter(key.split(".")[-1] for key in swept)
    parts = [ticker]
    for key, value in swept.items():
        text = _brief(value)
        short = key.split(".")[-1]
        if text != ticker:
            parts.append(f"{short if last[short] == 1 else key}_{text}")
    name = safe_name("-".join(parts))
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 9]}-{_hash(swept)}"


def _brief(value: Any) -> str:
    if isinstance(value, str) and "/" in value:
        return Path(value).stem
    return f"{value:.4g}" if isinstance(value, float) else show(value)


def _hash(swept: dict[str, Any]) -> str:
    return hashlib.sha256(str(swept).encode()).hexdigest()[:8]
