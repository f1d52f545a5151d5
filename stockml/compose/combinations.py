"""Which combinations of what is swept are the jobs of a grid: all, or what the settings in `sweep` say."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from stockml.compose.composing import Composer, is_of_hydra
from stockml.compose.grammar import quote, values_swept
from stockml.config.schema import nearest
from stockml.config.values import leaves, show
from stockml.errors import UserError

SETTINGS = ("zip", "list", "exclude")
"""Those of the section `sweep` that are about the jobs together; none of them is part of a job's config."""
_FORM = "a list of sets, each as typed, 'model=mlp seed=3', or {model: mlp, seed: 3}"


@dataclass(frozen=True)
class Combinations:
    """How the jobs of a grid are made from what is swept."""

    zips: tuple[tuple[str, ...], ...] = ()
    """Keys whose values are paired: each with the others' at the same place."""
    sets: tuple[tuple[Override, ...], ...] = ()
    """Sets of overrides of which each job has one."""
    excluded: tuple[tuple[Override, ...], ...] = ()
    """A job is left out that has a value of every key of one of these."""

    @classmethod
    def of(cls, composer: Composer, composed: DictConfig) -> Combinations:
        """Those that the section `sweep` of a composition asks for. UserError where it cannot be read."""
        section: Any = OmegaConf.to_container(composed.sweep) if OmegaConf.is_dict(composed.get("sweep")) else {}
        given = {name: section.get(name) or [] for name in SETTINGS}
        zipped = given["zip"]
        groups = [zipped] if isinstance(zipped, list) and not any(isinstance(g, list) for g in zipped) else zipped
        if not isinstance(groups, list) or not all(isinstance(g, list) and all(map(_is_text, g)) for g in groups):
            raise UserError(f"sweep.zip={show(zipped)}: must be a list of swept keys, 'sweep.zip=[stock,model]'")
        sets = {name: tuple(_sets(composer, name, given[name])) for name in ("list", "exclude")}
        return cls(tuple(map(tuple, filter(None, groups))), sets["list"], sets["exclude"])

    @property
    def asked(self) -> list[str]:
        """The settings that are not empty."""
        return [f"sweep.{n}" for n, v in zip(SETTINGS, (self.zips, self.sets, self.excluded), strict=True) if v]

    def own_keys(self) -> set[str]:
        """Those that the sets set."""
        return {o.key_or_group for one in self.sets for o in one}

    def faults(self, overrides: Sequence[Override], *, multirun: bool, is_search: bool) -> Iterator[str]:
        """What of them does not fit what was typed, a line each."""
        names = ", ".join(self.asked)
        if self.asked and not multirun:
            yield f"{names}: is about the jobs of a sweep; add -m, or in the experiment's file hydra.mode: MULTIRUN"
        if self.asked and multirun and is_search:
            yield f"{names}: is of a grid, and a search chooses its jobs itself; leave it out, or hydra/sweeper=basic"
        for o in overrides:
            if o.key_or_group in self.own_keys():
                yield f"{o.input_line}: sweep.list sets it too; leave out one of them"
        for key in (o.key_or_group for one in self.sets for o in one if is_of_hydra(o)):
            yield f"sweep.list: {key} holds for a whole sweep; take it out of the list"
        for key in (
            k for k in dict.fromkeys(self.own_keys()) if k.split(".")[0] in ("looks", "tracker", "task", "run")
        ):
            yield f"sweep.list: {key} is nothing to sweep; take it out of the list"

    def grid(self, composer: Composer, overrides: Sequence[Override]) -> list[list[Override]]:
        """The overrides of every job, in Hydra's order; what is drawn by chance is drawn here, once.

        Raises UserError where keys that are paired have no or unequally many values, or an exclusion matches no job.
        """
        axes = {o.get_key_element(): [(value,) for value in _values(composer, o)] for o in overrides}
        swept = {o.key_or_group: o.get_key_element() for o in overrides if o.is_sweep_override()}
        for group in self.zips:
            _check_zip(group, {key: len(axes[element]) for key, element in swept.items()})
            first, *others = (swept.pop(key) for key in group)
            paired = zip(axes[first], *(axes.pop(other) for other in others), strict=True)
            axes[first] = [tuple(itertools.chain(*values)) for values in paired]
        sets = [job for one in self.sets for job in itertools.product(*(_values(composer, o) for o in one))]
        every: list[Sequence[tuple[Override, ...]]] = [*([sets] if self.sets else []), *axes.values()]
        jobs = [list(itertools.chain(*job)) for job in itertools.product(*every)]
        return self._without_excluded(jobs)

    def _without_excluded(self, jobs: list[list[Override]]) -> list[list[Override]]:
        known = {o.key_or_group for job in jobs for o in job}
        for excluded in self.excluded:
            shown = " ".join(str(o.input_line) for o in excluded)
            for key in (o.key_or_group for o in excluded):
                if key not in known:
                    raise UserError(f"sweep.exclude: {shown}: {key} is not swept{nearest(key, known)}")
            kept = [job for job in jobs if not _has_all(job, excluded)]
            if len(kept) == len(jobs):
                raise UserError(f"sweep.exclude: {shown}: no job has that; take values that are swept, or leave it out")
            jobs = kept
        if not jobs:
            raise UserError("sweep.exclude: leaves no job; take fewer combinations out")
        return jobs


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _sets(composer: Composer, name: str, given: Any) -> Iterator[tuple[Override, ...]]:
    """The sets of overrides in `sweep.list` or `sweep.exclude`. UserError where one cannot be read."""
    if not isinstance(given, list):
        raise UserError(f"sweep.{name}={show(given)}: must be {_FORM}")
    for one in given:
        if isinstance(one, str) and "=" not in one:
            raise UserError(f"sweep.{name}: {one}: must be {_FORM}")
        try:
            if isinstance(one, Mapping):
                lines = [f"{k}={v if _is_text(v) else quote(v)}" for k, v in leaves(one)]
            elif _is_text(one):
                lines = shlex.split(one)
            else:
                lines = [*map(str, one)]
        except (TypeError, ValueError):
            raise UserError(f"sweep.{name}: {show(one)}: must be {_FORM}") from None
        try:
            yield tuple(composer.parse(lines))
        except UserError as error:
            raise UserError(*(f"sweep.{name}: {line}" for line in error.lines)) from error


