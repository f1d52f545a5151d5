"""The register of trackers, and what a tracker that fails, is missing or is someone else's costs a run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stockml import cli
from tests.conftest import ROOT, command

QUICK = ("data.days=400", "+experiment=quick", "hardware=cpu")


OWN_TRACKER = """
import sys
from pathlib import Path
from stockml import trackers

class Lines:
    def __init__(self, folder, settings):
        self.folder, self.place = folder, str(folder.path / "lines.txt")
    def write(self, *words):
        with Path(self.place).open("a") as file:
            print(*words, file=file)
    def start(self, run):
        self.write("start", run.tags["ticker"])
    def store_init_configuration(self, values):
        self.write("configuration", values["trainer.epochs"])
    def log(self, points):
        for point in points:
            self.write("log", point.step, *sorted(point.values)[:1])
    def finish(self, outcome):
        self.write("finish", outcome.status)

trackers.TRACKERS["lines"] = trackers.Entry("__main__:Lines")
from stockml.cli import main
sys.exit(main())
"""


def test_a_tracker_of_ones_own_is_one_class_and_one_line(tmp_path: Path) -> None:
    def run(*typed: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-c", OWN_TRACKER, *typed, "report=false"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(arguments, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    done = run(*QUICK, "hydra.run.dir=run", "+tracker.lines=true")
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "run" / "lines.txt"
    assert f"tracker     lines: {path}" in done.stdout
    epochs = [f"log {epoch} best_epoch" for epoch in (1, 2, 3)]
    lines = path.read_text().splitlines()
    assert lines == ["start AAPL", "configuration 3", *epochs, "log 3 best_baseline/test/hit_rate", "finish ok"]
    assert run("trainer.resume=run", "trainer.epochs=4").returncode == 0  # on again, as tracker.json says
    assert path.read_text().splitlines()[len(lines) :][:2] == ["start AAPL", "configuration 4"]
    assert "tracker.lines" in run(*QUICK, "+tracker.lines=7").stderr


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_a_tracker_that_cannot_write_costs_one_line(
    tracker: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "tensorboard").touch()
    (tmp_path / "a file").touch()
    places = (f"hydra.run.dir={folder}", f"tracker={tracker}", f"tracker.uri='sqlite:///{tmp_path}/a file/mlflow.db'")
    assert cli.main([*QUICK, *places, "report=false"]) == 0
    printed = capfd.readouterr()
    warnings = [line for line in printed.out.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1 and warnings[0].startswith(f"warning     tracker {tracker}: ") and printed.err == ""
    assert "tracker  " not in printed.out and (folder / "metrics.json").exists()


def test_a_server_that_never_answers_delays_a_run_by_wait_seconds_at_most(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        typed = (*QUICK, "hydra.run.dir=run", "tracker=mlflow", f"tracker.uri={uri}", "tracker.wait_seconds=0.5")
        env = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "100000"}  # seconds, far longer than `command` waits for the process
        done = command(*typed, cwd=tmp_path, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning     tracker mlflow: not done 0.5 s after the run has ended (tracker.wait_seconds)" in done.stdout


@pytest.mark.parametrize("package", ["mlflow", "tensorboard", "sqlalchemy"])
def test_a_missing_package_is_named_before_anything_is_made(package: str, tmp_path: Path) -> None:
    tracker = "mlflow" if package == "sqlalchemy" else package
    program = f"import sys; sys.modules[{package!r}] = None; from stockml.cli import main; sys.exit(main())"
    for asked in ([f"tracker={tracker}"], ["-m", "seed=1,2", f"tracker={tracker}"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *asked, *QUICK], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        message = f"tracker={tracker}: needs {package}: pip install 'stockml[{tracker}]'\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    assert not list(tmp_path.iterdir())


def test_a_run_folder_never_chooses_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*QUICK, "hydra.run.dir=run", "tracker=tensorboard", "report=false"]) == 0
    assert "uri" not in json.loads(Path("run/tracker.json").read_text())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        written = {"csv": True, "tensorboard": False, "mlflow": True, "uri": uri, "experiment": "e", "wait_seconds": 5}
        Path("run/tracker.json").write_text(json.dumps(written))  # as a release had it that knew tracker=csv
        assert cli.main(["trainer.resume=run", "trainer.patience=null", "report=false", "trainer.epochs=4"]) == 0
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert Path("mlflow.db").exists()
