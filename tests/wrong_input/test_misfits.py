"""What does not fit what lies there: settings and data, a run folder and its data, a checkpoint and its run."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch

from tests.wrong_input.inputs import (
    ARRAYS,
    BARS,
    SIMULATED,
    Making,
    _Code,
    a_run,
    assert_refused,
    bars,
    bars_changed_since_a_run,
    file,
    flipped_bit,
    nothing,
    npz,
    reweighted,
    truncated,
)

MISFITS = [
    pytest.param(nothing, "data=csv data.dir=nope", "data.dir=…nope: there is no such folder", id="no-folder-of-bars"),
    pytest.param(nothing, "data=csv data.path=nope.csv", "data.path=…nope.csv: there is no such file", id="no-file"),
    pytest.param(nothing, f"data=csv data.dir={'a' * 300}", "aaa: cannot be read (", id="folder-name-too-long"),
    pytest.param(
        bars(),
        f"{BARS} stock.ticker=AAPPL",
        "data.dir=…: holds no AAPPL.csv, …; it holds AAPL; did you mean AAPL?",
        id="ticker-without-bars",
    ),
    pytest.param(
        npz(),
        "data=npz data.dir=. stock=XOM",
        "data.dir=…: holds no XOM.npz and no classification/XOM.npz; it holds a",
        id="ticker-without-arrays",
    ),
    pytest.param(
        npz(), f"{ARRAYS} stock=AAPL", "a.npz: has 2 features, but stock.features names 5 (open", id="features"
    ),
    pytest.param(
        bars(),
        f"{BARS} data.test_start=2030-01-01",
        "data.test_start=2030-01-01: must be after …and not after 2020-02-2",
        id="test-after-the-data",
    ),
    pytest.param(
        bars(),
        f"{BARS} data.valid_start=2010-01-01",
        "data.valid_start=2010-01-01: must be after 2020-01-0",
        id="validation-before-the-data",
    ),
    pytest.param(
        bars(),
        f"{BARS} data.start=2030-01-01",
        "AAPL.csv: no bars within data.start=2030-01-01; it holds 2020-01-01 to 2020-02-29",
        id="start-after-the-data",
    ),
    pytest.param(bars(), f"{BARS} data.valid_ratio=0.999", "too small (train 0, …; …data.valid_ratio", id="no-train"),
    pytest.param(bars(), f"{BARS} data.test_ratio=1e-6", "too small (…test 0); …data.test_ratio", id="no-test"),
    # where the run goes
    pytest.param(
        file("taken", ""),
        f"{SIMULATED} hydra.run.dir=taken",
        "taken: cannot make a run folder here (…); choose another with hydra.run.dir=FOLDER",
        id="file-in-the-way",
    ),
    pytest.param(
        file("outputs", ""), SIMULATED, "outputs: cannot make a run folder …hydra.run.dir", id="outputs-is-a-file"
    ),
    pytest.param(
        file("taken", ""),
        f"-m seed=1,2 {SIMULATED} hydra.sweep.dir=taken",
        "taken: cannot make …hydra.sweep.dir=FOLDER",
        id="file-in-the-sweep's-way",
    ),
    pytest.param(
        a_run(nothing),
        f"{SIMULATED} hydra.run.dir=old",
        "old: already holds a run; choose another hydra.run.dir, or continue it: trainer.resume=",
        id="run-in-the-way",
    ),
    # what is resumed
    pytest.param(nothing, "trainer.resume=nope", "nope…: there is no such …run folder", id="resume-nothing"),
    pytest.param(
        lambda: Path("old").mkdir(), "trainer.resume=old", "old…: there is no such …run folder", id="resume-empty"
    ),
    pytest.param(
        a_run(nothing), "trainer.resume=old", "trainer.resume=…old: that run is finished; raise trainer.ep", id="over"
    ),
    pytest.param(
        a_run(nothing),
        "trainer.resume=old trainer.epochs=2 trainer.lr=0.5 seed=7",
        "trainer.resume=…old: …its own settings, but seed, trainer.lr differ; leave them",
        id="resume-with-other-settings",
    ),
    pytest.param(
        bars_changed_since_a_run,
        "trainer.resume=old trainer.epochs=2",
        "trainer.resume=…old: the data have changed (…AAPL.csv); start a new run",
        id="resume-with-other-data",
    ),
    pytest.param(
        bars_changed_since_a_run,
        "task=explain run=old",
        "old: the data have changed (…AAPL.csv); a run is explained on its own data",
        id="explain-with-other-data",
    ),
    pytest.param(
        a_run(nothing),
        "task=explain run=old trainer.loss=mae data.valid_ratio=0.2",
        "trainer.loss, data.valid_ratio: the run's own settings are used; leave them out",
        id="explain-with-other-settings",
    ),
    pytest.param(
        a_run(lambda: Path("old/result.json").write_text(json.dumps({"status": "failed"}))),
        "task=explain run=old",
        "old: is not finished (failed); its model cannot be used",
        id="explain-a-failed-run",
    ),
    pytest.param(
        a_run(lambda: Path("old/result.json").write_text(json.dumps({"status": "running", "pid": os.getppid()}))),
        "trainer.resume=old trainer.epochs=2",
        "trainer.resume=…old: that run is still running",
        id="resume-a-running-run",
    ),
    pytest.param(
        a_run(nothing), "trainer.resume=old hydra.run.dir=b", "hydra.run.dir=b: …its own folder", id="resume-elsewhere"
    ),
    pytest.param(
        a_run(flipped_bit),
        "trainer.resume=old trainer.epochs=2",
        "old/last.pt: is not a readable checkpoint (…CRC…); start the run again",
        id="one-bit-flipped",
    ),
    pytest.param(
        a_run(truncated("old/last.pt")),
        "trainer.resume=old trainer.epochs=2",
        "old/last.pt: is not a readable checkpoint (…); start the run again",
        id="truncated-checkpoint",
    ),
    pytest.param(
        a_run(lambda: torch.save({"weights": _Code()}, "old/last.pt")),
        "trainer.resume=old trainer.epochs=2",
        "old/last.pt: is not a readable checkpoint (…); start the run again",
        id="checkpoint-with-code",
    ),
    pytest.param(
        a_run(file("old/.hydra/config.yaml", "stock: {ticker: AA")),
        "trainer.resume=old trainer.epochs=2",
        "old/.hydra/config.yaml: cannot be read as a saved config (",
        id="truncated-saved-config",
    ),
    # placebo copies
    pytest.param(
        nothing, "task=placebo", "run: needed with task=placebo, the folder that it is about", id="placebo-what"
    ),
    pytest.param(nothing, "task=placebo run=a", "run=a: there is no such run folder; name one", id="placebo-nothing"),
    pytest.param(
        a_run(nothing), "task=placebo run=old placebo.copies=0", "placebo.copies=0: must be … ≥ 1", id="placebo-none"
    ),
    pytest.param(nothing, "placebo.copies=9", "placebo.copies=9: is read by task=placebo run=FOLDER", id="copies"),
    pytest.param(nothing, "data.placebo=0", "data.placebo=0: must be … ≥ 1", id="copy-0"),
    # what is combined
    pytest.param(nothing, "task=combine", "runs: needed with task=combine, the runs or the sweep", id="combine-what"),
    pytest.param(nothing, "task=combine runs=[a,b]", "a: holds no run (…); name a folder", id="combine-nothing"),
    pytest.param(nothing, "runs=[a,b]", "runs=[a, b]: are combined by task=combine; leave it out", id="runs-to-train"),
    pytest.param(nothing, "combine.best=2", "combine.best=2: is read by task=combine alone; leave it out", id="best"),
    pytest.param(
        nothing, "task=combine runs=[a,b] run=c", "run=…c: task=combine is about several: …leave it out", id="one-run"
    ),
    pytest.param(
        a_run(nothing), "task=combine runs=[old]", "runs=[…old]: 1 finished run; name at least two", id="combine-one"
    ),
    pytest.param(
        a_run(nothing),
        "task=combine runs=[old,old/../old]",
        "runs: …old is named twice; name each run once",
        id="twice",
    ),
    pytest.param(
        a_run(nothing),
        "task=combine runs=[old] model.dropout=0.2 seed=3",
        "model.dropout, seed: a combination has the settings of its members; leave this out",
        id="combine-with-other-settings",
    ),
    pytest.param(
        a_run(nothing),
        "task=combine runs=[old] combine.best=2",
        "combine.best=2: chooses among a sweep's jobs, and runs names no sweep",
        id="best-of-no-sweep",
    ),
    # a sealed test
    pytest.param(nothing, "test=closed", "test=closed: must be one of open, sealed", id="neither-open-nor-sealed"),
    pytest.param(nothing, "unseal.best=1", "unseal.best=1: is read by task=unseal alone; leave it out", id="unseal"),
    pytest.param(a_run(nothing), "task=unseal run=old", "old: its test is not sealed; its scores are in", id="open"),
    pytest.param(
        a_run(nothing),
        "task=unseal run=old unseal.best=1",
        "unseal.best=1: chooses among a sweep's jobs, and …old is none",
        id="best-of-a-sealed-run",
    ),
    pytest.param(
        a_run(lambda: Path("old/config.json").write_text("{}")),
        "trainer.resume=old trainer.epochs=2",
        "old/config.json: ",
        id="facts-of-nothing",
    ),
    # what training starts from
    pytest.param(
        nothing,
        f"{SIMULATED} trainer.init_from=nope",
        "nope: holds no run (there is no config",
        id="weights-of-nothing",
    ),
    pytest.param(
        a_run(lambda: Path("old/result.json").write_text('{"status": "failed"}')),
        f"{SIMULATED} trainer.init_from=old",
        "old: is not finished (failed); no training can start with its weights",
        id="weights-of-a-failed-run",
    ),
    pytest.param(
        a_run(lambda: torch.save({"weights": _Code()}, "old/best.pt")),
        f"{SIMULATED} trainer.init_from=old",
        "old/best.pt: is not a readable checkpoint (…)",
        id="weights-with-code",
    ),
    pytest.param(
        a_run(lambda: torch.save({"state_dict": {}}, "old/best.pt")),
        f"{SIMULATED} trainer.init_from=old",
        "old/best.pt: is no model's checkpoint (it lacks features, window)",
        id="weights-without-their-model",
    ),
    *(
        pytest.param(
            a_run(reweighted("old/best.pt", weights)), typed, f"old/best.pt: {says}; train again", id=f"{name}-{task}"
        )
        for name, weights, says in (
            ("nan", lambda values: values * math.nan, "its weights are not finite: they forecast nothing"),
            ("shapes", lambda values: values[:1], "does not fit the run's model (…)"),
        )
        for task, typed in (
            ("predict", "task=predict run=old"),
            ("explain", "task=explain run=old"),
            ("initial", f"{SIMULATED} trainer.init_from=old"),
        )
    ),
    pytest.param(
        a_run(reweighted("old/last.pt", lambda values: values * math.nan)),
        "trainer.resume=old trainer.epochs=2",
        "old/last.pt: its weights are not finite: they forecast nothing; start the run again",
        id="nan-resume",
    ),
    pytest.param(
        a_run(nothing),
        f"{SIMULATED} data.window=6 trainer.init_from=old",
        "trainer.init_from=…old: its weights are of another model (data.window: 5 there, 6 here); take the same",
        id="weights-of-another-window",
    ),
    pytest.param(
        nothing,
        f"{SIMULATED} trainer.warm_start=true",
        "trainer.warm_start: …needs all folds of data.split=walk_forward; leave it out",
        id="warm-start-without-folds",
    ),
    # the ledger of looks
    pytest.param(
        lambda: Path("looks.jsonl").mkdir(),
        f"{SIMULATED} report=false",
        "looks.jsonl: the ledger of looks is a folder; name a file, looks.path=…looks.jsonl",
        id="ledger-is-a-folder",
    ),
    pytest.param(
        nothing, f"{SIMULATED} looks.path=.", "looks.path=.: is a folder; name a file", id="ledger-in-a-folder"
    ),
    pytest.param(
        nothing,
        f"{SIMULATED} looks.path=no/x",
        "looks.path=no/x: its folder does not exist; make it",
        id="ledger-nowhere",
    ),
    pytest.param(nothing, "task=looks", "looks.jsonl: no ledger can be read here (No such file", id="no-ledger"),
    pytest.param(
        nothing, "-m looks=on,off", "looks=on,off: is nothing to sweep, since no number depends on it", id="swept-looks"
    ),
    # what is updated
    pytest.param(nothing, "task=update", "run: needed with task=update", id="update-nothing"),
    pytest.param(
        a_run(nothing), "task=update run=old", "has no day since the test of …old, which ends on", id="nothing-new"
    ),
    pytest.param(
        a_run(nothing),
        "task=update run=old data.window=6",
        "data.window: an update has the settings of its run, and its own splits; leave it out",
        id="update-with-another-window",
    ),
    pytest.param(
        nothing, f"{SIMULATED} update.fresh=true", "update.fresh: is a choice of task=update", id="fresh-training"
    ),
    pytest.param(nothing, f"{SIMULATED} update.of=old", "is set by task=update run=", id="update-by-hand"),
    pytest.param(
        a_run(nothing),
        "task=update run=old trainer.resume=old",
        "trainer.resume=…old: task=update makes a new run; leave out one of them",
        id="update-and-resume",
    ),
    pytest.param(
        nothing, f"{SIMULATED} data.train_days=2", "data.train_days=2: must be a whole number ≥ 3", id="few-train-days"
    ),
]


@pytest.mark.parametrize(("making", "typed", "says"), MISFITS)
def test_what_does_not_fit_what_lies_there_is_told_and_nothing_is_touched(
    making: Making, typed: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, making, typed, [says])
