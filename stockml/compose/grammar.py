"""Hydra spoken to: its compose API, its grammar of overrides, its groups and its errors."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer
from omegaconf.errors import OmegaConfBaseException

from stockml import models
from stockml.config.values import show
from stockml.data import sources
from stockml.errors import UserError

_PACKAGE = Path(__file__).parent.parent
CONF = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if (p / "config.yaml").is_file())


@contextmanager
def session(config_dir: str | None) -> Iterator[None]:
    """Hydra's compose API on `conf/`, and on a folder of the user's where one is given."""
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(f"--config-dir {config_dir}: there is no such folder")
    with hydra.initialize_config_dir(str(CONF), version_base="1.3", job_name="stockml"):
        if config_dir is not None:
            config_loader: Any = loader()
            path = config_loader.get_search_path()
            path.prepend(provider="command-line", path=f"file://{Path(config_dir).absolute()}")
            config_loader.repository = ConfigRepository(path)
        options.cache_clear()
        composition.cache_clear()
        yield


@contextmanager
def as_a_guest() -> Iterator[None]:
    """Around all that composes in a program that may use Hydra itself: neither sees what the other has told it."""
    own: dict[Any, Any] = Singleton._instances
    resolvers = BaseContainer._resolvers
    of_a_program = (GlobalHydra, HydraConfig, JobRuntime, VersionBase, ConfigStore)
    Singleton._instances = {cls: instance for cls, instance in own.items() if cls not in of_a_program}
    of_hydra = {key: node for key, node in own[ConfigStore].repo.items() if key.startswith(("hydra", "_"))}
    ConfigStore.instance().repo = copy.deepcopy(of_hydra)
    BaseContainer._resolvers = dict(resolvers)
    try:
        yield
    finally:
        Singleton._instances, BaseContainer._resolvers = own, resolvers


def loader() -> Any:
    """Hydra's config loader; None before it is initialised."""
    return GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None


def parse(overrides: Iterable[str]) -> list[Override]:
    """Hydra's reading of each override; UserError with a line for each that has no meaning."""
    parser = OverridesParser.create(loader())
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
def options(group: str) -> list[str]:
    """The choices of a config group, none where it is no group; Hydra copies its whole repository to tell them."""
    return list(loader().get_group_options(group))


def is_choice(group: str, choice: Any) -> bool:
    """Whether a group has this choice; an installed package's model or source is added to its group."""
    if not isinstance(choice, str):
        return False
    return choice in options(group) or _register_installed(group, choice)


def _register_installed(group: str, name: str) -> bool:
    found = models.family(name) if group == "model" else sources.source(name) if group == "data" else None
    if found is None:
        return False
    node = {f.name: f.default for f in dataclasses.fields(found.config) if f.default is not dataclasses.MISSING}
    if isinstance(found, sources.Source):  # the defaults of the settings that sources share are in conf/base
        base = f"/base/{'bars' if found.is_dated else 'panel'}@_here_"
        node = {"defaults": [base, "_self_"], **node, "source": name}
    else:
        node["name"] = name
    ConfigStore.instance().store(group=group, name=name, node=node)
    return True


def name_installed() -> None:
    """Let Hydra know the names of installed packages' models and sources, for it to list; it imports none of them."""
    for group, key, register in (("model", "name", models), ("data", "source", sources)):
        for name in set(register.names()) - set(register.BUILT_IN):
            ConfigStore.instance().store(group=group, name=name, node={key: name})


@functools.lru_cache(maxsize=4)
def composition(*overrides: str) -> Any:
    """What Hydra composes of `conf/` under these overrides, its own section `hydra` with it; to be read only.

    The last few are remembered until the session ends: composing takes a tenth of a second.
    """
    return hydra.compose("config", list(overrides), return_hydra_config=True)


def settings_of(composed: Any) -> dict[str, Any]:
    """All of a composition but `hydra`, resolved, as nested dicts."""
    nodes = {str(key): composed[key] for key in composed if key != "hydra"}
    return {
        key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in nodes.items()
    }


def quote(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, str):
        escaped = re.sub(r"(\\*)'", lambda m: m[1] * 2 + "\\'", value)
        escaped = re.sub(r"(\\+)$", lambda m: m[1] * 2, escaped)
        return f"'{literal(escaped)}'"
    if isinstance(value, list):
        return f"[{','.join(map(quote, value))}]"
    return show(value)


def override(key: str, text: str) -> str:
    """`key=text`, quoted where Hydra's grammar needs it."""
    return f"{key}={text if re.fullmatch(r'[A-Za-z0-9_./+-]+', text) else quote(text)}"


def setting(key: str, value: object) -> str:
    """`key=value` of a value of Python's; UserError where the key can be none, or no setting takes such a value."""
    if not re.fullmatch(r"\+{0,2}[A-Za-z_][\w./@]*", key):
        raise UserError(f"{key!r}: is no setting's name; write it as on the command line, 'trainer.epochs'")
    return f"{key}={quote(_plain(key, value))}"


def _plain(key: str, value: object) -> Any:
    """Text, a number, a truth or None, or a list of such, of what stands for it in Python."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, datetime.date):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, PathLike):
        return str(Path(value))
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_plain(key, item) for item in value]
    if callable(item := getattr(value, "item", None)) and getattr(value, "ndim", None) == 0:  # numpy's scalars
        return _plain(key, item())
    raise UserError(
        f"{key}: no setting takes a {type(value).__name__}; give text, a number, True, False, None or a list"
    )


def literal(value: Any) -> Any:
    """A value, or nested ones, in which OmegaConf finds no interpolation."""
    if isinstance(value, dict):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", value) if isinstance(value, str) else value


def one_line(error: BaseException) -> str:
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
    cause = f" ({one_line(error.__cause__)})" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    return (f"{key}: " if key else "") + " ".join(kept or lines or [type(error).__name__]) + cause + extra(str(error))


# What is found in Hydra's groups only where an extra is installed.
_EXTRAS = {"submitit": "slurm", "optuna": "optuna"}


def extra(text: str) -> str:
    """Advice where `text` tells of something that comes with an extra."""
    found = [name for plugin, name in _EXTRAS.items() if plugin in text]
    return f"; it comes with: pip install 'stockml[{found[0]}]'" if found else ""
