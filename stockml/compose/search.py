"""hydra/sweeper=optuna: what a search is asked for, checked."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from stockml.compose import samplers
from stockml.compose.composing import Composer, is_of_hydra
from stockml.compose.grammar import one_line, override, values_swept
from stockml.config import entry_points
from stockml.config.schema import Reader, bounded, nearest
from stockml.config.values import show
from stockml.errors import UserError

TARGET = "optuna"
"""The `hydra.sweeper._target_` of a search."""
_MANY_EPOCHS = 10**6
SPACES = "stockml.search_spaces"
"""The group of entry points for `hydra.sweeper.custom_search_space`: functions `(settings, trial)`.

Each is given the nested settings of the command line and optuna's trial, and chooses what it likes: the parameters that
it suggests, under the names of settings, become the trial's overrides.
"""


@dataclass(frozen=True)
class Choices:
    """Values to choose one of."""

    values: tuple[Any, ...]
    """Text, numbers, truths or None; anything else as its text."""
    overrides: tuple[str, ...]
    """Each as an override."""


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    step: float | None
    log: bool
    whole: bool

    def points(self) -> list[Any] | None:
        """All of them, None where they are endless."""
        if self.step is None and not self.whole:
            return None
        step = self.step or 1
        points = [self.low + step * number for number in range(math.floor((self.high - self.low) / step + 1e-9) + 1)]
        return [int(point) for point in points] if self.whole else points


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The section `hydra.sweeper` of a search."""

    n_trials: int = bounded(least=1)
    n_jobs: int = bounded(least=1)
    custom_search_space: str | None
    objectives: tuple[str, ...]
    direction: tuple[Literal["minimize", "maximize"], ...]
    study_name: str
    storage: str | None
    max_failure_rate: float = bounded(least=0, most=1)

    def conflicts(self) -> Iterator[str]:
        """Broken rules."""
        for name in self.objectives:
            if name not in ("loss", "seconds") and not (name.startswith("loss/") and name != "loss/"):
                known = "loss, seconds or loss/TICKER, of validation and training alone"
                yield f"objectives: {name!r}: must be {known}{nearest(name, ['loss', 'seconds'])}"
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            yield f"objectives={show(list(self.objectives))}: must be one or more, each named once"
        elif len(self.direction) != len(self.objectives):
            yield f"direction={show(list(self.direction))}: must be one, or one for each of hydra.sweeper.objectives"


@dataclass(frozen=True)
class Search:
    """A search, checked."""

    settings: SearchSettings
    space: Mapping[str, Choices | Interval]
    """What is chosen, by the key or config group that is set."""
    fixed: tuple[str, ...]
    """The overrides that all trials have."""
    base: Mapping[str, Any]
    """The nested settings under these alone."""
    extend: Callable[[Mapping[str, Any], Any], object] | None
    """Chooses more."""
    sampler: Mapping[str, Any]
    """Its name and settings."""
    pruner: Mapping[str, Any]

    def new_sampler(self, seed_offset: int) -> Any:
        """optuna's sampler; a seed is moved by `seed_offset`, so that no two trials are drawn alike."""
        settings = dict(self.sampler)
        if isinstance(settings.get("seed"), int) and settings["name"] != "qmc":  # whose sequence goes on by itself
            settings["seed"] += seed_offset
        return samplers.made("sampler", settings)

    def new_pruner(self, most_epochs: int) -> Any:
        """optuna's pruner, None where nothing is pruned."""
        settings = dict(self.pruner)
        if settings.get("name") == "hyperband" and settings.get("max_resource") is None:
            settings["max_resource"] = most_epochs
        return samplers.made("pruner", settings) if settings.get("name") else None

    @property
    def prunes(self) -> bool:
        """Whether trials may be stopped early."""
        return bool(self.pruner.get("name"))

    @property
    def is_grid(self) -> bool:
        """Whether the combinations are counted out one by one."""
        return bool(self.sampler["name"] == "grid")

    def combinations(self) -> Iterator[dict[str, Any]] | None:
        """Every choice that there can be; None where they are endless, or not known."""
        found = {key: points(dimension) for key, dimension in self.space.items()}
        known = [values for values in found.values() if values is not None]
        if len(known) < len(found) or (self.extend is not None and not self.is_grid):
            return None
        return (dict(zip(found, values, strict=True)) for values in itertools.product(*known))

    def override_of(self, key: str, value: Any) -> str:
        """The override that sets a parameter to a value that was chosen."""
        return _override(key, value, self.space.get(key))


