"""optuna's samplers and pruners by the names that settings have for them, checked."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from stockml.compose.grammar import extra
from stockml.config.schema import nearest, one_of
from stockml.config.values import show
from stockml.errors import UserError

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

KINDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "sampler": ("samplers", _SAMPLERS),
    "pruner": ("pruners", _PRUNERS),
}


def faults_of(kind: str, settings: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the names of a sampler or pruner and of its settings."""
    known, name = KINDS[kind][1], settings.get("name")
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
    return getattr(getattr(optuna, KINDS[kind][0]), name)


def made(kind: str, settings: Mapping[str, Any]) -> Any:
    """optuna's object of these settings. UserError where it refuses one, or needs a package that is missing."""
    given = {key: value for key, value in settings.items() if key != "name" and value is not None}
    with _refused(kind, settings["name"]), warnings.catch_warnings(action="ignore"):  # that a class is experimental
        return _class(kind, KINDS[kind][1][settings["name"]])(**given)


def try_out(sampler: Any, pruner: Any, names: Mapping[str, str]) -> None:
    """Draw a trial, and ask whether to prune it: some settings fail only then. UserError where one does."""
    import optuna

    with _refused("sampler", names["sampler"]):
        optuna.create_study(sampler=sampler).ask().suggest_float("x", 0, 1)
    with _refused("pruner", names["pruner"]):
        trial = optuna.create_study(pruner=pruner).ask()
        trial.report(0.0, 1)
        trial.should_prune()


@contextlib.contextmanager
def _refused(kind: str, name: str) -> Iterator[None]:
    """UserError for whatever is raised, which is about the settings that were given."""
    try:
        yield
    except Exception as error:
        raise UserError(f"hydra.sweeper.{kind}: {name} refuses its settings ({error})") from error


def require_optuna() -> None:
    """UserError where there is no optuna, or one of long ago."""
    advice = extra("optuna")
    try:
        found = importlib.metadata.version("optuna")
        importlib.metadata.version("sqlalchemy")
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(f"hydra/sweeper=optuna: {error.name} is not installed{advice}") from None
    if tuple(map(int, found.split(".")[:2])) < (4, 9):
        raise UserError(f"hydra/sweeper=optuna: optuna {found} is installed, and 4.9 or later is needed{advice}")
