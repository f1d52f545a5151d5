"""What was typed, checked: all that is wrong with it, a line a fault."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from hydra.conf import HydraConf
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf

from stockml import models
from stockml.compose.combinations import SETTINGS
from stockml.compose.composing import Composer, is_of_hydra
from stockml.compose.grammar import extra
from stockml.compose.modes import Mode, ray_settings
from stockml.config.root import Config, check
from stockml.config.schema import nearest, one_of
from stockml.config.values import show
from stockml.data import sources
from stockml.data.features import sets as feature_sets
from stockml.data.settings import CLOSE_TARGETS, BarsConfig
from stockml.data.sources.csv.file_names import stem
from stockml.errors import UserError
from stockml.training.settings import OF_STEPS


class TaskRules(Protocol):
    """What of the table of tasks the check of a command line reads."""

    @property
    def summary(self) -> str:
        """A line, for the help."""

    @property
    def from_run(self) -> bool:
        """Whether the saved config of `run` is the task's base."""

    @property
    def reads_data(self) -> bool:
        """Whether the task reads the data of its config."""

    @property
    def takes_sweep(self) -> bool:
        """Whether `run` may be a sweep's folder."""

    @property
    def compares_conf(self) -> bool:
        """Whether the task reports where today's conf/ differs from the run's."""

    @property
    def implies(self) -> tuple[str, ...]:
        """Overrides that hold unless their keys are typed."""

    def faults(self, config: Config) -> Iterator[str]:
        """The rules of the task that a config breaks, a line each."""


Tasks = Mapping[str, TaskRules]


@dataclasses.dataclass(frozen=True)
class _NoRules:
    summary: str = ""
    from_run: bool = False
    reads_data: bool = True
    takes_sweep: bool = False
    compares_conf: bool = False
    implies: tuple[str, ...] = ()

    def faults(self, config: Config) -> Iterator[str]:  # noqa: ARG002  (as every task has it)
        yield from ()


TRAINING: Tasks = {"train": _NoRules()}
"""The table of who only trains."""


def misused(overrides: Sequence[Override], mode: Mode) -> dict[str, str]:
    """What is wrong with overrides that mean something, but not like this, by key."""
    faults = {problem: problem for problem in ray_settings(mode.composed)[1]}
    resumed = any(o.key_or_group == "trainer.resume" and o.value() is not None for o in overrides)
    for o in overrides:
        key, sweeps = o.key_or_group, o.is_sweep_override()
        if sweeps and key.split(".")[0] in ("looks", "tracker", "sweep"):
            several = f"several at once are a list: '{key}=[{str(o.input_line).partition('=')[2]}]'"
            advice = several if key in ("tracker", "sweep.zip") else "take one value"
            faults[key] = f"{o.input_line}: is nothing to sweep, since no number depends on it; {advice}"
        elif sweeps and not mode.multirun:
            faults[key] = f"{o.input_line}: several values make a sweep; add -m"
        elif sweeps and key in ("trainer.resume", "task", "run"):
            faults[key] = f"{o.input_line}: a task or a resumed run is one, no sweep"
        elif sweeps and key.startswith(("hydra.", "hydra/")):
            own = str(o.input_line).partition("hydra.sweeper.params.")[2]
            advice = f"to sweep it, type it by itself: '{own}'" if own else "it holds for a whole sweep; take one value"
            faults[key] = f"{o.input_line}: is Hydra's own; {advice}"
        elif sweeps and not o.is_discrete_sweep() and not mode.is_search:
            advice = "name them, a,b,c, or range(start,stop,step); or search: hydra/sweeper=optuna"
            faults[key] = f"{o.input_line}: has endless values; {advice}"
        elif sweeps and o.is_discrete_sweep() and next(iter(o.sweep_string_iterator()), None) is None:
            faults[key] = f"{o.input_line}: matches no value; a sweep needs at least one"
        elif resumed and key == "hydra.run.dir":
            faults[key] = f"{o.input_line}: a resumed run goes on in its own folder; leave this out"
        elif key == "features.set":
            faults[key] = f"{o.input_line}: a set is chosen by features={str(o.input_line).partition('=')[2]}"
        elif key == "hydra.sweep.subdir":
            faults[key] = f"{o.input_line}: jobs are named by what is swept; leave this out"
        elif key == "hydra.launcher.n_jobs" and not _is_number_of_jobs(o.value()):
            faults[key] = f"{o.input_line}: must be a whole number ≥ 1, or -1 for as many as there is room for"
        elif mode.multirun and key == "hydra.run.dir":
            faults[key] = f"{o.input_line}: is for one run; a sweep's folder is hydra.sweep.dir=FOLDER"
        elif mode.multirun and key == "trainer.resume" and o.value() is not None:
            faults[key] = f"{o.input_line}: a resumed run is one; a sweep goes on with hydra.sweep.dir=<its folder>"
        elif mode.multirun and key in ("task", "run") and o.value() not in ("train", None):
            faults[key] = f"{o.input_line}: is no task for a sweep; leave out -m"
    if mode.settings.job.chdir:
        faults["hydra.job.chdir"] = "hydra.job.chdir=true: stockml never changes the working folder; leave it out"
    return faults


