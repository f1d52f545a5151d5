"""Metrics agree with independent formulas, ignore the order of samples, and are shown where their table says."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stockml.evaluation.metrics import METRICS, SIGNED, Metric, score
from stockml.evaluation.truth import Floats, Target
from stockml.reporting import result_tables, score_sections, summary
from stockml.runs.sweep_folder import SweepFolder
from tests.conftest import Run

numbers = st.floats(-10, 10).map(lambda x: round(x, 3))
pairs = st.lists(st.tuples(numbers, numbers), min_size=3, max_size=50)


@given(pairs)
def test_metrics_agree_with_their_definitions(pairs: list[tuple[float, float]]) -> None:
    y, f = (np.array(column) for column in zip(*pairs, strict=True))
    scores = score(Target(y, "return"), f)
    assert scores["n"] == len(y)
    assert scores["mse"] == pytest.approx(np.mean((y - f) ** 2))
    assert scores["mae"] == pytest.approx(np.mean(abs(y - f)))
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean((y - f) ** 2)))
    if np.ptp(y) > 1e-2 and np.ptp(f) > 1e-2:
        assert scores["r2"] == pytest.approx(1 - np.sum((y - f) ** 2) / np.sum((y - y.mean()) ** 2))
        assert scores["r2_zero"] == pytest.approx(1 - np.sum((y - f) ** 2) / np.sum(y**2))
        assert scores["ic"] == pytest.approx(stats.pearsonr(y, f).statistic)
    hits = [np.sign(a) == np.sign(b) for a, b in zip(y, f, strict=True) if a != 0]
    if hits and f.any():
        assert scores["hit_rate"] == pytest.approx(np.mean(hits))


@given(pairs, st.randoms())
def test_metrics_do_not_depend_on_the_order_of_samples(pairs: list[tuple[float, float]], random: object) -> None:
    shuffled = sorted(pairs, key=lambda _: random.random())  # type: ignore[attr-defined]
    one, other = (
        score(Target(y, "return"), f) for y, f in (map(np.array, zip(*p, strict=True)) for p in (pairs, shuffled))
    )
    for name, value in one.items():
        assert other[name] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-9))


def test_undefined_metrics_are_none() -> None:
    constant = np.ones(5)
    scores = score(Target(constant, "return"), constant)
    assert (scores["r2"], scores["ic"]) == (None, None)
    still = score(Target(np.zeros(5), "return"), constant)
    assert (still["r2_zero"], still["hit_rate"]) == (None, None)
    assert score(Target(np.arange(5.0), "return"), np.zeros(5))["hit_rate"] is None


def test_levels_are_scored_by_their_changes() -> None:
    last, y = np.array([100.0, 100.0, 100.0]), np.array([110.0, 90.0, 100.0])
    persistence = score(Target(y, "level", last), last)
    assert persistence["r2_zero"] == 0
    assert persistence["hit_rate"] is None
    right = score(Target(y, "level", last), np.array([105.0, 95.0, 101.0]))
    assert right["hit_rate"] == 1  # the third did not move
    assert right["r2_zero"] == pytest.approx(1 - (0.05**2 + 0.05**2 + 0.01**2) / (0.1**2 + 0.1**2))
    differences = score(Target(y, "level", last, relative=False), np.array([105.0, 95.0, 101.0]))
    assert differences["r2_zero"] == pytest.approx(right["r2_zero"])


def test_classes_have_no_r2_zero_and_are_hit_on_the_right_side_of_one_half() -> None:
    scores = score(Target(np.array([0.0, 1, 1, 0]), "class"), np.array([0.4, 0.6, 0.4, 0.5]))
    assert scores["r2_zero"] is None
    assert scores["hit_rate"] == 0.5


@given(st.lists(st.tuples(st.booleans(), st.integers(-2, 12)), min_size=1, max_size=40))
def test_metrics_of_classes_are_those_of_scikit_learn(samples: list[tuple[bool, int]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    y, f = np.array([float(one) for one, _ in samples]), np.array([tenths / 10 for _, tenths in samples])
    found = score(Target(y, "class"), f)
    p = np.clip(f, 1e-6, 1 - 1e-6)
    assert found["log_loss"] == pytest.approx(sklearn.log_loss(y, p, labels=[0, 1]))
    assert found["brier"] == found["mse"] == pytest.approx(np.mean((y - f) ** 2))
    if y.min() == y.max():
        assert found["auc"] is None
    else:
        assert found["auc"] == pytest.approx(sklearn.roc_auc_score(y, f))
    if found["mcc"] is None:
        assert y.min() == y.max() or (f >= 0.5).min() == (f >= 0.5).max()
    else:
        assert found["mcc"] == pytest.approx(sklearn.matthews_corrcoef(y, f >= 0.5))


def test_only_classes_have_their_metrics_and_a_direction_has_no_more_than_mcc() -> None:
    y, f = np.array([0.0, 1, 1, 0]), np.array([0.4, 0.6, 0.4, 0.5])
    names = {"log_loss", "auc", "brier", "mcc"}
    assert not names & set(score(Target(y, "return"), f))
    assert names <= set(score(Target(y, "class"), f))
    of_direction = score(Target(y, "class"), f.round(), direction_only=True)
    assert {name for name in names if of_direction[name] is not None} == {"mcc"}


def test_a_metric_added_to_the_table_is_in_every_place_that_it_names(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bias(truth: Target, y_pred: Floats) -> float:
        return float((y_pred - truth.y_true).mean())

    places = {"terminal", "page", "folds", "short tables", "test summary end", "test sweep terminal"}
    monkeypatch.setitem(METRICS, "bias", Metric("bias", bias, SIGNED, frozenset(places)))
    sweep = SweepFolder.create(tmp_path / "sweep")
    sweep.plan({"AAPL": {"stock": "AAPL"}})
    found = run("sweep/AAPL", "+experiment=quick", "data.days=500", "data.split=walk_forward", "data.folds=2")
    printed = capsys.readouterr().out
    predictions, folds = (
        list(csv.DictReader((sweep.path / "AAPL" / name).read_text().splitlines()))
        for name in ("predictions.csv", "folds.csv")
    )

    test = [float(row["y_pred"]) - float(row["y_true"]) for row in predictions if row["split"] == "test"]
    assert found["test"]["bias"] == pytest.approx(np.mean(test))
    assert found["baselines"]["zero"]["validation"]["bias"] is not None
    assert found["baselines"]["always_up"]["test"]["bias"] is None
    assert {"val_bias", "test_bias"} <= set(folds[0])
    text = SIGNED(found["test"]["bias"])
    assert printed.count("bias") >= 2 and text in printed
    scores = score_sections.score_table(found, "test")
    assert scores.rows[0][scores.header.index("bias")] == text
    (row,) = summary.write(sweep)
    assert row["test_bias"] == found["test"]["bias"]
    assert ",test_r2_ct,test_bias," in (sweep.path / "summary.csv").read_text().splitlines()[0]
    assert text in summary.table([row]) and "test_ic" not in summary.table([row])


def test_metrics_of_an_older_release_lack_a_metric_and_are_still_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run("a", "+experiment=quick", "data.days=400")
    later = Metric("later", lambda _truth, _y_pred: 1.0, SIGNED, frozenset({"terminal", "page"}))
    monkeypatch.setitem(METRICS, "later", later)
    scores = score_sections.score_table(found, "test")
    assert {row[scores.header.index("later")] for row in scores.rows} == {"–"}
    assert "later" in result_tables.result_table(found)


def test_a_metric_names_places_that_exist() -> None:
    with pytest.raises(ValueError, match="bias: there is no place termnal"):
        Metric("bias", lambda _truth, _y_pred: 0.0, SIGNED, frozenset({"termnal"}))
