"""tracker=mlflow: an MLflow run for each run of stockml, and one for a sweep, which is the parent of its jobs'."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stockml.config.values import show
from stockml.errors import UserError
from stockml.reporting import summary
from stockml.runs.files import Folder
from stockml.runs.sweep_folder import SweepFolder
from stockml.trackers.records import Outcome, Point, Start

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from stockml.trackers.settings import TrackerConfig

_FILE = "mlflow.json"  # in the folder of a run or sweep: the id of its MLflow run, and where that is
_MOST = {"metrics": 900, "params": 90, "tags": 90}  # of one request
_LONGEST = 5_000  # characters of a value
_STATUS = {"ok": "FINISHED", "failed": "FAILED"}  # any other: KILLED


@contextlib.contextmanager
def quiet(**variables: str) -> Iterator[None]:
    """While MLflow is called: it prints nothing and sends no telemetry, unless the user's environment says otherwise.

    `variables` are further environment variables with defaults of their own.
    """
    variables = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        **variables,
    }
    added = {name: value for name, value in variables.items() if name not in os.environ}
    levels = {name: logging.getLogger(name).level for name in ("mlflow", "alembic", "urllib3")}
    os.environ.update(added)
    for name in levels:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class MLflow:
    """The MLflow run of a run folder or a sweep folder."""

    def __init__(self, folder: Folder, settings: TrackerConfig) -> None:
        self._folder, self._settings, self._uri = folder, settings, settings.uri
        self._database = Path(self._uri.removeprefix("sqlite:///")) if self._uri.startswith("sqlite:///") else None
        how = self._uri.rstrip("/") if self._uri.startswith("http") else f"mlflow ui --backend-store-uri {self._uri}"
        self.place = f"run {folder.path.name} of experiment {settings.experiment}, {how}"
        self._run: Run
        self._is_continued = False

    @quiet(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")  # a server that is not there from the start is reported at once
    def start(self, run: Start) -> None:
        """Create the run, a child of its sweep's if it is a job, or continue it; log the epochs that it lacks."""
        self._open(run.tags)
        self.log(run.known)

    @quiet()
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Store the parameters; one that a resumed run changes becomes a tag, as MLflow's parameters are final."""
        from mlflow.entities import Param

        texts = {name: show(value)[:_LONGEST] for name, value in values.items()}
        stored = self._run.data.params
        self._send(params=[Param(name, text) for name, text in texts.items() if name not in stored])
        self._tag({name: text for name, text in texts.items() if stored.get(name, text) != text})

    @quiet()
    def log(self, points: Sequence[Point]) -> None:
        """Log metrics, but none that the run had before it was resumed."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, int(point.time * 1000), point.step)
            for point in points
            for name, value in point.values.items()
        ]
        self._send(metrics=[m for m in metrics if (m.step, m.value) not in self._logged_before(m.key)])

    @quiet()
    def finish(self, outcome: Outcome) -> None:
        """Set the status and the verdict, and upload the run folder."""
        self._tag({**outcome.tags, "mlflow.note.content": outcome.tags.get("verdict", "")})
        paths = [path for path in self._folder.path.rglob("*") if not path.name.endswith(".tmp")]
        self._end(outcome.status, [path for path in paths if path.name != _FILE])

    @quiet(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    def finish_sweep(self, status: str) -> None:
        """Log what the sweep came to, upload its summary and page, and end the runs of jobs that were killed."""
        sweep = SweepFolder(self._folder.path)
        rows = summary.read(sweep)
        statuses = [row["status"] for row in rows]
        figures: dict[str, float] = {"jobs": len(rows), **{f"jobs_{of}": statuses.count(of) for of in ("ok", "failed")}}
        scored = [row for row in rows if row["status"] == "ok" and row["val_r2"] is not None]
        tags = {}
        if scored:
            best = max(scored, key=lambda row: float(row["val_r2"]))
            names = ("val_mse", "val_r2", "test_mse", "test_r2", "test_r2_zero")
            figures |= {f"best/{name}": best[name] for name in names if best[name] is not None}
            tags = {"best": str(best["job"]), "mlflow.note.content": "\n\n".join(summary.aggregates(rows))}
        self._open({})
        self.log([Point(0, figures)])
        self._tag(tags)
        for job in map(sweep.job, sweep.jobs()):
            if job.outcome() in ("killed", "interrupted") and (run_id := self._run_id(job.path)):
                self._client.set_terminated(run_id, "KILLED")
        self._end(status, [*sweep.path.glob("summary.*"), *sweep.path.glob("report.html"), *sweep.path.glob("plots/*")])

    def _tag(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self._send(tags=[RunTag(name, text[:_LONGEST]) for name, text in tags.items()])

    def _end(self, status: str, paths: Sequence[Path]) -> None:
        """Set the status, and upload these files of the folder, the small ones first.

        One by one: Python does not end before the threads of `log_artifacts` have, however long a server takes.
        """
        self._client.set_terminated(self._run.info.run_id, _STATUS.get(status, "KILLED"))
        for path in sorted(filter(Path.is_file, paths), key=lambda path: path.stat().st_size):
            parent = path.relative_to(self._folder.path).parent.as_posix()
            self._client.log_artifact(self._run.info.run_id, str(path), None if parent == "." else parent)

    def _run_id(self, folder: Path) -> str | None:
        """The id of the MLflow run of a folder; None where it has none at this URI."""
        with contextlib.suppress(UserError):
            stored = Folder(folder).read_json(_FILE)
            return str(stored["run_id"]) if stored.get("uri") == self._uri else None
        return None

    def _open(self, tags: Mapping[str, str]) -> None:
        from mlflow.exceptions import MlflowException

        folder = self._folder.path
        if run_id := self._run_id(folder):
            try:
                self._client.update_run(run_id, status="RUNNING")
                self._run, self._is_continued = self._client.get_run(run_id), True
                return
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        own = {name: text[:_LONGEST] for name, text in {"folder": str(folder), **tags}.items()}
        if SweepFolder.is_one(folder.parent):
            own["mlflow.parentRunId"] = self._parent(SweepFolder(folder.parent))
        self._run = self._client.create_run(self._experiment_id(), run_name=folder.name, tags=own)
        self._folder.write_json(_FILE, {"uri": self._uri, "run_id": self._run.info.run_id})

    def _parent(self, sweep: SweepFolder) -> str:
        """The id of the sweep's MLflow run, which the first job that is tracked creates."""
        with sweep.changing():
            if (run_id := self._run_id(sweep.path)) is None:
                parent = MLflow(sweep, self._settings)
                parent._open({})
                run_id = str(parent._run.info.run_id)
        return run_id

    @functools.cached_property
    def _client(self) -> MlflowClient:
        from mlflow import MlflowClient

        if self._database:
            self._database.parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(self._uri)

    def _experiment_id(self) -> str:
        name = self._settings.experiment
        if self._client.get_experiment_by_name(name) is None:
            # Artifacts lie beside a database file; a server chooses for itself.
            artifacts = (self._database.parent / "mlruns").as_uri() if self._database else None
            with contextlib.suppress(Exception):  # another run has just created it
                self._client.create_experiment(name, artifact_location=artifacts)
        found: Any = self._client.get_experiment_by_name(name)
        return str(found.experiment_id)

    def _send(self, **items: Sequence[Any]) -> None:
        for kind, values in items.items():
            for start in range(0, len(values), _MOST[kind]):
                chunk: dict[str, Any] = {kind: values[start : start + _MOST[kind]]}
                self._client.log_batch(self._run.info.run_id, **chunk)

    @functools.cache  # noqa: B019  (a tracker lives as long as its process trains)
    def _logged_before(self, name: str) -> set[tuple[int, float]]:
        """The steps and values of a metric that a continued run has."""
        if not self._is_continued:
            return set()
        history = self._client.get_metric_history(self._run.info.run_id, name)
        return {(metric.step, metric.value) for metric in history}
