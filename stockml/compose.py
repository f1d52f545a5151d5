"""From the keyboard to a checked Config: the one room, beside run.py, that knows Hydra and OmegaConf."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import re
import string
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stockml import models
from stockml.config import Config, SimulatedConfig, check, nearest, one_of, plain, show
from stockml.errors import UserError
from stockml.runs import Place

_PACKAGE = Path(__file__).parent
CONF = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if (p / "config.yaml").is_file())

# Which key of a section names the file of its group.
_GROUPS = {"stock": "ticker", "data": "source", "model": "name", "trainer": "name", "hardware": "device"}


@dataclass(frozen=True)
class Command:
    """What was typed, checked: one config a job, and what Hydra is to be given."""

    arguments: list[str]
    """Hydra's own flags and the overrides, saved ones first."""
    jobs: list[Config] = field(default_factory=list)
    """The config of every job, one unless it is a sweep; none where Hydra only answers a question (--help)."""
    folder: Path | None = None
    """The run folder that `hydra.run.dir=` or `trainer.resume=` names."""
    answer: str | None = None
    """What is to be printed, and nothing run."""


def read(arguments: Sequence[str]) -> Command:
    """Check a whole command line, before Hydra runs anything.

    Raises UserError with every fault found, a line each.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # argparse prints its usage over several lines
    args = parser.parse_args(list(arguments))
    if args.experimental_rerun is not None:
        raise UserError("--experimental-rerun: executes a pickle; run a saved config with -cp <run>/.hydra -cn config")
    if args.help:
        return Command([], answer=_help(args))
    if args.hydra_help or args.shell_completion or args.info is not None:
        return Command(list(arguments))
    with _hydra(args.config_dir):
        typed = _parse(args.overrides)
        saved = _saved_file(args, typed)
        overrides = _parse([*(_laid_over(saved, typed) if saved else []), *args.overrides])
        unusable = {**_misused(overrides, args.multirun), **_unknown_choices(overrides)}
        faults = list(unusable.values())
        sound = [o for o in overrides if not {o.key_or_group, o.key_or_group.split(".")[0]} & set(unusable)]
        composed = [_compose(job) for job in _jobs(sound, args.multirun)]
    faults += [fault for _, _, problems in composed for fault in problems]
    if faults:
        raise UserError(*dict.fromkeys(faults))
    jobs = [config for config, _, _ in composed if config is not None]
    folder = None if args.multirun else composed[0][1]
    if jobs[0].trainer.resume is not None:
        folder = Path(jobs[0].trainer.resume)
    passed_on = [str(o.input_line) for o in overrides if o.key_or_group != "hydra.run.dir"]
    return Command([*_flags(args), *passed_on], jobs, folder)


def enter_hydra(command: Command, run: Callable[[Config, Place, dict[str, str]], Any]) -> None:
    """Run `hydra.main`; it calls `run` once, or once a job of the sweep, with what that job needs."""
    begun: list[str] = []
    failures: list[Exception] = []

    def job(composed: DictConfig) -> Any:
        begun.append("a job")
        try:
            config = finish(composed)
            return run(config, Place(command.folder, sweep_folder()), records(config))
        except Exception as error:
            if sweep_folder() is not None:  # Hydra raises a sweep's first failure alone, and only after its last job
                if isinstance(error, UserError):
                    error.tell()
                raise
            failures.append(error)  # raised below: Hydra would print a line of its own
            return None

    argv, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *command.arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises what a job raised, instead of printing it and exiting
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except OSError as error:
        if begun:
            raise
        where = f"{error.filename}: cannot make the sweep's folder here ({error.strerror})"
        raise UserError(f"{where}; choose another with hydra.sweep.dir=FOLDER") from error
    finally:
        sys.argv = argv
        os.environ.pop("HYDRA_FULL_ERROR")
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    if failures:
        raise failures[0]


def finish(composed: DictConfig) -> Config:
    """The checked Config of what Hydra composed. Raises UserError."""
    chosen: Any = HydraConfig.get()
    config, problems = _checked(composed, _parse(chosen.overrides.task), chosen.runtime.choices.stock)
    if config is None:
        raise UserError(*problems)
    return config


def compose(*overrides: str) -> Config:
    """The Config that `python run.py <overrides>` would train with, without running anything. Raises UserError."""
    return read(overrides).jobs[0]


def sweep_folder() -> Path | None:
    """Where the sweep that this job belongs to lands; None for a single run."""
    hydra_config = HydraConfig.get()
    return Path(hydra_config.sweep.dir).absolute() if hydra_config.mode == RunMode.MULTIRUN else None


def records(config: Config) -> dict[str, str]:
    """The texts of a run's `.hydra` folder: resolved, so that nothing in them evaluates differently later."""
    settings = plain(config)
    settings["trainer"]["resume"] = None
    mark = "# synthetic: true\n" if isinstance(config.data, SimulatedConfig) else ""
    texts = {"config.yaml": mark + OmegaConf.to_yaml(OmegaConf.create(_literal(settings)))}
    if HydraConfig.initialized():
        overrides = [o for o in HydraConfig.get().overrides.task if not o.startswith("trainer.resume=")]
        texts["overrides.yaml"] = OmegaConf.to_yaml(OmegaConf.create(overrides))
        texts["hydra.yaml"] = OmegaConf.to_yaml(OmegaConf.create({"hydra": HydraConfig.get()}), resolve=True)
    return texts


