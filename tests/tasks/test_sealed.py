"""A sealed run holds no figure of its test; unsealed, it is the run that was open from the start."""

from __future__ import annotations

import csv
import json
import re
import struct
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from stockml import cli
from stockml.config.values import leaves
from stockml.runs import looks
from tests.conftest import command, metrics, random_bars, write_bars
from tests.tasks.conftest import QUICK_RANKS
from tests.tasks.sweeps import rows

QUICK = ("data=csv", "data.dir=bars", "stock.ticker=AAA", "data.window=10", "model=linear", "trainer.epochs=2")
POOL = ("data.tickers=[AAA,BBB,CCC]",)
WALK_FORWARD = ("data.split=walk_forward", "data.folds=2")
MODES = {
    "single": ("data.horizon=5", "report=true", "tracker=tensorboard"),
    "mapped": (*POOL, "data.memory_limit=0"),
    "walk-forward": (*POOL, *WALK_FORWARD),
    "ensemble": ("trainer.ensemble=2", *WALK_FORWARD),
    "quantile": ("trainer.loss=quantile", "trainer.quantile=0.1"),
    "trees": ("model=random_forest", "model.n_estimators=3"),
}
OF_THE_COMMAND = {"result.json", "train.log", "hydra.yaml", "overrides.yaml", "report.html"}
"""What says when and how a run was made; a page has its folder's name and its seconds."""
SEALED = "test is sealed; look at it first: task=unseal"


@pytest.fixture
def bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type commands in, with bars/."""
    monkeypatch.chdir(tmp_path)
    for seed, ticker in enumerate(("AAA", "BBB", "CCC")):
        write_bars(random_bars(320, seed, ticker), tmp_path / "bars")
    return tmp_path


def settings(mode: str) -> tuple[str, ...]:
    """The command line of a mode."""
    return (*(QUICK[:-2] if mode == "trees" else QUICK), *MODES[mode])


def typed(*arguments: str) -> None:
    assert cli.main(["report=false", *arguments] if "report=true" not in arguments else [*arguments]) == 0


def figures(run: Path) -> set[float]:
    """Every figure of an open run's test that is none of its validation, but shares of samples and round ones."""
    found: dict[bool, set[float]] = {True: set(), False: set()}
    content = json.loads((run / "metrics.json").read_text())
    for key, value in leaves({name: of for name, of in content.items() if name not in ("timing", "looks")}):
        if isinstance(value, float) and not key.endswith("hit_rate"):
            found[not {"validation", "validation_loss"} & {*key.split(".")}].add(value)
    for name in ("predictions.csv", "folds.csv", "stocks.csv"):
        for row in csv.DictReader((run / name).read_text().splitlines() if (run / name).exists() else ()):
            of_test = {"y_pred": row.get("split") == "test"} | {key: True for key in row if key.startswith("test_")}
            for key, text in row.items():
                if re.fullmatch(r"-?\d+\.\d+(e-\d+)?", text) and "hit_rate" not in key:
                    found[of_test.get(key, False)].add(float(text))
    return {figure for figure in found[True] - found[False] if float(f"{figure:.6g}") != figure}


def shown_among(figures: set[float], texts: Iterator[str]) -> list[str]:
    """The numbers of six digits and more in some texts that are one of the figures, rounded to so many digits."""
    numbers = {number for text in texts for number in re.findall(r"\d+\.\d+(?:e-\d+)?", text)}
    by_digits: dict[int, list[str]] = {}
    for number in numbers:
        by_digits.setdefault(len(number.partition("e")[0].replace(".", "").lstrip("0")), []).append(number)
    return [
        number
        for digits, found in by_digits.items()
        if digits >= 6
        for rounded in [{float(f"{abs(figure):.{digits}g}") for figure in figures}]
        for number in found
        if float(number) in rounded
    ]


def contents(run: Path) -> Iterator[str]:
    """The text of a run's files; of those that are none, the single-precision numbers that trackers write too."""
    for path in run.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            yield path.read_bytes().decode("utf-8", "ignore")


def same_files(open_run: Path, unsealed: Path) -> None:
    """Both folders hold the same, but for times, checkpoints of resumed training, and what was typed."""
    names, others = ({path.relative_to(of) for path in of.rglob("*") if path.is_file()} for of in (open_run, unsealed))
    assert {name for name in names ^ others if "tensorboard" not in name.parts and name.name != "previous.pt"} == set()
    assert metrics(unsealed) == metrics(open_run)
    config = json.loads((unsealed / "config.json").read_text())
    assert config.pop("unsealed")["when"]
    assert config == json.loads((open_run / "config.json").read_text())
    for name in names & others:
        if name.suffix in (".csv", ".png", ".yaml", ".json") and name.name not in OF_THE_COMMAND:
            one, other = (of.joinpath(name).read_bytes() for of in (open_run, unsealed))
            if name.name not in ("history.csv", "metrics.json", "config.json", "scalars.csv", "tracker.json"):
                assert one == other, name


