"""The lines of a run reach its log, whatever becomes of those that it prints."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

from stockml.reporting import terminal
from stockml.reporting.sweep_progress import SweepProgress


def closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


def full() -> TextIO:
    return Path("/dev/full").open("w", encoding="utf-8")


@pytest.mark.parametrize("stream", [closed, full])
def test_a_stream_that_fails_ends_the_printing_and_not_the_log(
    stream: Callable[[], TextIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, path = terminal.RunLog(), tmp_path / "train.log"
    broken = stream()
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", broken)
        with log.writing_to(lambda: path.open("a", encoding="utf-8")):
            log.emit("one")
            log.emit("two", "three")
    assert [line.split()[-1] for line in path.read_text(encoding="utf-8").splitlines()] == ["one", "two", "three"]
    with pytest.raises((OSError, ValueError)):
        broken.write("lost\n")
        broken.flush()
    with contextlib.suppress(OSError):
        broken.close()


@pytest.mark.parametrize(("columns", "width"), [(120, 26), (40, 20)])
def test_the_lines_of_a_sweep_s_jobs_are_aligned_as_far_as_the_terminal_has_room(
    columns: int, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    names = ["AAPL", "AAPL-model_patchtst-seed_3"]
    progress = SweepProgress(2, [], names)
    for name in names:
        progress.started()
        progress.ended({"job": name, "status": "ok", "epochs": 3, "val_r2": 0.01, "seconds": 1.0})
    starts = [line.index(" ok ") for line in capsys.readouterr().out.splitlines()]
    assert starts == [width, max(width, len(names[1]))]


def test_a_stream_without_a_character_prints_a_question_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    log = terminal.RunLog()
    log.emit("a − b")
    log.emit("c")
    assert raw.getvalue() == b"a ? b\nc\n"
