"""What a user can ask for: the table of tasks, a file each. Importing the table imports no task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from stockml.runs.location import RunLocation

if TYPE_CHECKING:
    from stockml.config.root import Config


@dataclass(frozen=True)
class Request:
    """What a task is given besides its config."""

    place: RunLocation = field(default_factory=RunLocation)
    """Where the folder of a run goes."""
    records: Mapping[str, str] = field(default_factory=dict)
    """The texts of the run's `.hydra` folder, by file name."""
    arguments: Sequence[str] = ()
    """The command line."""
    conf_changes: Sequence[str] = ()
    """Where today's conf/ differs from the saved config of the run, a line each."""


NO_REQUEST = Request()

Run = Callable[["Config", Request], Any]
"""A task: it raises UserError for what the user can fix, RunError where it fails; what train returns is its loss."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task, as the command line, the check of the config and the help know it."""

    name: str
    summary: str
    """A line, for the help."""
    function: str
    """`module:function`, a `Run`."""
    needs_run: bool = False
    """Whether `run=FOLDER` must be given."""
    from_run: bool = False
    """Whether the saved config of that run is its base, under what was typed."""
    reads_data: bool = True
    """Whether it reads the data of its config: what a run's folder holds is enough for the others."""
    takes_sweep: bool = False
    """Whether `run` may be a sweep's folder."""
    makes_folder: bool = False
    """Whether it makes a run folder."""
    compares_conf: bool = False
    """Whether it reports where today's conf/ differs from the run's."""
    implies: tuple[str, ...] = ()
    """Overrides that hold unless their keys are typed."""
    rules: tuple[str, ...] = ("stockml.tasks.rules:of_another_task",)
    """`module:function` each, from a config to the rules that it breaks, a line each."""

    def run(self) -> Run:
        """The task itself; imports it."""
        found: Run = _imported(self.function)
        return found

    def faults(self, config: Config) -> Iterator[str]:
        """The rules of this task that a config breaks, a line each."""
        if self.needs_run and not config.run:
            yield f"run: needed with task={self.name}, the folder that it is about: run=FOLDER"
        for rule in self.rules:
            yield from _imported(rule)(config)


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


_RULES = Task.rules

_EVERY = (
    Task(
        name="train",
        summary="train, evaluate and save a model",
        function="stockml.tasks.start:run",
        makes_folder=True,
        rules=(*_RULES, "stockml.tasks.rules:train"),
    ),
    Task(
        name="update",
        summary="go on with a run's model on the days since its test",
        function="stockml.tasks.update:run",
        needs_run=True,
        from_run=True,
        makes_folder=True,
        rules=(*_RULES, "stockml.tasks.rules:update"),
    ),
    Task(
        name="reproduce",
        summary="train again as a run did, and compare every number",
        function="stockml.tasks.reproduce:run",
        needs_run=True,
        from_run=True,
        takes_sweep=True,
        makes_folder=True,
        compares_conf=True,
    ),
    Task(
        name="evaluate",
        summary="compute a run's metrics again, or its model's on other data",
        function="stockml.tasks.evaluate:run",
        needs_run=True,
        from_run=True,
    ),
    Task(
        name="predict",
        summary="forecast with a run's model, the next trading day included",
        function="stockml.tasks.predict:run",
        needs_run=True,
        from_run=True,
    ),
    Task(
        name="explain",
        summary="measure which features, and which days of a window, a run's forecasts depend on",
        function="stockml.tasks.explain:run",
        needs_run=True,
        from_run=True,
    ),
    Task(
        name="combine",
        summary="the weighted sum of several runs' forecasts, as a run of its own",
        function="stockml.tasks.combine:run",
        reads_data=False,
        makes_folder=True,
        rules=(*_RULES, "stockml.tasks.rules:combine"),
    ),
    Task(
        name="report",
        summary="draw the page of a run or of a sweep",
        function="stockml.tasks.report:run",
        needs_run=True,
        reads_data=False,
        takes_sweep=True,
    ),
    Task(
        name="unseal",
        summary="forecast and score the sealed test of a run, or of the best of a sweep",
        function="stockml.tasks.unseal:run",
        needs_run=True,
        from_run=True,
        takes_sweep=True,
    ),
    Task(
        name="placebo",
        summary="repeat a run or a sweep on copies of its data in which nothing can be forecast, and compare",
        function="stockml.tasks.placebo:run",
        needs_run=True,
        from_run=True,
        takes_sweep=True,
    ),
    Task(
        name="looks",
        summary="show how often one has looked at which test days, and verify the ledger of looks",
        function="stockml.tasks.looks:run",
        reads_data=False,
        takes_sweep=True,
    ),
    Task(
        name="audit",
        summary="look for information from the future in the data and features",
        function="stockml.tasks.audit:run",
        from_run=True,
        rules=(*_RULES, "stockml.tasks.rules:audit"),
    ),
    Task(
        name="doctor",
        summary="look for gaps, spikes and other faults in daily bars",
        function="stockml.tasks.doctor:run",
        from_run=True,
        rules=(*_RULES, "stockml.tasks.rules:doctor"),
    ),
    Task(
        name="features",
        summary="print a table of the features, and write their values to a file",
        function="stockml.tasks.features:run",
        from_run=True,
        rules=(*_RULES, "stockml.tasks.rules:features"),
    ),
    Task(
        name="fetch",
        summary="download bars from Yahoo into the cache",
        function="stockml.tasks.fetch:run",
        implies=("data=yahoo",),
        rules=(*_RULES, "stockml.tasks.rules:fetch"),
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _EVERY}
"""Every task, by its name; to add one, write its file and a line here."""