@pytest.mark.parametrize("mode", MODES)
def test_a_sealed_run_has_no_figure_of_the_test_and_unsealed_is_the_open_run(
    bars: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    typed(*settings(mode), "test=sealed", "hydra.run.dir=sealed")
    for task in ("evaluate", "report", "audit") if mode == "single" else ("evaluate",):
        typed(f"task={task}", "run=sealed")
    printed, kept = capsys.readouterr().out, list(contents(bars / "sealed"))
    events = [path.read_bytes() for path in bars.glob("sealed/tensorboard/**/events*")]
    assert not (bars / "looks.jsonl").exists()
    for arguments in (["task=predict"], ["task=explain", "explain.split=test"]):
        assert cli.main([*arguments, "run=sealed"]) == 2
        assert SEALED in capsys.readouterr().err
    assert cli.main(["trainer.resume=sealed", "trainer.epochs=3", "test=open"]) == 2
    typed(*settings(mode), "hydra.run.dir=open")
    of_test = figures(bars / "open")
    assert len(of_test) > 40
    assert shown_among(of_test, iter([printed, *kept])) == []
    assert shown_among(of_test, iter([capsys.readouterr().out, *contents(bars / "open")]))
    assert [f for f in of_test for event in events if struct.pack("<f", f) in event] == []
    typed("task=unseal", "run=sealed", *(["report=true"] if mode == "single" else []))
    same_files(bars / "open", bars / "sealed")
    assert len(looks.read(bars / "looks.jsonl").lines) == 1
    if events:
        assert any(
            struct.pack("<f", metrics(bars / "open")["test"]["mse"]) in path.read_bytes()
            for path in bars.glob("sealed/tensorboard/**/events*")
        )


def test_ranks_keep_a_test_sealed_and_open_it(bars: Path, two_ranks: Path) -> None:
    ranks = (*QUICK_RANKS, "trainer.world_size=2")
    sealed = command(*ranks, "test=sealed", "hydra.run.dir=sealed", cwd=bars)
    assert shown_among(figures(two_ranks), iter([sealed.stdout, sealed.stderr, *contents(bars / "sealed")])) == []
    unsealed = command("task=unseal", "run=sealed", cwd=bars)
    assert (unsealed.returncode, unsealed.stderr) == (0, "")
    assert metrics(bars / "sealed") == metrics(two_ranks)
    assert (bars / "sealed/predictions.csv").read_bytes() == (two_ranks / "predictions.csv").read_bytes()


def test_the_best_of_a_sealed_sweep_on_validation_are_opened(bars: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = (*QUICK, "-m", "seed=1,2,3", "hydra.sweep.dir=sweep", "test=sealed")
    assert command(*sweep, cwd=bars).returncode == 0
    before = rows(bars / "sweep")
    kept = list(contents(bars / "sweep"))
    assert {value for row in before.values() for key, value in row.items() if key.startswith("test_")} == {""}
    typed("task=unseal", "run=sweep", "unseal.best=2")
    best = sorted(before, key=lambda job: -float(before[job]["val_r2"]))[:2]
    after = rows(bars / "sweep")
    assert {job for job, row in after.items() if row["test_mse"]} == set(best)
    for column in ("val_net_sharpe", "deflated_sharpe"):
        assert [row[column] for row in after.values()] == [row[column] for row in before.values()] != [""] * 3
    assert after[best[0]]["in_mcs"]
    assert shown_among(set.union(*(figures(bars / "sweep" / job) for job in best)), iter(kept)) == []
    (other,) = after.keys() - set(best)
    assert shown_among(figures(bars / "sweep" / best[0]), contents(bars / "sweep" / other)) == []
    capsys.readouterr()
    assert command(*sweep, cwd=bars).returncode == 0  # continued: what is open stays so
    assert rows(bars / "sweep")[best[0]]["test_mse"] == after[best[0]]["test_mse"]
    assert cli.main(["task=combine", "runs=[sweep]"]) == 2
    assert SEALED in capsys.readouterr().err


def test_sealed_runs_are_reproduced_and_updated_and_the_chain_holds_once_they_are_open(
    bars: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(*QUICK, "test=sealed", "hydra.run.dir=first", "data.end=2016-01-15")
    typed("task=reproduce", "run=first", "hydra.run.dir=again")
    assert "reproduced: identical" in capsys.readouterr().out
    typed("task=update", "run=first", "hydra.run.dir=second")
    first, second = (json.loads(Path(name, "metrics.json").read_text()) for name in ("first", "second"))
    assert "test" not in first | second
    typed("task=unseal", "run=second")
    assert cli.main(["task=evaluate", "run=second"]) == 2
    assert SEALED in capsys.readouterr().err
    typed("task=unseal", "run=first")
    typed("task=evaluate", "run=second")
    assert "chain       1 update" in capsys.readouterr().out
    typed("task=reproduce", "run=first", "hydra.run.dir=once_more")
    assert "test" in metrics(Path("once_more"))


def test_what_has_come_since_is_no_part_of_the_test_that_is_opened(bars: Path) -> None:
    whole = random_bars(340, 0, "AAA")
    write_bars(whole.between(None, date(2016, 3, 1)), bars / "bars")
    typed(*QUICK, "hydra.run.dir=open")
    typed(*QUICK, "hydra.run.dir=sealed", "test=sealed")
    write_bars(whole, bars / "bars")
    typed("task=unseal", "run=sealed")
    assert metrics(Path("sealed")) == metrics(Path("open"))
