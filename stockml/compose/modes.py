"""Whether one run or a sweep is asked for, and what Hydra's own config says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from stockml.compose.composing import Composer, is_of_hydra
from stockml.compose.search import TARGET
from stockml.config.schema import Reader
from stockml.config.values import differences, leaves
from stockml.errors import UserError
from stockml.processes.settings import RayConfig

_RAY = "stockml.processes.ray_pool.RayPool"


@dataclass(frozen=True)
class Mode:
    """Whether there is to be a sweep, and what Hydra's own config says of it."""

    multirun: bool
    params: list[Override]
    """What hydra.sweeper.params sweeps, less the keys that were typed."""
    is_search: bool
    """Whether the sweeper is a search, and not the grid."""
    composed: DictConfig
    """What is composed under the overrides that are the same for every job."""

    @property
    def settings(self) -> Any:
        """The section `hydra` of the config."""
        return self.composed["hydra"]


def mode(composer: Composer, overrides: Sequence[Override], multirun: bool) -> Mode:
    """Whether a sweep is asked for, by -m or by `hydra.mode` of an experiment; UserError where nothing composes."""
    fixed = [o for o in overrides if not o.is_sweep_override()]
    try:
        composed = composer.compose(fixed)  # which is that of the job, where there is but one
    except UserError:
        if not multirun:
            raise
        composed = composer.compose([o for o in fixed if is_of_hydra(o)])
    settings = composed["hydra"]
    sweeps = multirun or str(settings.mode).endswith("MULTIRUN")
    target = str(settings.sweeper.get("_target_"))
    is_search = target == TARGET
    if sweeps and not is_search and not target.endswith(".BasicSweeper"):
        raise UserError(
            f"hydra.sweeper._target_={target}: stockml's sweepers are hydra/sweeper=basic, the grid, and "
            "hydra/sweeper=optuna, a search; leave _target_ out"
        )
    given = settings.sweeper.get("params") or OmegaConf.create()
    if sweeps and not isinstance(given, DictConfig):
        raise UserError(f"hydra.sweeper.params={given}: must name what is swept: {{trainer.lr: '1e-3,1e-2'}}")
    given = OmegaConf.to_container(given) if isinstance(given, DictConfig) else {}
    flat = dict(_flat(given)) if isinstance(given, dict) else {}
    if flat != given and sweeps:
        settings.sweeper.params = flat
    typed = {o.get_key_element() for o in overrides}
    params = composer.parse(f"{key}={value}" for key, value in flat.items()) if sweeps else []
    return Mode(
        sweeps,
        [o for o in params if o.get_key_element() not in typed],
        is_search,
        composed,
    )


def changed_for_a_job(
    asked: Mode, found: Sequence[DictConfig | None], jobs: Sequence[Sequence[Override]], swept: set[str]
) -> list[str]:
    """Settings of Hydra's that a swept file changes: they hold for a whole sweep, and would be ignored."""
    faults: dict[str, str] = {}
    of_sweep, seen = _settings_of_hydra(asked.composed), set[int]()
    for composed, overrides in zip(found, jobs, strict=True):
        chosen = " ".join(
            str(o.input_line).lstrip("+") for o in overrides if o.key_or_group in swept and "." not in o.key_or_group
        )
        if composed is None or chosen in faults or id(composed) in seen:
            continue
        seen.add(id(composed))
        changed = [f"hydra.{key}" for key in differences(of_sweep, _settings_of_hydra(composed))]
        shown = f"{', '.join(changed[:3])}{', …' if len(changed) > 3 else ''}"
        fault = f"{chosen}: sets {shown}, which holds for a whole sweep; run it by itself, without -m"
        faults[chosen] = fault if changed else ""
    return [fault for fault in faults.values() if fault]


def _settings_of_hydra(composed: DictConfig) -> dict[str, Any]:
    """What of Hydra's config holds for a whole sweep, by dotted key."""
    section = composed.hydra
    names = ("sweeper", "launcher", "callbacks", "run", "sweep")
    return dict(
        leaves(
            {
                "mode": str(section.mode),
                **{name: OmegaConf.to_container(section[name], resolve=False) for name in names},
            }
        )
    )


def ray_settings(composed: DictConfig | None) -> tuple[RayConfig | None, list[str]]:
    """The Ray cluster that is to run the jobs, None where this machine is; and what is wrong with its settings."""
    launcher: Any = OmegaConf.to_container(composed.hydra.launcher) if composed is not None else {}
    if launcher.pop("_target_", None) != _RAY:
        return None, []
    reader = Reader({}, lambda _key, _path: "")
    config: RayConfig | None = reader.read(RayConfig, launcher, "hydra.launcher.")
    return config, reader.problems


def _flat(params: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Each of nested parameters by its dotted key: `hydra.sweeper.params.trainer.lr=…` nests what a file does not."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value