def _help(args: argparse.Namespace) -> str:
    """The template of hydra.help, filled in. Hydra too would do it, but spends 0.2 s on listing groups of its own."""
    with _hydra(args.config_dir):
        try:
            composed: Any = hydra.compose("config", args.overrides, return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(_one_line(error)) from error
        groups = [group for group in _loader().list_groups("") if group not in ("hydra", "base")]
        choices = [f"{group}: {', '.join(sorted(_options(group)))}\n" for group in sorted(groups)]
    template = string.Template(composed.hydra.help.template)
    settings = OmegaConf.to_yaml(OmegaConf.masked_copy(composed, [key for key in composed if key != "hydra"]))
    return template.substitute(APP_CONFIG_GROUPS="".join(choices), CONFIG=settings)


def _refuse(message: str) -> NoReturn:
    raise UserError(f"command line: {message}; python run.py --help shows what can be typed")


def _flags(args: argparse.Namespace) -> list[str]:
    """Hydra's flags as typed, less those of a saved config, whose values have become overrides."""
    pairs = {"--cfg": args.cfg, "--package": args.package, "--config-dir": args.config_dir}
    flags = [item for flag, value in pairs.items() if value is not None for item in (flag, value)]
    return [*flags, *(["--multirun"] if args.multirun else []), *(["--resolve"] if args.resolve else [])]


@contextmanager
def _hydra(config_dir: str | None) -> Iterator[None]:
    """Hydra's compose API on `conf/`, and on a folder of the user's where one is given."""
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(f"--config-dir {config_dir}: there is no such folder")
    with hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name="stockml"):
        if config_dir is not None:
            loader: Any = _loader()
            path = loader.get_search_path()
            path.prepend(provider="command-line", path=f"file://{Path(config_dir).absolute()}")
            loader.repository = ConfigRepository(path)
        _options.cache_clear()
        yield


def _parse(overrides: Iterable[str]) -> list[Override]:
    """Hydra's reading of each override; UserError with a line for each that has no meaning."""
    parser = OverridesParser.create(_loader())
    parsed, faults = [], []
    for text in overrides:
        try:
            if text.startswith("="):
                raise HydraException("no key")
            parsed += parser.parse_overrides([text])
        except HydraException as error:
            reason = str(error).splitlines()[0].removesuffix(".")
            faults.append(f"{text!r}: not of the form key=value ({reason}); quote values with special characters")
    if faults:
        raise UserError(*faults)
    return parsed


@functools.cache
def _options(group: str) -> list[str]:
    """The choices of a config group, none where it is no group; Hydra copies its whole repository to tell them."""
    return list(_loader().get_group_options(group))


def _loader() -> Any:
    return GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None


def _misused(overrides: list[Override], multirun: bool) -> dict[str, str]:
    """What is wrong with overrides that mean something, but not like this, by key."""
    faults = {}
    resumed = any(o.key_or_group == "trainer.resume" and o.value() is not None for o in overrides)
    for o in overrides:
        key, sweeps = o.key_or_group, o.is_sweep_override()
        if sweeps and not multirun:
            faults[key] = f"{o.input_line}: several values make a sweep; add -m"
        elif sweeps and key == "trainer.resume":
            faults[key] = f"{o.input_line}: a resumed run is one run, no sweep"
        elif sweeps and not o.is_discrete_sweep():
            faults[key] = f"{o.input_line}: has endless values; name them, a,b,c, or range(start,stop,step)"
        elif sweeps and next(iter(o.sweep_string_iterator()), None) is None:
            faults[key] = f"{o.input_line}: matches no value; a sweep needs at least one"
        elif resumed and key == "hydra.run.dir":
            faults[key] = f"{o.input_line}: a resumed run goes on in its own folder; leave this out"
    return {**faults, **_added_or_hydras(overrides)}


