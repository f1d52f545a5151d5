"""What follows a run says what the run's folder says, and neither stops it nor changes a number."""

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
def followed(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that every tracker has followed, with its page."""
    folder = tmp_path_factory.mktemp("followed") / "followed"
    assert train(folder, server, "report=true") == 0
    return folder


def train(folder: Path, server: Server, *typed: str, tracker: str = "[csv,tensorboard,mlflow]") -> int:
    report = () if any(argument.startswith("report=") for argument in typed) else ("report=false",)
    return cli.main(
        [*QUICK, f"hydra.run.dir={folder}", f"tracker={tracker}", f"tracker.uri={server.uri}", *report, *typed]
    )


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def by_epoch(folder: Path) -> Figures:
    """The losses that history.csv holds."""
    rows = table(folder / "history.csv")
    return {name: {int(row["epoch"]): float(row[name]) for row in rows} for name in ("train_loss", "validation_loss")}


def in_the_end(folder: Path) -> dict[str, float]:
    """The final figures that metrics.json holds."""
    said = json.loads((folder / "metrics.json").read_text())
    best = said["baselines"][said["best_baseline"]]
    scores = {"validation": said["validation"], "test": said["test"], "best_baseline": best, "timing": said["timing"]}
    return {key.replace(".", "/"): value for key, value in leaves(scores) if isinstance(value, (int, float))}


def in_scalars(folder: Path) -> Figures:
    """What scalars.csv holds, where each figure of a step stands once."""
    found: Figures = {}
    for row in table(folder / "scalars.csv"):
        steps = found.setdefault(row["name"], {})
        assert int(row["step"]) not in steps
        steps[int(row["step"])] = float(row["value"])
    return found


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


def test_a_run_that_is_followed_has_the_numbers_of_one_that_is_not(
    followed: Path, server: Server, tmp_path: Path
) -> None:
    assert train(tmp_path / "plain", server, tracker="none") == 0
    assert metrics(followed) == metrics(tmp_path / "plain")
    for name in ("predictions.csv", "norm_stats.json", "config.json"):
        assert (followed / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    traces = {path.name for path in followed.iterdir()} - {path.name for path in (tmp_path / "plain").iterdir()}
    assert traces == {"scalars.csv", "tensorboard", "mlflow.json", "tracker.json", "plots", "report.html"}


def test_scalars_csv_has_every_figure_by_step(followed: Path) -> None:
    found = in_scalars(followed)
    assert {name: found[name] for name in ("train_loss", "validation_loss")} == by_epoch(followed)
    assert found["lr"] == dict.fromkeys(EPOCHS, 1e-3)
    assert {name: found[name] for name in in_the_end(followed)} == {n: {3: v} for n, v in in_the_end(followed).items()}
    assert {row["synthetic"] for row in table(followed / "scalars.csv")} == {"true"}


def test_tensorboard_reads_every_figure_and_picture(followed: Path) -> None:
    found, reader = in_event_files(followed)
    for name, steps in {**by_epoch(followed), **{n: {3: v} for n, v in in_the_end(followed).items()}}.items():
        assert found[name] == pytest.approx(steps, rel=1e-6)  # float32, as TensorBoard holds scalars
    pictures = {path.stem: path.read_bytes() for path in (followed / "plots").glob("*.png")}
    assert pictures and {name: reader.Images(name)[0].encoded_image_string for name in pictures} == pictures
    assert b"Skill is not shown" in reader.Tensors("verdict")[0].tensor_proto.string_val[0]
    from tensorboard.plugins.hparams import metadata

    about = reader.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    asked = metadata.parse_session_start_info_plugin_data(about).hparams
    assert asked["trainer.lr"].number_value == 1e-3 and asked["model.name"].string_value == "mlp"
    assert asked["synthetic"].bool_value


def test_mlflow_has_hyperparameters_figures_pictures_and_the_folder(followed: Path, server: Server) -> None:
    run = server.run(followed)
    config = json.loads((followed / "config.json").read_text())["config"]
    asked = {key: show(value) for key, value in leaves(config)}
    assert run.data.params == {key: asked[key] for key in run.data.params}
    missing = {key.split(".")[0] for key in asked.keys() - run.data.params.keys()}
    assert missing == {"task", "run", "report", "sweep", "export", "audit"}
    found = server.figures(run)
    for name, steps in {**by_epoch(followed), **{n: {3: v} for n, v in in_the_end(followed).items()}}.items():
        assert found[name] == steps
    files = {str(path.relative_to(followed)) for path in followed.rglob("*") if path.is_file()}
    assert server.artifacts(run) == {name for name in files if not name.startswith("tensorboard/")} - {"mlflow.json"}
    assert run.info.status == "FINISHED" and run.data.tags["synthetic"] == "true"
    assert "Skill is not shown" in run.data.tags["verdict"]


def test_a_run_that_goes_on_is_followed_to_the_same_places(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "goes on"
    assert train(folder, server, tracker="[csv,tensorboard]") == 0
    with (folder / "scalars.csv").open("a") as file:
        file.write("2020-01-01T00:00:00+00:00,2,cut o")
    before = (folder / "scalars.csv").read_text().splitlines()[:4]
    assert train_on(folder, "tracker=[csv,tensorboard,mlflow]", f"tracker.uri={server.uri}", "trainer.epochs=4") == 0
    first = server.run(folder)
    assert train_on(folder, "trainer.epochs=5") == 0  # followed as before, without a word
    assert (folder / "scalars.csv").read_text().splitlines()[:4] == before
    run = server.run(folder)
    assert run.info.run_id == first.info.run_id and run.info.status == "FINISHED"
    assert (run.data.params["trainer.epochs"], run.data.tags["trainer.epochs"]) == ("4", "5")
    for found in (in_scalars(folder), in_event_files(folder)[0], server.figures(run)):
        assert found["validation_loss"] == pytest.approx(by_epoch(folder)["validation_loss"], rel=1e-6)
        assert list(found["train_loss"]) == [*EPOCHS, 4, 5]
        assert list(found["test/mse"])[-2:] == [4, 5]


def train_on(folder: Path, *typed: str) -> int:
    return cli.main([f"trainer.resume='{folder}'", "trainer.patience=null", "report=false", *typed])


def test_an_epoch_that_is_trained_once_more_is_told_once(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "once more"
    assert train(folder, server, "trainer.patience=null") == 0
    (folder / "last.pt").write_bytes(b"damaged")  # as if killed between the telling and the checkpoint
    shutil.copy(folder / "result.json", tmp_path)
    (folder / "result.json").write_text((tmp_path / "result.json").read_text().replace('"ok"', '"failed"'))
    assert cli.main([f"trainer.resume='{folder}'", "report=false"]) == 0
    run = server.run(folder)
    losses = by_epoch(folder)["validation_loss"]
    assert {step: in_scalars(folder)["validation_loss"][step] for step in EPOCHS} == losses
    assert in_event_files(folder)[0]["validation_loss"] == pytest.approx(losses, rel=1e-6)
    points = server.client.get_metric_history(run.info.run_id, "validation_loss")
    assert [(point.step, point.value) for point in points] == list(losses.items())


def test_folds_are_told_apart(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "folds"
    assert train(folder, server, "data.split=walk_forward", "data.folds=2") == 0
    rows = table(folder / "folds.csv")
    for found in (in_scalars(folder), in_event_files(folder)[0], server.figures(server.run(folder))):
        for fold in (0, 1):
            losses = by_epoch(folder / "folds" / str(fold))["validation_loss"]
            assert found[f"fold_{fold}/validation_loss"] == pytest.approx(losses, rel=1e-6)
            assert found["folds/test_mse"][fold] == pytest.approx(float(rows[fold]["test_mse"]), rel=1e-6)
        assert "validation_loss" not in found


def test_a_run_that_fails_is_told_as_failed(server: Server, tmp_path: Path) -> None:
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


def test_of_ranks_only_the_leader_tells(server: Server, tmp_path: Path) -> None:
    places = (f"hydra.run.dir={tmp_path}/ranks", "tracker=[csv,mlflow]", f"tracker.uri={server.uri}")
    done = command(*QUICK_RANKS, "trainer.world_size=2", *places, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    run = server.run(tmp_path / "ranks")
    for found in (in_scalars(tmp_path / "ranks"), server.figures(run)):
        assert found["validation_loss"] == by_epoch(tmp_path / "ranks")["validation_loss"]
        assert found["test/mse"] == {3: in_the_end(tmp_path / "ranks")["test/mse"]}
    assert run.info.status == "FINISHED" and run.data.tags["world_size"] == "2"


def test_a_followed_run_is_reproduced(
    followed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["task=reproduce", f"run={followed}", "report=false", "tracker=csv"]) == 0
    said = capsys.readouterr().out
    assert "same config, data, code, versions and device" in said and "reproduced: identical" in said
    (again,) = (tmp_path / "outputs").iterdir()
    assert in_scalars(again)["validation_loss"] == by_epoch(followed)["validation_loss"]


@pytest.mark.parametrize("tracker", ["csv", "tensorboard", "mlflow"])
def test_a_tracker_that_cannot_write_is_told_of_in_one_line(
    tracker: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    (folder / "scalars.csv").mkdir(parents=True)
    (folder / "tensorboard").touch()
    (tmp_path / "a file").touch()
    places = (f"hydra.run.dir={folder}", f"tracker={tracker}", f"tracker.uri='sqlite:///{tmp_path}/a file/mlflow.db'")
    assert cli.main([*QUICK, *places, "report=false"]) == 0
    said = capfd.readouterr()
    warnings = [line for line in said.out.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1 and warnings[0].startswith(f"warning     tracker {tracker}: ") and said.err == ""
    assert "tracker  " not in said.out and (folder / "metrics.json").exists()


@pytest.mark.parametrize("package", ["mlflow", "tensorboard", "sqlalchemy"])
def test_an_extra_that_is_missing_is_told_before_anything_is_made(package: str, tmp_path: Path) -> None:
    tracker = "mlflow" if package == "sqlalchemy" else package
    program = f"import sys; sys.modules[{package!r}] = None; from stockml.cli import main; sys.exit(main())"
    for asked in ([f"tracker={tracker}"], ["-m", "seed=1,2", f"tracker={tracker}"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *asked, *QUICK], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = f"tracker={tracker}: needs {package}: pip install 'stockml[{tracker}]'\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said)
    assert not list(tmp_path.iterdir())


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


def test_a_server_that_dies_costs_a_line_and_nothing_else(server: Server, tmp_path: Path) -> None:
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
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "GATE": str(gate)},
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
        said, _ = training.communicate(timeout=60)
    assert training.returncode == 0
    (warning,) = [line for line in said.splitlines() if line.startswith("warning")]
    assert warning.startswith(f"warning     tracker mlflow: {server.uri}: Connection") and "Traceback" not in said
    assert list(by_epoch(folder)["validation_loss"]) == EPOCHS and (folder / "metrics.json").exists()
