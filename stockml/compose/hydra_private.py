"""All that is used of Hydra's private API, and why; tests/test_hydra_private.py names what a release breaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

# A user's callbacks are called at the points at which Hydra itself calls them.
from hydra._internal.callbacks import Callbacks

# The public functions compose by the one loader that belongs to the whole process, which in a program that imports
# stockml is the program's.
from hydra._internal.config_loader_impl import ConfigLoaderImpl

# `create_config_search_path` asks Hydra's search path plugins too; `get_args_parser` has the only list of its flags.
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_store import ConfigStore

if TYPE_CHECKING:
    import argparse

__all__ = ["Callbacks", "ConfigLoaderImpl", "arguments_parser", "new_loader"]


def new_loader(conf: Path, config_dir: Path | None) -> Any:
    """A loader of `conf`, and before it of a folder of the user's; no part of Hydra's global state."""
    search_path = create_config_search_path(f"file://{conf}")
    store = ConfigStore.instance()
    hydras = store.repo.get("hydra", {})
    others = {name: node for name, node in hydras.get("sweeper", {}).items() if name not in ("optuna.yaml", "sampler")}
    if others:  # a plugin's files of the names of ours would be merged with these
        store.repo = {**store.repo, "hydra": {**hydras, "sweeper": others}}
    if config_dir is not None:
        search_path.prepend(provider="command-line", path=f"file://{config_dir}")
    return ConfigLoaderImpl(search_path)


def arguments_parser() -> argparse.ArgumentParser:
    """The parser of Hydra's command line."""
    return get_args_parser()