def _values(composer: Composer, o: Override) -> list[Override]:
    """The override for each value that it stands for."""
    key = o.get_key_element()
    return composer.parse(f"{key}={v}" for v in values_swept(o)) if o.is_sweep_override() else [o]


def first_values(composer: Composer, overrides: Sequence[Override]) -> list[Override]:
    """The first value of each setting that has several; groups and Hydra's own are left out."""
    several = [o for o in overrides if o.is_discrete_sweep() and not is_of_hydra(o)]
    return [one for o in several if not composer.options(o.key_or_group) for one in _values(composer, o)[:1]]


def _check_zip(group: Sequence[str], counts: Mapping[str, int]) -> None:
    """UserError where not all keys of a group are swept, with as many values each; `counts` are those of a key."""
    shown = f"sweep.zip=[{','.join(group)}]"
    if len(set(group)) < max(2, len(group)):
        raise UserError(f"{shown}: must name two swept keys or more, each once")
    for key in group:
        if key not in counts:
            hint = nearest(key, counts)
            raise UserError(f"{shown}: {key} is not swept, or is paired already{hint}; type several values, {key}=A,B")
    if len({counts[key] for key in group}) > 1:
        listed = ", ".join(f"{counts[key]} of {key}" for key in group)
        raise UserError(f"{shown}: pairs {listed}; give each key as many values")


def _has_all(job: Sequence[Override], excluded: Sequence[Override]) -> bool:
    """Whether the job has one of the values of each of the overrides."""
    own = {o.key_or_group: o.value() for o in job}
    return all(o.key_or_group in own and own[o.key_or_group] in _plain_values(o) for o in excluded)


def _plain_values(o: Override) -> list[Any]:
    return [getattr(v, "text", v) for v in o.sweep_iterator()] if o.is_sweep_override() else [o.value()]
