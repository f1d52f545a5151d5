"""Devices, number formats and threads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stockml import compose
from stockml.errors import UserError
from stockml.processes.machine import cores
from stockml.training import hardware
from stockml.training.settings import HardwareConfig
from tests.conftest import Run
from tests.tasks.test_train import identical

gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


def config(*overrides: str) -> HardwareConfig:
    return compose.compose(*overrides).hardware


def test_auto_takes_the_best_device_there_is() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert hardware.choose(config()).device.type == expected
    assert hardware.choose(config("hardware=cpu")).device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_what_this_machine_lacks_is_refused_with_a_remedy() -> None:
    for overrides in (["hardware=cuda"], ["hardware.precision=bf16"]):
        with pytest.raises(UserError, match=r"visible here.*; take"):
            hardware.choose(config(*overrides))


def test_small_models_get_one_thread_and_large_ones_every_core() -> None:
    auto = config()
    assert hardware.set_up(auto, 449 * 64) == torch.get_num_threads() == 1
    assert hardware.set_up(auto, 10**9) == torch.get_num_threads() == cores()
    assert hardware.set_up(config("hardware.threads=3"), 1) == torch.get_num_threads() == 3
    hardware.set_up(auto, 1)


def test_nothing_of_a_deterministic_run_is_left_for_the_next() -> None:
    hardware.set_up(config("hardware.deterministic=true"), 1)
    assert torch.are_deterministic_algorithms_enabled()
    hardware.set_up(config(), 1)
    assert not torch.are_deterministic_algorithms_enabled()


class TestOnAGpu:
    pytestmark = gpu

    def test_a_deterministic_run_is_bit_identical(self, run: Run, tmp_path: Path) -> None:
        for name in ("a", "b"):
            run(name, "hardware=cuda", "hardware.deterministic=true", "+experiment=quick", "data.days=400")
        assert identical(tmp_path / "a", tmp_path / "b")

    @pytest.mark.parametrize("precision", ["fp32", "fp64", "bf16"])
    @pytest.mark.parametrize("workers", [0, 2])
    def test_it_agrees_with_the_cpu(self, run: Run, precision: str, workers: int) -> None:
        settings = ("+experiment=quick", "data.days=400", "model.dropout=0", f"hardware.num_workers={workers}")
        cpu = run("cpu", *settings, "hardware=cpu")
        cuda = run("cuda", *settings, "hardware=cuda", f"hardware.precision={precision}")
        tolerance = 1e-2 if precision == "bf16" else 1e-4
        assert cuda["test"]["mse"] == pytest.approx(cpu["test"]["mse"], rel=tolerance)
