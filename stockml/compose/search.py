"""hydra/sweeper=optuna: what a search is asked for, checked."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from stockml.compose.composing import Composer, is_of_hydra
from stockml.compose.grammar import extra, one_line, override
from stockml.config import entry_points
from stockml.config.schema import Reader, bounded, nearest, one_of
from stockml.config.values import show
from stockml.errors import UserError

TARGET = "optuna"
"""The `hydra.sweeper._target_` of a search."""
SPACES = "stockml.search_spaces"
"""The group of entry points for `hydra.sweeper.custom_search_space`: functions `(settings, trial)`.

Each is given the nested settings of the command line and optuna's trial, and chooses what it likes: the parameters that
it suggests, under the names of settings, become the trial's overrides.
"""
_SAMPLERS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "gp": "GPSampler",
    "qmc": "QMCSampler",
    "grid": "RandomSampler",  # of what a custom_search_space adds: the combinations themselves are counted out
    "nsgaii": "NSGAIISampler",
}
_PRUNERS = {
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "hyperband": "HyperbandPruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "wilcoxon": "WilcoxonPruner",
}

_NEEDS = {"cmaes": "cmaes", "gp": "scipy", "qmc": "scipy", "wilcoxon": "scipy"}
"""Packages that optuna itself does not install."""


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
        if settings.get("seed") is not None and settings["name"] != "qmc":  # whose sequence goes on by itself
            settings["seed"] += seed_offset
        return _made("sampler", _SAMPLERS, settings)

    def new_pruner(self, most_epochs: int) -> Any:
        """optuna's pruner, None where nothing is pruned."""
        settings = dict(self.pruner)
        if settings.get("name") == "hyperband" and settings.get("max_resource") is None:
            settings["max_resource"] = most_epochs
        return _made("pruner", _PRUNERS, settings) if settings.get("name") else None

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

    def corners(self) -> list[list[str]]:
        """The overrides of two trials: with the first of all choices, and with the last ones."""
        return [
            [*self.fixed, *(self.override_of(key, _ends(dimension)[end]) for key, dimension in self.space.items())]
            for end in (0, 1)
        ]

    def override_of(self, key: str, value: Any) -> str:
        """The override that sets a parameter to a value that was chosen."""
        dimension = self.space.get(key)
        if isinstance(dimension, Choices):
            return dimension.overrides[dimension.values.index(value)]
        return override(key, value) if isinstance(value, str) else f"{key}={show(value)}"


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
    of_hydra = [o for o in overrides if is_of_hydra(o)]
    found = _checked(composer, sweeper, [o for o in overrides if not is_of_hydra(o)], base)
    first, last = ([*composer.parse(lines), *of_hydra] for lines in found.corners())
    faults = faults_of_trial(first)
    if faults and (of_all := [fault for fault in faults_of_trial(last) if fault in faults]):
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
    _require_optuna()
    faults: list[str] = []
    given = {key: value for key, value in sweeper.items() if key not in ("_target_", "params", "sampler", "pruner")}
    objectives, direction = given.get("objectives"), given.get("direction")
    if isinstance(direction, str) and isinstance(objectives, list):
        given["direction"] = [direction] * len(objectives)
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
    given_kinds = {key: sweeper.get(key) or {} for key in _KINDS}
    named = {key: {"name": of} if isinstance(of, str) else dict(of) for key, of in given_kinds.items()}
    faults += [fault for key in _KINDS for fault in _faults_of(key, named[key])]
    if named["sampler"].get("name") == "grid":
        endless = [key for key, dimension in space.items() if points(dimension) is None]
        faults += [f"hydra/sweeper/sampler=grid: {key} has endless values; name them: choice(a,b,c)" for key in endless]
    if settings is not None and len(settings.objectives) > 1 and named["pruner"].get("name"):
        faults.append(
            "hydra/sweeper/pruner: nothing can be pruned by several objectives; take hydra/sweeper/pruner=none"
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
    search.new_sampler(0)
    search.new_pruner(1)
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
    texts = list(dict.fromkeys(o.sweep_string_iterator()))
    lines = tuple(f"{o.get_key_element()}={text}" for text in texts)
    values = [parsed.value() for parsed in composer.parse(lines)]
    scalars = (
        one if one is None or isinstance(one, (str, int, float)) else text
        for one, text in zip(values, texts, strict=True)
    )
    return Choices(tuple(scalars), lines)


_KINDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "sampler": ("samplers", _SAMPLERS),
    "pruner": ("pruners", _PRUNERS),
}


def _faults_of(kind: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the names of a sampler or pruner and of its settings."""
    known, name = _KINDS[kind][1], settings.get("name")
    if "_target_" in settings:
        yield f"hydra.sweeper.{kind}._target_: a config names no class; type hydra/sweeper/{kind}={'|'.join(known)}"
    elif name not in known and (kind == "sampler" or name is not None):
        yield f"hydra.sweeper.{kind}.name={show(name)}: must be {one_of(list(known))}{nearest(str(name), known)}"
    elif name is not None:
        if (needed := _NEEDS.get(name)) and importlib.util.find_spec(needed) is None:
            yield f"hydra/sweeper/{kind}={name}: needs {needed}: pip install {needed}"
        parameters = list(inspect.signature(_class(kind, known[name])).parameters)
        for key in settings:
            if key != "name" and key not in parameters:
                yield f"hydra.sweeper.{kind}.{key}: {name} has no such setting{nearest(key, parameters)}"


def _class(kind: str, name: str) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return getattr(getattr(optuna, _KINDS[kind][0]), name)


def _made(kind: str, known: Mapping[str, str], settings: Mapping[str, Any]) -> Any:
    """optuna's object of these settings. UserError where it refuses one, or needs a package that is missing."""
    given = {key: value for key, value in settings.items() if key != "name" and value is not None}
    try:
        with warnings.catch_warnings(action="ignore"):  # that a class is experimental
            return _class(kind, known[settings["name"]])(**given)
    except Exception as error:  # whatever it raises is about what it was given
        raise UserError(f"hydra.sweeper.{kind}: {settings['name']} refuses its settings ({error})") from error


def _require_optuna() -> None:
    """UserError where there is no optuna, or one of long ago."""
    advice = extra("optuna")
    try:
        found = importlib.metadata.version("optuna")
        importlib.metadata.version("sqlalchemy")
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"hydra/sweeper=optuna: {error.name} is not installed{advice}") from None
    if tuple(map(int, found.split(".")[:2])) < (4, 9):
        raise UserError(f"hydra/sweeper=optuna: optuna {found} is installed, and 4.9 or later is needed{advice}")
