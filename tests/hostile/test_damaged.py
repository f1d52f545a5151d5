"""A damaged file of a run or sweep folder: each command ends with status 0 or 2, without a traceback, and names it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import command
from tests.hostile.test_hostile import make

NUMBER = '{"jobs": 1}'
LOST = '{"format": 2, "data": {}, "config": {}}'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize(
    ("name", "content", "typed"),
    [
        ("run/config.json", "", "task=evaluate run=run"),
        ("run/config.json", "{}", "task=predict run=run"),
        ("run/config.json", "[]", "task=audit run=run"),
        ("run/config.json", LOST, "trainer.resume=run trainer.epochs=2"),
        ("run/metrics.json", "null", "task=evaluate run=run"),
        ("run/metrics.json", '{"timing": ["x"]}', "trainer.resume=run trainer.epochs=2"),
        ("run/metrics.json", '{"test": {"mse": "x"}}', "task=report run=run"),
        ("run/norm_stats.json", '{"mean": [1e999]}', "task=predict run=run"),
        ("run/result.json", '{"pid": []}', "task=report run=run"),
        ("run/.hydra/config.yaml", "null", "task=update run=run"),
        ("run/best.pt", "{}", "task=explain run=run"),
        ("run/predictions.csv", "x\n", "task=evaluate run=run"),
        ("sweep/sweep.json", NUMBER, "task=report run=sweep"),
        ("sweep/AAPL-seed_1/metrics.json", "[]", "task=placebo run=sweep placebo.copies=1"),
    ],
)
def test_a_damaged_file_is_refused_by_name(name: str, content: str, typed: str, made: Path, tmp_path: Path) -> None:
    for of in ("run", "sweep"):
        shutil.copytree(made / of, tmp_path / of)
    (tmp_path / name).write_text(content)
    done = command(*typed.split(), "report=false", cwd=tmp_path)
    out = done.stdout + done.stderr
    assert done.returncode in (0, 2) and "stockml's own" not in out and "Traceback" not in out, out
    if done.returncode:
        assert Path(name).parent.name in out, out


def test_a_missing_key_names_the_file(made: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made / "run", tmp_path / "run")
    facts = json.loads((run / "config.json").read_text())
    del facts["data"]["fingerprint"]
    (run / "config.json").write_text(json.dumps(facts))
    done = command("trainer.resume=run", "trainer.epochs=2", cwd=tmp_path)
    assert done.returncode == 2 and "config.json: has no fingerprint" in done.stderr, done.stderr
