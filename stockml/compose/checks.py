"""What was typed, checked: all that is wrong with it, a line a fault."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.conf import HydraConf
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stockml import models
from stockml.compose.grammar import composition, extra, is_choice, one_line, options, settings_of
from stockml.config.root import Config, check
from stockml.config.schema import nearest, one_of
from stockml.config.values import show
from stockml.data import sources

if TYPE_CHECKING:
    from stockml.compose.sweeps import Mode


def misused(overrides: list[Override], mode: Mode) -> dict[str, str]:
    """What is wrong with overrides that mean something, but not like this, by key."""
    faults = {}
    resumed = any(o.key_or_group == "trainer.resume" and o.value() is not None for o in overrides)
    for o in overrides:
        key, sweeps = o.key_or_group, o.is_sweep_override()
        if sweeps and key.split(".")[0] == "tracker":
            several = f"several at once are a list: 'tracker=[{str(o.input_line).partition('=')[2]}]'"
            advice = several if key == "tracker" else "take one value"
            faults[key] = f"{o.input_line}: is nothing to sweep, since no number depends on it; {advice}"
        elif sweeps and not mode.multirun:
            faults[key] = f"{o.input_line}: several values make a sweep; add -m"
        elif sweeps and key in ("trainer.resume", "task", "run"):
            faults[key] = f"{o.input_line}: a task or a resumed run is one, no sweep"
        elif sweeps and not o.is_discrete_sweep() and not mode.search:
            faults[key] = f"{o.input_line}: has endless values; name them, a,b,c, or range(start,stop,step)"
        elif sweeps and o.is_discrete_sweep() and next(iter(o.sweep_string_iterator()), None) is None:
            faults[key] = f"{o.input_line}: matches no value; a sweep needs at least one"
        elif resumed and key == "hydra.run.dir":
            faults[key] = f"{o.input_line}: a resumed run goes on in its own folder; leave this out"
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
    return faults


def _is_number_of_jobs(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and (value == -1 or value >= 1)


def unknown_choices(overrides: list[Override]) -> dict[str, str]:
    """What is wrong with choices of config groups, by group; makes installed models known to Hydra on the way."""
    faults = {}
    for o in overrides:
        group = o.key_or_group
        choices = options(group)
        if not choices or o.type == OverrideType.DEL:
            continue
        value = o.value()
        if group == "tracker" and isinstance(value, list):  # the one group of which several may be chosen
            given: Iterable[Any] = value
        else:
            given = o.sweep_string_iterator() if o.is_sweep_override() else [value]
        for choice in map(show, given):
            if not is_choice(group, choice):
                known = models.names() if group == "model" else sorted(sources.names()) if group == "data" else choices
                faults[group] = f"{group}={choice}: must be {one_of(known)}{extra(choice) or nearest(choice, known)}"
        if group == "experiment" and o.type == OverrideType.CHANGE:
            faults[group] = f"{o.input_line}: an experiment is added with a plus: +{o.input_line}"
    return faults


# Parts of Hydra's own config that hold whatever their users like.
_OPEN = ("hydra.job.env_set", "hydra.callbacks", "hydra.sweeper", "hydra.launcher", "hydra.job_logging")


def unknown_keys(overrides: list[Override]) -> dict[str, str]:
    """Keys that were added with a plus though they exist, or that Hydra's own config does not have."""
    keys = [o for o in overrides if not options(o.key_or_group)]
    doubtful = [o for o in keys if o.is_add() or o.key_or_group.startswith("hydra.")]
    # Which settings Hydra has is known without composing, but not which are there to be added to.
    known = composition() if any(o.is_add() for o in doubtful) else OmegaConf.create({"hydra": HydraConf})
    faults = {}
    for o in doubtful:
        key = o.key_or_group
        section, _, name = key.rpartition(".")
        within = OmegaConf.select(known, section) if section else known
        exists = OmegaConf.is_dict(within) and name in within.keys()  # noqa: SIM118  (`in` is blind to missing values)
        if exists and o.is_add():
            faults[key] = f"{o.input_line}: exists already; write it without the plus"
        elif not exists and key.startswith("hydra.") and not key.startswith(_OPEN):
            faults[key] = f"{key}: Hydra has no such setting; python run.py --cfg hydra shows those it has"
    return faults


