"""The texts of a run's `.hydra` folder: resolved, so that nothing in them evaluates differently later."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from stockml.compose.composing import is_of_hydra
from stockml.compose.grammar import literal, one_line, quote, to_yaml
from stockml.config.root import Config, saved
from stockml.config.values import leaves, plain
from stockml.errors import UserError

_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]+@")
"""That of a URL, such as a search's storage."""
# What was asked of a run, and is no part of what it is.
_OF_ONE_RUN = ("trainer.resume=", "task=", "run=", "report=", "sweep.", "export.", "audit.", "looks", "tracker")


@dataclass(frozen=True)
class Records:
    """What becomes the texts of a run's `.hydra` folder."""

    config: Config
    overrides: tuple[str, ...]
    """What the run was made by."""
    hydra: Mapping[str, Any]
    """Hydra's own config, plain."""

    def of_job(self, folder: Path, name: str, number: int) -> Records:
        """Those of the job of a sweep that is in `folder`."""
        job = {**self.hydra["job"], "num": number, "id": f"{self.hydra['job']['name']}_{number}"}
        runtime = {**self.hydra["runtime"], "output_dir": str(folder / name)}
        sweep = {**self.hydra["sweep"], "dir": str(folder), "subdir": name}
        return replace(self, hydra={**self.hydra, "mode": "MULTIRUN", "job": job, "runtime": runtime, "sweep": sweep})

    def texts(self) -> dict[str, str]:
        """The texts, by file name."""
        lines = list(self.overrides)
        task = {**self.hydra["overrides"], "task": lines}
        options = self.hydra["job"]["config"]["override_dirname"]
        named = (line for line in sorted(lines) if line.partition("=")[0] not in options["exclude_keys"])
        job = {
            **self.hydra["job"],
            "override_dirname": options["item_sep"].join(named).replace("=", options["kv_sep"]),
        }
        return {
            **records(self.config),
            "overrides.yaml": to_yaml([line for line in lines if not line.startswith(_OF_ONE_RUN)]),
            "hydra.yaml": _PASSWORD.sub(r"\1***@", to_yaml({"hydra": {**self.hydra, "overrides": task, "job": job}})),
        }


def records(config: Config) -> dict[str, str]:
    """The text of config.yaml, by its name."""
    mark = "# synthetic: true\n" if config.data.synthetic else ""
    return {"config.yaml": mark + to_yaml(literal(saved(config)))}


def records_of(config: Config, settings: Mapping[str, Any], overrides: Sequence[Override]) -> Records:
    """The records of a config that was composed under these overrides, with these settings of Hydra's own."""
    values = dict(leaves(plain(config)))
    lines = tuple(_resolved(o, values) for o in overrides if not is_of_hydra(o))
    of_hydra = dict(leaves({"hydra": settings}))
    typed = [_resolved(o, of_hydra) for o in overrides if is_of_hydra(o)]
    return Records(config, lines, {**settings, "overrides": {"hydra": typed, "task": []}})


def _resolved(o: Override, values: Mapping[str, Any]) -> str:
    """An override as it was typed; one with an interpolation, with the value that it came to."""
    line = str(o.input_line)
    return f"{o.key_or_group}={quote(values[o.key_or_group])}" if "${" in line and o.key_or_group in values else line


def plain_hydra(composed: DictConfig) -> dict[str, Any]:
    """Hydra's own config, resolved; what was typed is text in it. UserError where it is unsound."""
    section = composed.hydra
    given = OmegaConf.to_container(section.overrides, resolve=False)
    assert isinstance(given, dict)
    section.overrides.update(hydra=[], task=[])
    try:
        found = OmegaConf.to_container(section, resolve=True, enum_to_str=True)
    except Exception as error:
        raise UserError(f"hydra.{one_line(error).removeprefix('hydra.')}") from error
    finally:
        section.overrides.update(given)
    assert isinstance(found, dict)
    found["runtime"]["output_dir"] = os.path.abspath(found["run"]["dir"])  # noqa: PTH100  (as Hydra does)
    return {**found, "mode": found["mode"] or "RUN"}