def _known(group: str, choices: Sequence[str]) -> Sequence[str]:
    """The choices of a group, those of installed packages with them."""
    installed: dict[str, Callable[[], Sequence[str]]] = {
        "model": models.names,
        "data": lambda: sorted(sources.names()),
        "features": lambda: sorted({*choices, *feature_sets.names()}),
    }
    return installed[group]() if group in installed else choices


def _is_number_of_jobs(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (value == -1 or value >= 1)


def unknown_choices(composer: Composer, overrides: Iterable[Override]) -> dict[str, str]:
    """What is wrong with choices of config groups, by group; makes installed models known to Hydra on the way."""
    faults = {}
    for o in overrides:
        group = o.key_or_group
        choices = composer.options(group)
        if not choices or o.type == OverrideType.DEL:
            continue
        value = o.value()
        if group == "tracker" and isinstance(value, list):  # the one group of which several may be chosen
            given: Iterable[Any] = value
        else:
            given = o.sweep_string_iterator() if o.is_sweep_override() else [value]
        for choice in map(show, given):
            if not composer.is_choice(group, choice):
                known = _known(group, choices)
                own = f"; for another ticker: stock.ticker={choice}" if group == "stock" else ""
                advice = extra(choice) or _OTHER_NAMES.get(choice) or nearest(choice, known) or own
                faults[group] = f"{group}={choice}: must be {one_of(known)}{advice}"
        if o.type == OverrideType.ADD and group in composer.groups() and group != "experiment":
            faults.setdefault(group, f"{o.input_line}: exists already; write it without the plus")
        if group == "experiment" and o.type == OverrideType.CHANGE:
            faults[group] = f"{o.input_line}: an experiment is added with a plus: +{o.input_line}"
    return faults


_OTHER_NAMES = {
    "sklearn": "; scikit-learn's are elastic_net, svr, random_forest, extra_trees and hist_gradient_boosting",
}
"""Advice where a choice is typed that is known by other names."""


# Sections of Hydra's own config that may hold any key.
_OPEN = ("hydra.job.env_set", "hydra.callbacks", "hydra.sweeper", "hydra.launcher", "hydra.job_logging")


def unknown_hydra_keys(composer: Composer, overrides: Iterable[Override]) -> dict[str, str]:
    """Settings that Hydra's own config does not have, by key."""
    keys = [o for o in overrides if o.key_or_group.startswith("hydra.") and not composer.options(o.key_or_group)]
    known = OmegaConf.create({"hydra": HydraConf}) if keys else OmegaConf.create()
    return {
        o.key_or_group: f"{o.key_or_group}: Hydra has no such setting; python run.py --cfg hydra shows those it has"
        if not _has(known, o.key_or_group)
        else f"{o.input_line}: exists already; write it without the plus"
        for o in keys
        if not o.key_or_group.startswith(_OPEN) and (o.type == OverrideType.ADD or not _has(known, o.key_or_group))
    }


_LISTS = tuple(f"sweep.{name}" for name in SETTINGS)  # as likely typed with a plus as without


def added_twice(composer: Composer, overrides: Sequence[Override]) -> dict[str, str]:
    """Settings that were added with a plus though they are there without it, by key."""
    added = [o for o in overrides if o.type == OverrideType.ADD and not is_of_hydra(o)]
    added = [o for o in added if not composer.options(o.key_or_group) and o.key_or_group not in _LISTS]
    structure = composer.structure([o for o in overrides if not o.is_sweep_override()]) if added else OmegaConf.create()
    return {
        o.key_or_group: f"{o.input_line}: exists already; write it without the plus"
        for o in added
        if _has(structure, o.key_or_group)
    }


def _has(config: DictConfig, key: str) -> bool:
    section, _, name = key.rpartition(".")
    within = OmegaConf.select(config, section) if section else config
    return OmegaConf.is_dict(within) and name in within.keys()  # noqa: SIM118  (`in` is blind to missing values)


def checked(
    values: dict[str, Any], typed: set[str], stock: str | None, tasks: Tasks
) -> tuple[Config | None, list[str]]:
    """The Config of resolved settings, or what is wrong with them.

    `typed` are the keys that were typed, `stock` names the file of conf/stock that was composed.
    """
    infer_stock(values, typed, stock)
    name = values["model"].get("name") if isinstance(values.get("model"), dict) else None
    installed = {n: f.config for n, f in models.BUILT_IN.items()}
    if isinstance(name, str) and name not in installed and (found := models.family(name)):
        installed[name] = found.config
    source = values["data"].get("source") if isinstance(values.get("data"), dict) else None
    task = values.get("task")
    known = isinstance(task, str) and task in tasks
    faults = [] if known else [f"task={show(task)}: must be {one_of(list(tasks))}{nearest(str(task), tasks)}"]
    config, problems = check(values, sources.settings(source), installed)
    if config is not None and known:
        problems += tasks[config.task].faults(config)
        problems += models.conflicts(config) if config.task == "train" else []
        problems += _of_expressions(config)
    elif config is None:
        problems += _of_columns(values.get("features"))
    if known and not tasks[str(task)].reads_data:
        unread = f"task={task} reads no bars: what the run's folder holds is enough; leave this out"
        problems = [re.sub(r"^(data\.\w+): no such key.*", rf"\1: {unread}", problem) for problem in problems]
    problems = [*faults, *problems]
    return (_absolute(config) if config and not problems else None), problems


def _of_expressions(config: Config) -> Iterator[str]:
    """What is wrong with the expressions of features and target; the engine is imported only where there are some."""
    has_own_target = isinstance(config.data, BarsConfig) and config.data.target not in CLOSE_TARGETS
    has_more = isinstance(config.data, BarsConfig) and bool(config.data.lag or config.data.context)
    if config.features.columns or has_own_target or has_more or not config.features.bars:
        from stockml.data import spec

        yield from spec.faults(config)


def _of_columns(features: Any) -> list[str]:
    """What is wrong with the expressions of settings that are wrong elsewhere."""
    columns = features.get("columns") if isinstance(features, dict) else None
    texts = {str(n): text for n, text in columns.items() if isinstance(text, str)} if isinstance(columns, dict) else {}
    if not texts:
        return []
    from stockml.data import spec

    return spec.parsed_columns(texts)[1]


def without_effect(configs: Sequence[Config], typed: Iterable[Override]) -> list[str]:
    """Typed settings that mean nothing for the model of a run or job, a line for each such model.

    UserError where one means nothing for any of them, or without walk-forward.
    """
    typed_keys = {o.key_or_group for o in typed}
    if "data.folds" in typed_keys and all(config.task == "train" and _is_holdout(config) for config in configs):
        raise UserError("data.folds: is of walk-forward alone; add data.split=walk_forward, or leave it out")
    names = [name for name in OF_STEPS if f"trainer.{name}" in typed_keys]
    trained = {config.model.name: config.model for config in configs if config.task == "train"}
    useless = {key: [name for name in names if not models.uses(model, name)] for key, model in trained.items()}
    lines = {
        model: f"{', '.join(f'trainer.{name}' for name in of_model)}: without effect on model={model}: its weights are "
        "computed at once, not step by step"
        for model, of_model in useless.items()
        if of_model
    }
    if any(all(name in of_model for of_model in useless.values()) for name in names if useless):
        raise UserError(
            *(f"{line}; leave {'it' if len(useless[model]) == 1 else 'them'} out" for model, line in lines.items())
        )
    return list(lines.values())


def _is_holdout(config: Config) -> bool:
    return isinstance(config.data, BarsConfig) and config.data.split == "holdout"


def infer_stock(values: dict[str, Any], typed: set[str], chosen_stock: str | None) -> None:
    """Fill in what a typed ticker, or a file, means for the rest of the stock's settings."""
    stock, data = values.get("stock"), values.get("data")
    if not isinstance(stock, dict) or not isinstance(data, dict):
        return
    stock.setdefault("simulator", None)  # a user's own stock has no figures to simulate it by
    pooled = bool(data.get("tickers")) and values.get("task") != "fetch"
    figures = {} if data.get("source") == "simulated" else {"simulator": None}
    if pooled:
        stock.update({"name": "", **({} if "stock.ticker" in typed else {"ticker": "pool"}), **figures})
    elif "stock.ticker" in typed and stock.get("ticker") != chosen_stock:
        stock.update({k: v for k, v in (("name", ""), ("simulator", None)) if f"stock.{k}" not in typed})
    names_stock = any(key == "stock" or key.startswith("stock.") for key in typed)
    if isinstance(path := data.get("path"), str) and path and not names_stock and not pooled:
        stock.update(ticker=stem(Path(path)), name="", simulator=None)
        source = sources.source(str(data.get("source")))
        stock.update({"features": []} if source is not None and not source.is_dated else {})


def _absolute(config: Config) -> Config:
    """The config with every path made absolute: it means the same from any folder."""

    def absolute(section: Any, *names: str) -> Any:
        paths = {n: str(Path(p).expanduser().absolute()) for n in names if (p := getattr(section, n, None))}
        return dataclasses.replace(section, **paths) if paths else section

    paths = absolute(config.data, "dir", "path", "context_path", "cache_dir", "panel_cache")
    within = {"data": paths, "trainer": absolute(config.trainer, "resume", "init_from")}
    within |= {"update": absolute(config.update, "of"), "looks": absolute(config.looks, "path")}
    runs = tuple(str(Path(run).expanduser().absolute()) for run in config.runs)
    whole: Config = dataclasses.replace(absolute(config, "run"), **within, runs=runs)
    return whole