def _override(key: str, value: Any, dimension: Choices | Interval | None) -> str:
    if isinstance(dimension, Choices) and value in dimension.values:
        return dimension.overrides[dimension.values.index(value)]
    return override(key, value) if isinstance(value, str) else f"{key}={show(value)}"


def corners(composer: Composer, overrides: Sequence[Override]) -> list[list[Override]]:
    """The overrides of two trials: with the first of all choices, and with the last ones."""
    fixed, chosen = [o for o in overrides if not o.is_sweep_override()], list[tuple[str, str]]()
    for o in overrides:
        if o.is_sweep_override():
            with contextlib.suppress(ValueError):  # which read_search says
                dimension, key = _dimension(composer, o), o.get_key_element()
                first, last = (_override(key, value, dimension) for value in _ends(dimension))
                chosen.append((first, last))
    return [[*fixed, *composer.parse(lines)] for lines in zip(*chosen, strict=True)]


def points(dimension: Choices | Interval) -> list[Any] | None:
    """All values of a parameter, None where they are endless."""
    return list(dimension.values) if isinstance(dimension, Choices) else dimension.points()


def _ends(dimension: Choices | Interval) -> tuple[Any, Any]:
    if isinstance(dimension, Choices):
        return dimension.values[0], dimension.values[-1]
    if dimension.points() is not None:
        return dimension.low, dimension.high
    within = dimension.low + 0.382 * (dimension.high - dimension.low)  # no whole number, which an end may be
    return within, within


def read_search(
    composer: Composer,
    hydra: DictConfig,
    overrides: Sequence[Override],
    base: Mapping[str, Any],
    faults_of_trial: Callable[[Sequence[Override]], Sequence[str]],
) -> Search:
    """The search that `hydra.sweeper` and the overrides ask for. UserError with every fault of it, or of all trials.

    `base` has the nested settings under the overrides that choose nothing.
    """
    try:
        sweeper: Any = OmegaConf.to_container(hydra.sweeper, resolve=True)
    except Exception as error:
        raise UserError(one_line(error)) from error
    if sweeper.get("storage") == f"sqlite:///{hydra.sweep.dir}/study.db":  # as older files have the default
        sweeper["storage"] = None
    found = _checked(composer, sweeper, [o for o in overrides if not is_of_hydra(o)], base)
    trials = corners(composer, overrides)
    faults = faults_of_trial(trials[0]) if trials else ()
    if faults and (of_all := [fault for fault in faults_of_trial(trials[1]) if fault in faults]):
        raise UserError(*(f"{fault}{_advice(found.space, fault)}" for fault in of_all))
    return found


def _advice(space: Mapping[str, Choices | Interval], fault: str) -> str:
    """How whole numbers are searched, where those of an interval are refused since they are not."""
    of = space.get(fault.partition("=")[0])
    if not isinstance(of, Interval) or "must be a whole number" not in fault:
        return ""
    return f"; int(interval({of.low:g},{of.high:g})) is one of whole numbers"


