"""MLflow's runs, made and written to; each call waits for MLflow, and raises what it raises."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml.config.values import show
from stockml.errors import UserError, describe_error
from stockml.runs.folder import Folder
from stockml.runs.sweep_folder import SweepFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from stockml.trackers.records import Begun, Point
    from stockml.trackers.settings import TrackerConfig

_RECORD = "mlflow.json"  # in the folder of a run or sweep: which of MLflow's runs it is
_MOST_FIGURES, _MOST_PARAMETERS = 900, 90  # of one call
_LONGEST = 5_000  # characters of a value
_STATUS = {"ok": "FINISHED", "failed": "FAILED", "running": "RUNNING"}  # any other: KILLED


class Store:
    """One experiment of an MLflow server or database."""

    def __init__(self, settings: TrackerConfig) -> None:
        self.uri, self._name = settings.uri, settings.experiment
        self._file = Path(self.uri.removeprefix("sqlite:///")) if self.uri.startswith("sqlite:///") else None

    def run(self, folder: Folder, tags: Mapping[str, str]) -> Run:
        """The folder's run, gone on with where there is one already; of a sweep's job, the child of the sweep's."""
        from mlflow.exceptions import MlflowException

        if run_id := self.recorded(folder.path):
            try:
                self.client.update_run(run_id, status="RUNNING")
                return self.client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        parent = self.recorded(folder.path.parent) if SweepFolder.is_one(folder.path.parent) else None
        family = {"mlflow.parentRunId": parent} if parent else {}
        run = self.client.create_run(self._experiment_id, run_name=folder.path.name, tags={**_cut(tags), **family})
        folder.write_json(_RECORD, {"uri": self.uri, "run_id": run.info.run_id})
        return run

    def describe(self, run: Run, begun: Begun) -> None:
        """Set the hyperparameters; what a run that goes on does otherwise becomes a tag: MLflow's parameters stay."""
        from mlflow.entities import Param

        asked = _cut({name: show(value) for name, value in begun.hyperparameters.items()})
        there = run.data.params
        missing = [Param(name, value) for name, value in asked.items() if name not in there]
        for start in range(0, len(missing), _MOST_PARAMETERS):
            self.client.log_batch(run.info.run_id, params=missing[start : start + _MOST_PARAMETERS])
        self.tag(run, {name: value for name, value in asked.items() if there.get(name, value) != value})

    def tag(self, run: Run, tags: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        if tags:
            self.client.log_batch(run.info.run_id, tags=[RunTag(name, value) for name, value in _cut(tags).items()])

    def log(self, run: Run, points: Iterable[Point]) -> None:
        """Write figures."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, int(point.time * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        for start in range(0, len(metrics), _MOST_FIGURES):
            self.client.log_batch(run.info.run_id, metrics=metrics[start : start + _MOST_FIGURES])

    def values(self, run: Run, name: str) -> dict[int, float]:
        """A figure's value at each step."""
        return {metric.step: metric.value for metric in self.client.get_metric_history(run.info.run_id, name)}

    def upload(self, run: Run, folder: Folder, path: Path) -> None:
        """Keep a file of the folder as an artifact, at the same place."""
        inner = path.relative_to(folder.path).parent.as_posix()
        self.client.log_artifact(run.info.run_id, str(path), None if inner == "." else inner)

    def end(self, run_id: str, status: str) -> None:
        """Set a run's status, in our words."""
        self.client.set_terminated(run_id, _STATUS.get(status, "KILLED"))

    def place(self, folder: Folder) -> str:
        """Where the folder's run can be looked at."""
        server = self.uri.startswith("http")
        how = f"{self.uri.rstrip('/')}" if server else f"mlflow ui --backend-store-uri {self.uri}"
        return f"mlflow: run {folder.path.name} of experiment {self._name}, {how}"

    def recorded(self, path: Path) -> str | None:
        """The id of the run of this folder; None where it has none here."""
        with contextlib.suppress(UserError):
            record = Folder(path).read_json(_RECORD)
            if record.get("uri") == self.uri:
                return str(record["run_id"])
        return None

    @functools.cached_property
    def client(self) -> MlflowClient:
        """MLflow's own."""
        from mlflow import MlflowClient

        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(self.uri)

    @functools.cached_property
    def _experiment_id(self) -> str:
        found = self.client.get_experiment_by_name(self._name)
        if found is None:
            # Beside a database of one's own; where a server keeps its artifacts is the server's to say.
            artifacts = (self._file.parent / "mlruns").as_uri() if self._file else None
            with contextlib.suppress(Exception):  # another run was faster, which the next line finds
                return self.client.create_experiment(self._name, artifact_location=artifacts)
            found = self.client.get_experiment_by_name(self._name)
        assert found is not None
        return str(found.experiment_id)


def _cut(values: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:_LONGEST] for name, value in values.items()}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While MLflow is spoken to: it prints nothing, waits briefly, and tells nobody else; unless the user says so."""
    settings = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    added = [name for name in settings if name not in os.environ]
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic", "urllib3")]
    levels = [logger.level for logger in loggers]
    os.environ.update({name: settings[name] for name in added})
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def cause(error: BaseException) -> str:
    """What is at the bottom of an error: of a request that failed, the refused connection."""
    deeper: Any = error
    while deeper is not None:
        if isinstance(deeper, OSError) and deeper.strerror:
            return f"{type(deeper).__name__}: {deeper.strerror}"
        deeper = deeper.__cause__ or deeper.__context__
    return describe_error(error)[:200]
