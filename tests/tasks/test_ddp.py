"""trainer=ddp: real workers, whose result is that of one process."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stockml import compose
from stockml.processes import machine
from stockml.tasks import rank_count
from stockml.training import checkpoint
from tests.conftest import LEDGER, Run, command, metrics, require_not_imported
from tests.tasks.conftest import QUICK_RANKS, workers_of
from tests.tasks.test_train import identical
from tests.training.test_hardware import gpu

EXACT = ("hardware=cpu", "hardware.precision=fp64", "trainer.epochs=3", "trainer.patience=null", "data.days=447")


def ddp(folder: Path, world_size: int | str, *overrides: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """A run by so many workers, which must end with that status."""
    done = command(
        "trainer=ddp", f"trainer.world_size={world_size}", f"hydra.run.dir={folder}", *overrides, cwd=folder.parent
    )
    assert done.returncode == status, done.stderr
    assert status or not done.stderr
    return done


def difference(one: Path, other: Path) -> float:
    """The largest one between two runs' parameters after their last epoch."""
    a, b = (checkpoint.load(folder / "last.pt")["weights"] for folder in (one, other))
    return float((a - b).abs().max())


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def numbers(scores: Any) -> list[float]:
    """Every number of nested dicts, in order."""
    if isinstance(scores, dict):
        return [number for key in sorted(scores) for number in numbers(scores[key])]
    return [float(scores)] if isinstance(scores, (int, float)) else []


def agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the scores of two runs agree to the rounding of single precision."""
    return all(
        numbers(one[part]) == pytest.approx(numbers(other[part]), rel=1e-5, abs=1e-5) for part in ("validation", "test")
    )


def test_one_rank_is_bit_identical_to_a_single_process(run: Run, tmp_path: Path) -> None:
    run("single", "+experiment=quick", "hardware=cpu")
    done = ddp(tmp_path / "ddp", 1, "+experiment=quick", "hardware=cpu")
    assert "is faster" not in done.stdout
    assert identical(tmp_path / "single", tmp_path / "ddp")
    assert {path.name for path in (tmp_path / "ddp").iterdir()} - {"ranks"} == {
        path.name for path in (tmp_path / "single").iterdir()
    }


@pytest.mark.parametrize(("world_size", "model"), [(2, "mlp"), (3, "linear")])
def test_ranks_compute_what_one_process_does_with_the_same_global_batch(
    run: Run, tmp_path: Path, world_size: int, model: str
) -> None:
    settings = (*EXACT, f"model={model}", *(["model.dropout=0"] if model == "mlp" else []))
    run("single", *settings, f"trainer.batch_size={16 * world_size}")
    ddp(tmp_path / "ddp", world_size, *settings, "trainer.batch_size=16")
    assert difference(tmp_path / "single", tmp_path / "ddp") < 1e-10
    single, several = rows(tmp_path / "single"), rows(tmp_path / "ddp")
    computed = dict.fromkeys(("y_pred", "lower_80", "upper_80", "lower_95", "upper_95"))
    assert [row | computed for row in single] == [row | computed for row in several]
    assert len({row["sample"] for row in several}) == len(several)
    for a, b in zip(single, several, strict=True):
        for name in computed:
            assert float(a[name] or "nan") == pytest.approx(float(b[name] or "nan"), abs=1e-12, nan_ok=True)
    one, other = metrics(tmp_path / "single"), metrics(tmp_path / "ddp")
    assert numbers(one) == pytest.approx(numbers(other), rel=1e-9, abs=1e-12)


def test_in_single_precision_metrics_agree_to_rounding(run: Run, tmp_path: Path) -> None:
    settings = ("hardware=cpu", "+experiment=quick", "model.dropout=0")
    one = run("single", *settings, "trainer.batch_size=64")
    ddp(tmp_path / "ddp", 2, *settings, "trainer.batch_size=32")
    assert agree(one, metrics(tmp_path / "ddp"))


def test_there_is_a_rank_per_core_as_long_as_each_has_a_full_batch() -> None:
    def auto(samples: int, *overrides: str) -> int:
        return rank_count.world_size(compose.compose("trainer=ddp", "hardware=cpu", *overrides), samples)

    assert auto(10**6) == machine.cores()
    assert auto(10**6, f"hardware.threads={machine.cores()}") == 1
    assert (auto(64), auto(127), auto(1)) == (1, 1, 1)
    assert auto(128) == min(2, machine.cores())
    assert auto(10**6, "trainer.global_batch_size=1") == 1


def test_workers_write_one_folder_with_a_log_per_rank_and_the_composed_config(
    typed_ranks: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    assert {path.name for path in typed_ranks[0].iterdir()} == {"outputs", *LEDGER}
    (folder,) = (typed_ranks[0] / "outputs").iterdir()
    assert {path.name for path in (folder / "ranks").iterdir()} == {"rank_0.log", "rank_1.log"}
    assert (folder / "ranks" / "rank_0.log").read_text() == ""
    assert "epoch 3/3" in (folder / "ranks" / "rank_1.log").read_text()
    assert {path.name for path in (folder / ".hydra").iterdir()} == {"config.yaml", "overrides.yaml", "hydra.yaml"}
    facts, result = (json.loads((folder / name).read_text()) for name in ("config.json", "result.json"))
    assert (facts["world_size"], facts["global_batch_size"], facts["config"]["trainer"]["world_size"]) == (2, 128, 2)
    assert facts["device"].startswith("2 × ")
    assert result["status"] == "ok"
    timing = json.loads((folder / "metrics.json").read_text())["timing"]
    assert timing["world_size"] == 2 and 0 < timing["communication_share"] < 1
    assert timing["samples_per_second_per_rank"] == timing["samples_per_second"] / 2


def test_the_launcher_does_not_import_torch_and_a_second_run_is_bit_identical(tmp_path: Path, two_ranks: Path) -> None:
    typed = (*QUICK_RANKS, "trainer.world_size=2", "hydra.run.dir=run")
    require_not_imported({"torch", "pandas", "scipy"}, *typed, cwd=tmp_path)
    assert identical(tmp_path / "run", two_ranks)


CONTINUED = (*(s for s in EXACT if "epochs" not in s), "model.dropout=0")


@pytest.fixture(scope="module")
def three_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks that can be continued to five epochs."""
    folder = tmp_path_factory.mktemp("three epochs") / "run"
    ddp(folder, 2, *CONTINUED, "trainer.batch_size=16", "trainer.epochs=3")
    return folder


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_run_is_continued_at_another_world_size(
    run: Run, tmp_path: Path, three_epochs: Path, world_size: int
) -> None:
    run("uninterrupted", *CONTINUED, "trainer.batch_size=32", "trainer.epochs=5")
    shutil.copytree(three_epochs, tmp_path / "run")
    typed = ("trainer.resume=run", f"trainer.world_size={world_size}", "trainer.epochs=5")
    done = command(*typed, "trainer.global_batch_size=32", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "(it was" not in done.stdout and "resumed     3 epochs" in done.stdout
    assert difference(tmp_path / "uninterrupted", tmp_path / "run") < 1e-10


def test_a_run_continued_with_another_global_batch_says_so(run: Run, tmp_path: Path, three_epochs: Path) -> None:
    run("uninterrupted", *CONTINUED, "trainer.batch_size=32", "trainer.epochs=5")
    shutil.copytree(three_epochs, tmp_path / "run")
    done = command("trainer.resume=run", "trainer.world_size=1", "trainer.epochs=5", cwd=tmp_path)
    assert done.returncode == 0
    assert (
        "resumed     at world size 1 (it was 2) with a global batch of 16 (it was 32): "
        "its result differs from an uninterrupted run's; trainer.global_batch_size=32 keeps it"
    ) in done.stdout
    assert difference(tmp_path / "uninterrupted", tmp_path / "run") > 1e-10


def test_real_arrays(run: Run, tmp_path: Path, market: Path) -> None:
    settings = ("data=npz", f"data.dir={market / 'npz'}", "stock=TSLA", "+experiment=quick", "model.dropout=0")
    one = run("single", *settings, "trainer.batch_size=128", "hardware=cpu")
    ddp(tmp_path / "ddp", 2, *settings, "hardware=cpu")
    assert agree(one, metrics(tmp_path / "ddp"))


def test_a_sweep_of_ddp_runs_on_real_bars(run: Run, tmp_path: Path, market: Path) -> None:
    settings = ("data=csv", f"data.dir={market / 'ohlcv'}", "+experiment=quick", "model.dropout=0", "hardware=cpu")
    typed = ("-m", "stock=AAPL,TSLA", "trainer=ddp", "trainer.world_size=2", *settings)
    sweep = tmp_path / "sweep"
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    done = command(*typed, *launcher, f"hydra.sweep.dir={sweep}", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == {"AAPL", "TSLA"}
    assert workers_of(tmp_path) == []
    assert json.loads((sweep / "AAPL" / "result.json").read_text())["status"] == "ok"
    ddp(tmp_path / "TSLA", 2, *settings, "stock=TSLA")
    assert identical(sweep / "TSLA", tmp_path / "TSLA")
    assert agree(run("single", *settings, "stock=TSLA", "trainer.batch_size=128"), metrics(tmp_path / "TSLA"))


def test_a_run_that_would_be_faster_alone_says_so(tmp_path: Path) -> None:
    settings = ("hardware=cpu", "+experiment=quick", "data.days=400", "trainer.batch_size=4")
    assert "one process with this global batch is faster: trainer=single trainer.batch_size=8" in (
        ddp(tmp_path / "several", 2, *settings).stdout
    )


class TestOnAGpu:
    pytestmark = gpu

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_one_rank_equals_a_single_process(self, run: Run, tmp_path: Path, precision: str) -> None:
        settings = ("hardware=cuda", "hardware.deterministic=true", f"hardware.precision={precision}")
        run("single", "+experiment=quick", *settings)
        ddp(tmp_path / "ddp", 1, "+experiment=quick", *settings)
        assert identical(tmp_path / "single", tmp_path / "ddp")

    def test_a_run_is_continued(self, tmp_path: Path) -> None:
        settings = ("hardware=cuda", "hardware.deterministic=true", "trainer.patience=null", "data.days=400")
        ddp(tmp_path / "long", 1, *settings, "trainer.epochs=6")
        ddp(tmp_path / "short", 1, *settings, "trainer.epochs=3")
        assert command(f"trainer.resume={tmp_path / 'short'}", "trainer.epochs=6", cwd=tmp_path).returncode == 0
        assert identical(tmp_path / "long", tmp_path / "short")


def test_a_sweep_of_ddp_runs_is_continued_and_reproduced(tmp_path: Path) -> None:
    small = ("trainer=ddp", "hardware=cpu", "data.days=400", "trainer.epochs=1")  # as many ranks as there is room for
    typed = ("-m", "seed=1,2", *small, f"hydra.sweep.dir={tmp_path / 'sweep'}")
    assert command(*typed, cwd=tmp_path).returncode == 0
    assert not identical(*(tmp_path / "sweep" / f"AAPL-seed_{seed}" for seed in (1, 2)))
    written = [path.stat().st_mtime_ns for path in sorted((tmp_path / "sweep").glob("AAPL*/**/*"))]
    assert workers_of(tmp_path) == []
    continued = command(*typed, cwd=tmp_path)
    assert continued.returncode == 0, continued.stderr
    assert written == [path.stat().st_mtime_ns for path in sorted((tmp_path / "sweep").glob("AAPL*/**/*"))]
    reproduced = command("task=reproduce", f"run={tmp_path / 'sweep'}", cwd=tmp_path)
    assert reproduced.stdout.endswith("reproduced: identical (2 of 2 jobs)\n"), reproduced.stderr