def _unknown_choices(overrides: list[Override]) -> dict[str, str]:
    """What is wrong with choices of config groups, by group; makes installed models known to Hydra on the way."""
    faults = {}
    for o in overrides:
        group = o.key_or_group
        options = _options(group)
        if not options or o.type == OverrideType.DEL:
            continue
        for choice in map(show, o.sweep_string_iterator() if o.is_sweep_override() else [o.value()]):
            if not _is_choice(group, choice):
                known = models.names() if group == "model" else options
                faults[group] = f"{group}={choice}: must be {one_of(known)}{nearest(choice, known)}"
        if group == "experiment" and o.type == OverrideType.CHANGE:
            faults[group] = f"{o.input_line}: an experiment is added with a plus: +{o.input_line}"
    return faults


def _jobs(overrides: list[Override], multirun: bool) -> list[list[Override]]:
    """The overrides of every job: of one, or of each point of a sweep's grid."""
    if not multirun:
        return [[o for o in overrides if not o.is_sweep_override()]]
    return [_parse(job) for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]


def _is_choice(group: str, choice: Any) -> bool:
    """Whether a group has this choice; an installed package's model becomes one of the group `model`."""
    if not isinstance(choice, str):
        return False
    return choice in _options(group) or (group == "model" and _register_installed(choice))


def _register_installed(name: str) -> bool:
    found = models.family(name)
    if found is not None:
        defaults = {f.name: f.default for f in dataclasses.fields(found.config) if f.default is not dataclasses.MISSING}
        ConfigStore.instance().store(group="model", name=name, node={**defaults, "name": name})
    return found is not None


def _compose(overrides: list[Override]) -> tuple[Config | None, Path | None, list[str]]:
    """A job's config, the folder it asks for with hydra.run.dir, and all that is wrong with it."""
    # Hydra stops at its first unknown key; added by force, all of them reach our own check.
    forced = [o.input_line if _is_left_to_hydra(o) else f"++{str(o.input_line).lstrip('+')}" for o in overrides]
    try:
        composed = hydra.compose("config", forced, return_hydra_config=True)  # type: ignore[arg-type]
        settings: Any = composed["hydra"]
        config, problems = _checked(composed, overrides, settings.runtime.choices.get("stock"))
        run_dir = settings.run.dir if any(o.key_or_group == "hydra.run.dir" for o in overrides) else None
    except (HydraException, OmegaConfBaseException) as error:
        return None, None, [_one_line(error)]
    return config, Path(run_dir).expanduser().absolute() if run_dir else None, problems


def _is_left_to_hydra(o: Override) -> bool:
    return o.type == OverrideType.DEL or o.key_or_group.startswith("hydra") or bool(_options(o.key_or_group))


# Parts of Hydra's own config that hold whatever their users like.
_OPEN = ("hydra.job.env_set", "hydra.callbacks", "hydra.sweeper", "hydra.launcher", "hydra.job_logging")


def _added_or_hydras(overrides: list[Override]) -> dict[str, str]:
    """Keys that were added with a plus though they exist, or that Hydra's own config does not have."""
    keys = [o for o in overrides if not _options(o.key_or_group)]
    doubtful = [o for o in keys if o.is_add() or o.key_or_group.startswith("hydra.")]
    today = hydra.compose("config", return_hydra_config=True) if doubtful else DictConfig({})
    faults = {}
    for o in doubtful:
        key = o.key_or_group
        exists = OmegaConf.select(today, key, default=_MISSING, throw_on_missing=False) is not _MISSING
        if exists and o.is_add():
            faults[key] = f"{o.input_line}: exists already; write it without the plus"
        elif not exists and key.startswith("hydra.") and not key.startswith(_OPEN):
            faults[key] = f"{key}: Hydra has no such setting; python run.py --cfg hydra shows those it has"
    return faults


def _checked(composed: DictConfig, typed: list[Override], stock: str | None) -> tuple[Config | None, list[str]]:
    """The Config of what Hydra composed with the file `conf/stock/<stock>.yaml`, or what is wrong with it."""
    nodes = {str(key): composed[key] for key in composed if key != "hydra"}
    values: dict[str, Any] = {
        key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in nodes.items()
    }
    _name_what_is_run(values, {o.key_or_group for o in typed}, stock)
    name = values["model"].get("name") if isinstance(values.get("model"), dict) else None
    installed = {n: f.config for n, f in models.BUILT_IN.items()}
    if isinstance(name, str) and name not in installed and (found := models.family(name)):
        installed[name] = found.config
    config, problems = check(values, installed)
    return _absolute(config) if config else None, problems


_MISSING = object()


