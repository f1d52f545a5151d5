"""What `sweep.zip`, `sweep.list` and `sweep.exclude` cannot mean is refused before any job."""

from __future__ import annotations

import pytest

from tests.wrong_input.inputs import assert_refused, nothing

TYPED = [
    pytest.param("sweep.zip=[stock,seed]", ["sweep.zip: is about the jobs of a sweep; add -m"], id="zip-of-one-run"),
    pytest.param(
        "-m sweep.zip=stock,seed stock=AAPL,JNJ seed=1,2",
        ["sweep.zip=stock,seed: …a list: 'sweep.zip=[stock,seed]'"],
        id="zip-without-brackets",
    ),
    pytest.param(
        "-m sweep.zip=[stock,sed] stock=AAPL,JNJ seed=1,2", ["…sed is not swept…did you mean seed?"], id="zip-typo"
    ),
    pytest.param(
        "-m sweep.zip=[stock,seed] stock=AAPL,JNJ seed=1", ["…seed is not swept…several values"], id="zip-of-one-value"
    ),
    pytest.param("-m sweep.zip=[stock] stock=AAPL,JNJ", ["sweep.zip=[stock]: must name two"], id="zip-of-one-key"),
    pytest.param(
        "-m sweep.zip=[stock,seed] stock=AAPL,JNJ 'seed=range(3)'",
        ["sweep.zip=[stock,seed]: pairs 2 of stock, 3 of seed; give each key as many values"],
        id="zip-of-unequal-lengths",
    ),
    pytest.param(
        "-m 'sweep.zip=[[stock,seed],[seed,model]]' stock=AAPL,JNJ seed=1,2 model=mlp,gru",
        ["sweep.zip=[seed,model]: seed is not swept, or is paired already"],
        id="zipped-twice",
    ),
    pytest.param(
        "+experiment=tune_mlp stock=AAPL,JNJ seed=1,2 sweep.zip=[stock,seed]",
        ["sweep.zip: is of a grid, and a search chooses its jobs itself; leave it out, or …"],
        id="zip-of-a-search",
    ),
    pytest.param("-m sweep.list=3", ["sweep.list=3: must be a list of sets"], id="list-of-nothing"),
    pytest.param("-m 'sweep.list=[3]'", ["sweep.list: 3: must be a list of sets"], id="list-of-a-number"),
    pytest.param("-m 'sweep.list=[seed]'", ["sweep.list: seed: must be a list of sets"], id="list-of-a-key"),
    pytest.param(
        """-m 'sweep.list=["model=lineer"]'""", ["sweep.list: model=lineer: …did you mean linear?"], id="list-typo"
    ),
    pytest.param(
        """-m 'sweep.list=["seed=1","seed=2"]' seed=3""",
        ["seed=3: sweep.list sets it too; leave out one of them"],
        id="typed-and-in-the-list",
    ),
    pytest.param(
        """-m 'sweep.list=["hydra.sweep.dir=x","tracker=none"]'""",
        ["sweep.list: hydra.sweep.dir holds for a whole sweep", "sweep.list: tracker is nothing to sweep"],
        id="list-of-what-is-one",
    ),
    pytest.param(
        """-m seed=1,2 'sweep.exclude=["sed=1"]'""",
        ["sweep.exclude: sed=1: sed is not swept; did you mean seed?"],
        id="excluded-typo",
    ),
    pytest.param("-m seed=1,2 'sweep.exclude=[{seed: 3}]'", ["sweep.exclude: seed=3: no job has that"], id="no-such"),
    pytest.param("-m seed=1,2 'sweep.exclude=[{seed: 1},{seed: 2}]'", ["sweep.exclude: leaves no job"], id="none-left"),
    pytest.param(
        "-m seed=1,2 sweep.exclude=[seed=1]",
        ["'sweep.exclude=[seed=1]': not of the form …: 'sweep.exclude=[\"seed=1\"]'"],
        id="excluded-without-quotes",
    ),
    pytest.param("-m data=csv 'data.path=glob(x/*.csv)'", ["data.path=glob(x/*.csv): matches no file"], id="no-file"),
    pytest.param("data.folds=3", ["data.folds: is of walk-forward alone; add data.split=walk_forward"], id="folds"),
    pytest.param("-m seed=1,2 'sweep.exclude={seed: 1}'", ["…sweep.exclude: must be a list, [A,B]"], id="no-list"),
    pytest.param("data=csv data.path=a,b", ["data.path=a,b: several values make a sweep; add -m"], id="two-files"),
    pytest.param("data=csv data.dir=x", ["data.dir=…x: there is no such folder; name it where"], id="no-folder"),
    pytest.param("data=csv 'data.path=x*.csv'", ["data.path=…no such file; for each file of a …glob("], id="pattern"),
    pytest.param("task=looks data.path=x", ["data.path: task=looks reads no bars: …leave this out"], id="unread"),
    pytest.param("portfolio.delay=99999", ["portfolio.delay=99999: must be …≤ 1000"], id="delay"),
    pytest.param("stock.ticker=^GSPC", ["'stock.ticker=^GSPC': …quote values …: 'stock.ticker=\"^GSPC\"'"], id="caret"),
]


@pytest.mark.parametrize(("typed", "says"), TYPED)
def test_combinations_that_mean_nothing_are_refused(
    typed: str, says: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, nothing, typed, says)
