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


def test_a_saved_state_is_loaded_unchanged(saved: Path) -> None:
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
        with pytest.raises(UserError, match="is not a readable checkpoint"):
            checkpoint.load(saved)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"x": Payload()}, tmp_path / "evil.pt")
    with pytest.raises(UserError):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_of_an_earlier_release_is_loaded_without_its_checksum(tmp_path: Path) -> None:
    torch.save({**STATE, "sha256": "0" * 64}, tmp_path / "last.pt")
    assert checkpoint.load(tmp_path / "last.pt").keys() == STATE.keys()


def test_previous_pt_is_used_where_a_bit_of_last_pt_is_flipped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for epoch in (1, 2):
        checkpoint.save_last(folder, {**STATE, "epoch": epoch})
    last = tmp_path / "last.pt"
    content = bytearray(last.read_bytes())
    content[content.index(STATE["weights"].numpy().tobytes()) + 2000] ^= 1  # type: ignore[attr-defined]
    last.write_bytes(content)
    state, problems = checkpoint.load_last(folder)
    assert state is not None and state["epoch"] == 1
    assert len(problems) == 1 and problems[0].startswith(f"{last}: is not a readable checkpoint (the CRC of ")
    assert checkpoint.load(last)["epoch"] == 1  # from here on it is last.pt
