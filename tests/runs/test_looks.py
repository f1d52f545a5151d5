"""The ledger of looks: nothing is lost, and whatever is done to the file is found."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from stockml.runs.looks import Look, append, default_path, missing, read

LOOK = Look("", "/x/outputs/a", "", "f", "", ("AAPL",), "2020-01-01", "2020-12-31", 0.5, 0.4, "not shown", "")


def looked(path: Path, *names: str) -> list[bytes]:
    """The lines of a ledger after looks by these experiments."""
    for name in names:
        append(path, LOOK._replace(experiment=name))
    return path.read_bytes().splitlines(keepends=True)


def _append_many(path: Path, process: int) -> None:
    for number in range(25):
        append(path, LOOK._replace(experiment=f"{process} {number}"))


def test_none_of_the_looks_of_eight_processes_is_lost(tmp_path: Path) -> None:
    """tests/campaigns/looks.py appends 200 each."""
    path = tmp_path / "looks.jsonl"
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_append_many, args=(path, number)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    ledger = read(path)
    assert not ledger.faults and not ledger.is_cut
    assert {line.look.experiment for line in ledger.lines} == {f"{p} {n}" for p in range(8) for n in range(25)}
    assert [line.number for line in ledger.lines] == list(range(1, 201))


def test_a_kill_amid_an_append_leaves_the_ledger_readable(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    lines = looked(path, "a", "b", "c")
    for kept in [*range(0, len(lines[2]), 10), len(lines[2]) - 1]:  # bytes of the last line that came to the file
        path.write_bytes(b"".join(lines[:2]) + lines[2][:kept])
        whole = kept == len(lines[2]) - 1
        assert [line.look.experiment for line in read(path).lines] == ["a", "b", *(["c"] if whole else [])]
        assert read(path).is_cut == (kept > 0 and not whole) and not read(path).faults
        ledger, line = append(path, LOOK._replace(experiment="d"))
        assert (line.number, ledger.is_cut, read(path).faults) == (3 + whole, False, [])
        assert read(path).lines == ledger.lines


EDITS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a figure": lambda lines: [lines[0], lines[1].replace(b"0.5", b"0.6"), *lines[2:]],
    "a space": lambda lines: [*lines[:3], lines[3].replace(b": 0.5", b":  0.5")],
    "the last hash": lambda lines: [*lines[:3], lines[3].replace(b'"sha256": "', b'"sha256": "0')],
    "text": lambda lines: [*lines, b"hello\n"],
    "an empty line": lambda lines: [lines[0], b"\n", *lines[1:]],
    "a list": lambda lines: [*lines, b"[]\n"],
    "the first removed": lambda lines: lines[1:],
    "one removed": lambda lines: [lines[0], *lines[2:]],
    "moved": lambda lines: [lines[0], lines[2], lines[1], lines[3]],
    "twice": lambda lines: [*lines, lines[3]],
    "turned": lambda lines: lines[::-1],
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_every_edit_removal_and_move_is_found_and_no_look_is_refused_by_it(
    edit: Callable[[list[bytes]], list[bytes]], tmp_path: Path
) -> None:
    path = tmp_path / "looks.jsonl"
    path.write_bytes(b"".join(edit(looked(path, "a", "b", "c", "d"))))
    faults = read(path).faults
    assert faults and all(fault.startswith("line ") for fault in faults)
    ledger, line = append(path, LOOK._replace(experiment="e"))
    assert line in read(path).lines and ledger.faults == faults == read(path).faults


def test_one_edit_names_one_line(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    lines = looked(path, "a", "b", "c")
    path.write_bytes(lines[0] + lines[1].replace(b"0.5", b"0.6") + lines[2])
    assert read(path).faults == ["line 2: was edited, or is no look"]
    path.write_bytes(lines[0] + lines[2])
    assert read(path).faults == ["line 2: does not follow the line before: lines were removed, added or moved"]


def test_lines_cut_off_at_the_end_are_found_by_the_runs_that_they_were_written_for(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    for name in ("outputs/a", "outputs/b", "multirun/s/c"):
        _, line = append(path, LOOK._replace(run=str(tmp_path / name), experiment=name))
        (tmp_path / name).mkdir(parents=True)
        looks = {"ledger": str(path), "line": line.number, "sha256": line.sha256}
        (tmp_path / name / "metrics.json").write_text(json.dumps({"looks": looks}))
    assert not list(missing(path, read(path)))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0])
    lost = [found.partition(":")[0] for found in missing(path, read(path))]
    assert not read(path).faults and lost == [str(tmp_path / "multirun/s/c"), str(tmp_path / "outputs/b")]


def test_the_same_experiment_on_the_same_data_is_one_look(tmp_path: Path) -> None:
    path = tmp_path / "looks.jsonl"
    _, first = append(path, LOOK)
    again = LOOK._replace(when="later", run="/elsewhere", forecasts="rounded otherwise", diebold_mariano=0.5000001)
    ledger, line = append(path, again)
    assert line == first and len(ledger.lines) == 1
    others = [LOOK._replace(experiment="x"), LOOK._replace(fingerprint="x"), LOOK._replace(last="2021-01-01")]
    assert [append(path, other)[1].number for other in others] == [2, 3, 4]


def test_looks_are_a_family_where_days_and_stocks_overlap() -> None:
    pool = LOOK._replace(tickers=("AAPL", "XOM"), fingerprint="p")
    undated = LOOK._replace(first=None, last=None, series="targets")
    of = {
        LOOK._replace(first="2020-12-31", last="2021-12-31", fingerprint="x"): True,
        LOOK._replace(first="2021-01-01", last="2021-12-31"): False,
        LOOK._replace(tickers=("XOM",), fingerprint="x"): False,
        LOOK._replace(tickers=("a copy under another name",)): True,
        LOOK._replace(series="simulated"): False,
        pool: True,
        undated: False,
    }
    assert {look: LOOK.overlaps(look) for look in of} == of == {look: look.overlaps(LOOK) for look in of}
    assert pool.overlaps(LOOK._replace(tickers=("XOM",), fingerprint="x")) and undated.overlaps(undated)
    assert not undated.overlaps(undated._replace(series="others"))


def test_one_ledger_is_beside_outputs_and_multirun(tmp_path: Path) -> None:
    for name in ("outputs/a", "multirun/s/a", "a", "sweep/a"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("multirun/s", "sweep"):
        (tmp_path / name / "sweep.json").write_text("{}")
    for name in ("outputs/a", "multirun/s/a", "a", "sweep/a"):
        assert default_path(tmp_path / name) == tmp_path / "looks.jsonl", name


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which even root can make no file")
def test_a_ledger_that_cannot_be_made_is_an_error_and_not_a_wait() -> None:
    with pytest.raises(OSError, match="looks"):
        append(Path("/proc/looks.jsonl"), LOOK)