def _name_what_is_run(values: dict[str, Any], typed: set[str], chosen_stock: str | None) -> None:
    """What a typed ticker, or a file of arrays, means for the rest of the stock's settings."""
    stock, data = values.get("stock"), values.get("data")
    if not isinstance(stock, dict) or not isinstance(data, dict):
        return
    if "stock.ticker" in typed and stock.get("ticker") != chosen_stock:
        stock.update({k: v for k, v in (("name", ""), ("simulator", None)) if f"stock.{k}" not in typed})
    names_stock = any(key == "stock" or key.startswith("stock.") for key in typed)
    if data.get("source") == "npz" and data.get("path") and isinstance(data["path"], str) and not names_stock:
        stock.update(ticker=Path(data["path"]).stem, name="", features=[], simulator=None)


def _absolute(config: Config) -> Config:
    """The config with every path made absolute: it means the same from any folder."""

    def absolute(section: Any, *names: str) -> Any:
        paths = {n: str(Path(p).expanduser().absolute()) for n in names if (p := getattr(section, n, None))}
        return dataclasses.replace(section, **paths) if paths else section

    return dataclasses.replace(
        config, data=absolute(config.data, "dir", "path"), trainer=absolute(config.trainer, "resume")
    )


def _saved_file(args: argparse.Namespace, typed: list[Override]) -> Path | None:
    """The saved config that today's is to be laid under: of -cp, or of a resumed run."""
    resumed = [o for o in typed if o.key_or_group == "trainer.resume" and isinstance(o.value(), str)]
    if args.config_path is not None:
        path = Path(args.config_path).expanduser() / f"{(args.config_name or 'config').removesuffix('.yaml')}.yaml"
    elif resumed:
        path = Path(str(resumed[-1].value())).expanduser() / ".hydra" / "config.yaml"
    elif args.config_name not in (None, "config"):
        raise UserError(f"--config-name {args.config_name}: only a saved config has another name; give its -cp too")
    else:
        return None
    if not path.is_file():
        raise UserError(f"{path}: there is no such saved config; name a run folder's")
    return path


def _laid_over(saved_file: Path, typed: list[Override]) -> list[str]:
    """A saved config as overrides of today's `conf/`; typed ones follow, and win.

    A group that is switched by a typed override takes the values of today's file instead.
    """
    try:
        saved: Any = OmegaConf.to_container(OmegaConf.load(saved_file), resolve=True)
    except Exception as error:
        raise UserError(f"{saved_file}: cannot be read as a saved config ({_one_line(error)})") from error
    if not isinstance(saved, dict) or not saved or "defaults" in saved:
        raise UserError(f"{saved_file}: is not a run's saved config; add a folder of your own configs with -cd")
    plain_choices = [o for o in typed if not o.is_sweep_override()]
    switched = {o.key_or_group for o in typed} & set(_GROUPS)
    groups = []
    for group, key in _GROUPS.items():
        section = saved.get(group)
        choice = section.get(key) if isinstance(section, dict) else None
        if group not in switched and _is_choice(group, choice):
            groups.append(f"{group}={choice}")
    experiments = [str(o.input_line) for o in plain_choices if _is_choice(o.key_or_group, o.value())]
    today = dict(_leaves(_values(groups)))
    changed = {k for k, v in _leaves(_values([*groups, *experiments])) if today.get(k, _MISSING) != v}
    values = [
        f"{key}={_quote(value)}"
        for key, value in _leaves({k: v for k, v in saved.items() if k not in switched})
        if today.get(key, _MISSING) != value and key not in changed
    ]
    return [*groups, *values]


def _values(overrides: list[str]) -> Any:
    return OmegaConf.to_container(hydra.compose("config", overrides), resolve=True)


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _quote(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, str):
        escaped = re.sub(r"(\\*)'", lambda m: m[1] * 2 + "\\'", value)
        escaped = re.sub(r"(\\+)$", lambda m: m[1] * 2, escaped)
        return f"'{_literal(escaped)}'"
    if isinstance(value, list):
        return f"[{','.join(map(_quote, value))}]"
    return show(value)


def _literal(value: Any) -> Any:
    """A value, or nested ones, in which OmegaConf finds no interpolation."""
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", value) if isinstance(value, str) else value


def _one_line(error: BaseException) -> str:
    """Hydra's several lines as one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [
        line
        for line in lines
        if not line.startswith(
            ("Check that", "Config search path", "provider=", "full_key", "reference_type", "object_type")
        )
    ]
    key = getattr(error, "full_key", None)
    cause = f" ({_one_line(error.__cause__)})" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    return (f"{key}: " if key else "") + " ".join(kept or lines or [type(error).__name__]) + cause