def compose_job(overrides: list[Override]) -> tuple[Config | None, Path | None, list[str]]:
    """A job's config, the folder it asks for with hydra.run.dir, and all that is wrong with it."""
    try:
        composed = composition(*forced(overrides))
        settings = composed["hydra"]
        config, problems = checked(composed, overrides, settings.runtime.choices.get("stock"))
        run_dir = settings.run.dir if any(o.key_or_group == "hydra.run.dir" for o in overrides) else None
    except (HydraException, OmegaConfBaseException) as error:
        return None, None, [one_line(error)]
    return config, Path(run_dir).expanduser().absolute() if run_dir else None, problems


def forced(overrides: Iterable[Override]) -> list[str]:
    """The overrides as they are composed: Hydra stops at its first unknown key; added by force, all reach our check."""
    return [str(o.input_line) if _is_left_to_hydra(o) else f"++{str(o.input_line).lstrip('+')}" for o in overrides]


def _is_left_to_hydra(o: Override) -> bool:
    return o.type == OverrideType.DEL or o.key_or_group.startswith("hydra") or bool(options(o.key_or_group))


def checked(composed: DictConfig, typed: list[Override], stock: str | None) -> tuple[Config | None, list[str]]:
    """The Config of what Hydra composed with the file `conf/stock/<stock>.yaml`, or what is wrong with it."""
    values = settings_of(composed)
    _name_what_is_run(values, {o.key_or_group for o in typed}, stock)
    name = values["model"].get("name") if isinstance(values.get("model"), dict) else None
    installed = {n: f.config for n, f in models.BUILT_IN.items()}
    if isinstance(name, str) and name not in installed and (found := models.family(name)):
        installed[name] = found.config
    source = values["data"].get("source") if isinstance(values.get("data"), dict) else None
    config, problems = check(values, sources.settings(source), installed)
    return _absolute(config) if config else None, problems


def _name_what_is_run(values: dict[str, Any], typed: set[str], chosen_stock: str | None) -> None:
    """What a typed ticker, or a file, means for the rest of the stock's settings."""
    stock, data = values.get("stock"), values.get("data")
    if not isinstance(stock, dict) or not isinstance(data, dict):
        return
    pooled = bool(data.get("tickers")) and values.get("task") != "fetch"
    figures = {} if data.get("source") == "simulated" else {"simulator": None}
    if pooled:
        stock.update({"name": "", **({} if "stock.ticker" in typed else {"ticker": "pool"}), **figures})
    elif "stock.ticker" in typed and stock.get("ticker") != chosen_stock:
        stock.update({k: v for k, v in (("name", ""), ("simulator", None)) if f"stock.{k}" not in typed})
    names_stock = any(key == "stock" or key.startswith("stock.") for key in typed)
    if isinstance(path := data.get("path"), str) and path and not names_stock and not pooled:
        stock.update(ticker=Path(path.removesuffix(".gz")).stem, name="", simulator=None)
        source = sources.source(str(data.get("source")))
        stock.update({"features": []} if source is not None and not source.is_dated else {})


def _absolute(config: Config) -> Config:
    """The config with every path made absolute: it means the same from any folder."""

    def absolute(section: Any, *names: str) -> Any:
        paths = {n: str(Path(p).expanduser().absolute()) for n in names if (p := getattr(section, n, None))}
        return dataclasses.replace(section, **paths) if paths else section

    paths = absolute(config.data, "dir", "path", "cache_dir", "panel_cache")
    within = {"data": paths, "trainer": absolute(config.trainer, "resume")}
    whole: Config = dataclasses.replace(absolute(config, "run"), **within)
    return whole
