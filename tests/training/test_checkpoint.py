"""Checkpoints load without running code, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stockml.errors import UserError
from stockml.runs.folder import RunFolder
from stockml.training import checkpoint

STATE = {"weights": torch.arange(1000.0), "history": [{"epoch": 1, "loss": 0.5}], "name": "mlp", "none": None}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoint.save(RunFolder(tmp_path), "last.pt", STATE)
    return tmp_path / "last.pt"


def test_what_is_saved_is_loaded(saved: Path) -> None:
    loaded = checkpoint.load(saved)
    assert torch.equal(loaded.pop("weights"), STATE["weights"])  # type: ignore[arg-type]
    assert loaded == {name: value for name, value in STATE.items() if name != "weights"}


def test_one_flipped_bit_anywhere_is_noticed_or_harmless(saved: Path) -> None:
    whole = saved.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 37):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        saved.write_bytes(damaged)
        try:
            loaded = checkpoint.load(saved)
        except UserError as error:
            noticed += 1
            assert str(saved) in str(error)
        else:  # padding, or a time stamp of the archive
            assert torch.equal(loaded["weights"], STATE["weights"])  # type: ignore[arg-type]
    assert noticed > 100


def test_a_truncated_checkpoint_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:length])
        with pytest.raises(UserError, match="no readable checkpoint"):
            checkpoint.load(saved)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"x": Payload(), "sha256": ""}, tmp_path / "evil.pt")
    with pytest.raises(UserError):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_the_checksum_tells_values_types_shapes_and_names_apart() -> None:
    states = [
        {"a": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"b": torch.zeros(4)},
        {"a": [0, 0]},
        {"a": [[0], 0]},
        {"a": 0},
        {"a": 0.0},
        {"a": "0"},
    ]
    assert len({checkpoint.checksum(state) for state in states}) == len(states)
