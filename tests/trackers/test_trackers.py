"""A run's trackers have what its folder has, and neither end it, nor delay it, nor change a number."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stockml import cli
from stockml.config.values import leaves, show
from tests.conftest import ROOT, RUN_PY, command, metrics
from tests.tasks.conftest import QUICK_RANKS

QUICK = ("data.days=400", "+experiment=quick", "hardware=cpu")
EPOCHS = [1, 2, 3]  # of a quick run

Figures = dict[str, dict[int, float]]
"""By name and step."""


@dataclass(frozen=True)
class Server:
    """MLflow's own, on this machine."""

    process: subprocess.Popen[bytes]
    uri: str

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def run(self, folder: Path) -> Any:
        """The run of this name."""
        (found,) = self.client.search_runs(["1"], f"tags.`mlflow.runName` = '{folder.name}'")
        return found

    def figures(self, run: Any) -> Figures:
        """Each figure by step, where it stands once."""
        found: Figures = {}
        for name in run.data.metrics:
            points = self.client.get_metric_history(run.info.run_id, name)
            found[name] = {point.step: point.value for point in points}
            assert len(points) == len(found[name])
        return found

    def artifacts(self, run: Any, path: str | None = None) -> set[str]:
        """Every file of the run."""
        found: set[str] = set()
        for item in self.client.list_artifacts(run.info.run_id, path):
            found |= self.artifacts(run, item.path) if item.is_dir else {item.path}
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    store = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "kept"))
    arguments = ("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *store)
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            cwd=folder,
            env={**os.environ, **quiet},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield Server(process, uri)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the server, and what it has started."""
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.fixture(scope="module")
def tracked(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with both trackers and its page."""
    folder = tmp_path_factory.mktemp("tracked") / "tracked"
    assert train(folder, server, "report=true") == 0
    return folder


def train(folder: Path, server: Server, *typed: str, tracker: str = "[tensorboard,mlflow]") -> int:
    report = () if any(argument.startswith("report=") for argument in typed) else ("report=false",)
    places = (f"hydra.run.dir={folder}", f"tracker={tracker}", f"tracker.uri={server.uri}")
    return cli.main([*QUICK, *places, *report, *typed])


def resume(folder: Path, *typed: str) -> int:
    return cli.main([f"trainer.resume='{folder}'", "trainer.patience=null", "report=false", *typed])


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def by_epoch(folder: Path) -> Figures:
    """The losses of history.csv."""
    rows = table(folder / "history.csv")
    return {name: {int(row["epoch"]): float(row[name]) for row in rows} for name in ("train_loss", "validation_loss")}


def final(folder: Path) -> Figures:
    """The final figures of metrics.json, at the last epoch."""
    found = json.loads((folder / "metrics.json").read_text())
    best = found["baselines"][found["best_baseline"]]
    shown = {"validation": found["validation"], "test": found["test"], "best_baseline": best}
    return {key.replace(".", "/"): {3: v} for key, v in leaves(shown) if isinstance(v, (int, float))}


def in_event_files(folder: Path) -> tuple[Figures, Any]:
    """What TensorBoard reads, and its reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0, "images": 0, "tensors": 0})
    reader.Reload()
    found: Figures = {}
    for name in reader.Tags()["scalars"]:
        events = reader.Scalars(name)
        found[name] = {event.step: event.value for event in events}
        assert len(events) == len(found[name])
    return found, reader


def test_a_tracked_run_has_the_numbers_of_one_that_is_not(tracked: Path, server: Server, tmp_path: Path) -> None:
    assert train(tmp_path / "plain", server, tracker="none") == 0
    assert metrics(tracked) == metrics(tmp_path / "plain")
    for name in ("predictions.csv", "norm_stats.json", "config.json"):
        assert (tracked / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    more = {path.name for path in tracked.iterdir()} - {path.name for path in (tmp_path / "plain").iterdir()}
    assert more == {"tensorboard", "mlflow.json", "tracker.json", "plots", "report.html"}


def test_tensorboard_has_hyperparameters_figures_verdict_and_plots(tracked: Path) -> None:
    found, reader = in_event_files(tracked)
    for name, steps in {**by_epoch(tracked), **final(tracked)}.items():
        assert found[name] == pytest.approx(steps, rel=1e-6)  # float32, as TensorBoard stores scalars
    assert found["lr"] == pytest.approx(dict.fromkeys(EPOCHS, 1e-3))
    plots = {path.stem: path.read_bytes() for path in (tracked / "plots").glob("*.png")}
    assert plots and {name: reader.Images(name)[0].encoded_image_string for name in plots} == plots
    (verdict,) = reader.Tensors("verdict")[0].tensor_proto.string_val
    assert verdict.decode() == json.loads((tracked / "metrics.json").read_text())["verdict"]
    from tensorboard.plugins.hparams import metadata

    content = reader.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    stored = metadata.parse_session_start_info_plugin_data(content).hparams
    assert stored["trainer.lr"].number_value == 1e-3 and stored["model.name"].string_value == "mlp"
    assert stored["synthetic"].bool_value


def test_mlflow_has_parameters_figures_verdict_and_the_run_folder(tracked: Path, server: Server) -> None:
    run = server.run(tracked)
    config = {key: show(v) for key, v in leaves(json.loads((tracked / "config.json").read_text())["config"])}
    assert run.data.params == {"synthetic": "true", **{key: config[key] for key in run.data.params if key in config}}
    missing = {key.split(".")[0] for key in config.keys() - run.data.params.keys()}
    assert missing == {"task", "run", "report", "sweep", "export", "audit"}
    found = server.figures(run)
    for name, steps in {**by_epoch(tracked), **final(tracked)}.items():
        assert found[name] == steps
    files = {str(path.relative_to(tracked)) for path in tracked.rglob("*") if path.is_file()}
    assert server.artifacts(run) == files - {"mlflow.json"}
    assert run.info.status == "FINISHED" and run.data.tags["synthetic"] == "true"
    assert run.data.tags["verdict"] == json.loads((tracked / "metrics.json").read_text())["verdict"]


def test_a_resumed_run_goes_on_in_the_same_places_without_a_word(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "goes on"
    assert train(folder, server, tracker="tensorboard") == 0
    assert resume(folder, "tracker=[tensorboard,mlflow]", f"tracker.uri={server.uri}", "trainer.epochs=4") == 0
    first = server.run(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert resume(folder, "trainer.epochs=5") == 0
    run = server.run(folder)
    assert run.info.run_id == first.info.run_id and run.info.status == "FINISHED"
    assert (run.data.params["trainer.epochs"], run.data.tags["trainer.epochs"]) == ("4", "5")
    for found in (in_event_files(folder)[0], server.figures(run)):
        assert found["validation_loss"] == pytest.approx(by_epoch(folder)["validation_loss"], rel=1e-6)
        assert list(found["train_loss"]) == [*EPOCHS, 4, 5]
        assert list(found["test/mse"])[-2:] == [4, 5]


def test_an_epoch_that_is_trained_again_is_logged_once(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    assert train(folder, server, "trainer.patience=null") == 0
    (folder / "last.pt").write_bytes(b"damaged")  # as if killed after the epoch was logged, before its checkpoint
    shutil.copy(folder / "result.json", tmp_path)
    (folder / "result.json").write_text((tmp_path / "result.json").read_text().replace('"ok"', '"failed"'))
    assert resume(folder, f"tracker.uri={server.uri}", "tracker=[tensorboard,mlflow]") == 0
    losses = by_epoch(folder)["validation_loss"]
    assert in_event_files(folder)[0]["validation_loss"] == pytest.approx(losses, rel=1e-6)
    points = server.client.get_metric_history(server.run(folder).info.run_id, "validation_loss")
    assert [(point.step, point.value) for point in points] == list(losses.items())


def test_each_fold_has_figures_of_its_own(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "folds"
    assert train(folder, server, "data.split=walk_forward", "data.folds=2") == 0
    rows = table(folder / "folds.csv")
    for found in (in_event_files(folder)[0], server.figures(server.run(folder))):
        for fold in (0, 1):
            losses = by_epoch(folder / "folds" / str(fold))["validation_loss"]
            assert found[f"fold_{fold}/validation_loss"] == pytest.approx(losses, rel=1e-6)
            assert found["folds/test_mse"][fold] == pytest.approx(float(rows[fold]["test_mse"]), rel=1e-6)
        assert "validation_loss" not in found


def test_a_run_that_fails_is_marked_as_failed(server: Server, tmp_path: Path) -> None:
    assert train(tmp_path / "fails", server, "trainer.lr=1e30", "trainer.optimizer=sgd") == 1
    run = server.run(tmp_path / "fails")
    assert run.info.status == "FAILED" and "trainer.lr" in run.data.tags["error"]
    assert "train.log" in server.artifacts(run)


def test_the_jobs_of_a_sweep_are_children_of_its_run(server: Server, tmp_path: Path) -> None:
    places = (f"hydra.sweep.dir={tmp_path}/sweep", "tracker=mlflow", f"tracker.uri={server.uri}")
    done = command("-m", "seed=1,2", *QUICK, *places, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    parent = server.run(tmp_path / "sweep")
    family = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    children = {run.info.run_name: run for run in server.client.search_runs(["1"], family)}
    assert sorted(children) == ["AAPL-seed_1", "AAPL-seed_2"]
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}
    for name, run in children.items():
        assert server.figures(run)["validation_loss"] == by_epoch(tmp_path / "sweep" / name)["validation_loss"]
    assert parent.data.metrics["jobs_ok"] == 2 and {"summary.csv", "summary.md"} <= server.artifacts(parent)


def test_only_the_main_rank_logs(server: Server, tmp_path: Path) -> None:
    places = (f"hydra.run.dir={tmp_path}/ranks", "tracker=[tensorboard,mlflow]", f"tracker.uri={server.uri}")
    done = command(*QUICK_RANKS, "trainer.world_size=2", *places, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    run = server.run(tmp_path / "ranks")
    for found in (in_event_files(tmp_path / "ranks")[0], server.figures(run)):
        assert found["validation_loss"] == pytest.approx(by_epoch(tmp_path / "ranks")["validation_loss"], rel=1e-6)
        assert found["test/mse"] == pytest.approx(final(tmp_path / "ranks")["test/mse"], rel=1e-6)
    assert run.info.status == "FINISHED" and run.data.tags["world_size"] == "2"


# A model that waits, in the third epoch, until a file is there.
MODEL = """
import os, time
from dataclasses import dataclass
from pathlib import Path
from torch import nn
from stockml.models import Family

@dataclass(frozen=True, kw_only=True)
class Config:
    name: str

class Model(nn.Module):
    def __init__(self, config, window, features):
        super().__init__()
        self.output, self.calls = nn.Linear(features, 1), 0
    def forward(self, x):
        self.calls += self.training
        while self.training and self.calls == 10 and not Path(os.environ["GATE"]).exists():
            time.sleep(0.02)
        return self.output(x.mean(1)).squeeze(-1)

FAMILY = Family(Config, "waiting_model:Model")
"""


def test_a_server_that_dies_costs_one_line(server: Server, tmp_path: Path) -> None:
    info = tmp_path / "site" / "waiting_model-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "waiting_model.py").write_text(MODEL)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: waiting_model\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stockml.models]\nwaiting = waiting_model:FAMILY\n")
    folder, gate = tmp_path / "run", tmp_path / "gate"
    typed = (*QUICK, "model=waiting", f"hydra.run.dir={folder}", "tracker=mlflow", f"tracker.uri={server.uri}")
    training = subprocess.Popen(
        [sys.executable, str(RUN_PY), *typed, "report=false"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)]),
            "GATE": str(gate),
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with training:
        deadline = time.monotonic() + 60
        while not (folder / "mlflow.json").exists() or not server.figures(server.run(folder)).get("validation_loss"):
            assert time.monotonic() < deadline and training.poll() is None
            time.sleep(0.1)
        end(server.process)
        gate.touch()
        printed, _ = training.communicate(timeout=60)
    assert training.returncode == 0
    (warning,) = [line for line in printed.splitlines() if line.startswith("warning")]
    assert (
        warning.startswith("warning     tracker mlflow: Connection")
        and server.uri in warning
        and "Traceback" not in printed
    )
    assert list(by_epoch(folder)["validation_loss"]) == EPOCHS and (folder / "metrics.json").exists()