def _checked(
    composer: Composer, sweeper: Mapping[str, Any], overrides: Sequence[Override], base: Mapping[str, Any]
) -> Search:
    samplers.require_optuna()
    faults: list[str] = []
    given = {key: value for key, value in sweeper.items() if key not in ("_target_", "params", "sampler", "pruner")}
    objectives, direction = given.get("objectives"), given.get("direction")
    if isinstance(direction, str):
        given["direction"] = [direction] * (len(objectives) if isinstance(objectives, list) else 1)
    reader = Reader({}, lambda _key, _path: "")
    settings = reader.read(SearchSettings, given, "hydra.sweeper.")
    faults += reader.problems
    space: dict[str, Choices | Interval] = {}
    for o in overrides:
        if o.is_sweep_override():
            try:
                space[o.get_key_element()] = _dimension(composer, o)
            except ValueError as error:
                faults.append(f"{o.input_line}: {error}")
    extend: Any = None
    if settings is not None and (name := settings.custom_search_space) is not None:
        extend = entry_points.find(SPACES, name, object, "hydra.sweeper.custom_search_space")
        if not callable(extend):
            known = sorted(entry_points.names(SPACES))
            faults.append(
                f"hydra.sweeper.custom_search_space={name}: no installed package has it in its entry points "
                f"{SPACES}{nearest(name, known)}"
            )
    elif not any(o.is_sweep_override() for o in overrides):
        faults.append("hydra/sweeper=optuna: nothing is searched; type it: -m 'trainer.lr=interval(1e-4,1e-2)'")
    given_kinds = {key: sweeper.get(key) or {} for key in samplers.KINDS}
    named = {key: {"name": of} if isinstance(of, str) else dict(of) for key, of in given_kinds.items()}
    faults += [fault for key in samplers.KINDS for fault in samplers.faults_of(key, named[key])]
    if named["sampler"].get("name") == "grid":
        endless = [key for key, dimension in space.items() if points(dimension) is None]
        faults += [f"hydra/sweeper/sampler=grid: {key} has endless values; name them: choice(a,b,c)" for key in endless]
    if settings is not None and settings.objectives != ("loss",) and named["pruner"].get("name"):
        faults.append(
            "hydra/sweeper/pruner: trials are pruned by their loss, and only where it is the one objective, not by "
            f"hydra.sweeper.objectives={show(list(settings.objectives))}; take hydra/sweeper/pruner=none"
        )
    tickers = base["data"].get("tickers") or []
    for name in settings.objectives if settings is not None else ():
        ticker = name.removeprefix("loss/")
        if ticker != name and tickers != "all" and ticker not in tickers:
            faults.append(f"hydra.sweeper.objectives: {name} is of a stock that is not in data.tickers={show(tickers)}")
    if faults:
        raise UserError(*faults)
    fixed = tuple(str(o.input_line) for o in overrides if not o.is_sweep_override())
    search = Search(settings, space, fixed, base, extend, named["sampler"], named["pruner"])
    names = {kind: str(named[kind].get("name")) for kind in samplers.KINDS}
    samplers.try_out(search.new_sampler(0), search.new_pruner(_MANY_EPOCHS), names)
    return search


def _dimension(composer: Composer, o: Override) -> Choices | Interval:
    """What an override leaves open; ValueError where that is nothing to choose from."""
    value: Any = o.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        assert low is not None and high is not None
        if low > high or (log and low <= 0):
            raise ValueError("a logarithmic interval begins above 0" if log else "an interval begins with its low end")
        whole = "int" in value.tags or (isinstance(low, int) and isinstance(high, int))
        return Interval(low, high, None, log, whole)
    if isinstance(value, RangeSweep) and not value.shuffle and (value.step or 1) > 0:
        found = list(value.range())  # without its stop, as in a grid
        if found:
            return Interval(found[0], found[-1], value.step, False, all(isinstance(point, int) for point in found))
    texts = list(dict.fromkeys(values_swept(o)))
    lines = tuple(f"{o.get_key_element()}={text}" for text in texts)
    values = [parsed.value() for parsed in composer.parse(lines)]
    scalars = (
        one if one is None or isinstance(one, (str, int, float)) else text
        for one, text in zip(values, texts, strict=True)
    )
    return Choices(tuple(scalars), lines)
