"""What a run prints about the significance of its result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stockml.evaluation.predictions import Predictions
from stockml.evaluation.truth import Target
from stockml.evaluation.verdict import assess, verdict
from stockml.reporting import result_tables


def evaluated(n: int, best: str) -> dict[str, Any]:
    """As metrics.json has it."""
    realised, noise = 0.01 * np.random.default_rng(0).standard_normal((2, n))
    rivals = {name: np.full(n, 1e-4 * k) for k, name in enumerate(("zero", "train_mean", "expanding_mean", "ridge"))}
    dates = np.arange(n).astype("datetime64[D]")
    truth = Target(realised, "return", drift=rivals["expanding_mean"])
    samples = Predictions(truth, np.arange(n), dates, 0.1 * noise - 1.0 * (n == 1), rivals)
    found = assess(samples, best, 1)
    return {"significance": found.to_json(), "verdict": verdict(found), "test": {}, "baselines": {}}


@pytest.mark.parametrize("n", [1, 30, 492, 12_000])
@pytest.mark.parametrize("best", ["zero", "expanding_mean"])
def test_lines_of_significance_fit_a_terminal_and_have_the_whole_verdict(n: int, best: str) -> None:
    what = evaluated(n, best)
    lines = "\n".join(result_tables.significance(what)).splitlines()
    assert max(map(len, lines)) <= 100
    text = " ".join(" ".join(lines).split())
    assert f"verdict {what['verdict']}" in text
    assert "nan" not in text and "None" not in text
    assert f"better than {best}?" in text


def test_lines_of_significance_have_the_figures_of_metrics_json() -> None:
    what = evaluated(492, "expanding_mean")
    text = "\n".join(result_tables.significance(what))
    found = what["significance"]
    low, high = found["r2_zero_interval"]
    assert f"r2_zero 95 % CI {low:+.2%} to {high:+.2%}   r2_ct {found['r2_ct']:+.2%}" in text
    for of in (*found["against"].values(), {"diebold_mariano": found["pesaran_timmermann"]}):
        assert f"p {of['diebold_mariano']['p_value']:.3f}" in text
    assert f"R² {found['r2_identity']['r2']:+.2%} = ρ²" in text


def test_of_a_level_zero_is_named_persistence_and_is_no_second_rival() -> None:
    what = evaluated(492, "zero")
    against = what["significance"]["against"]
    level = {**what, "baselines": {"persistence": {}}}
    level["significance"] = {**what["significance"], "against": {**against, "persistence": against["zero"]}}
    assert list(result_tables.rivals(level)) == ["persistence", *list(against)[1:]]
    assert list(result_tables.rivals(what)) == list(against)


def test_of_classes_no_column_is_empty_and_the_squared_error_is_shown_once() -> None:
    scores = {"mse": 0.25, "mae": 0.5, "r2": 0.0, "r2_zero": None, "r2_ct": None, "hit_rate": 0.5, "ic": None}
    of = {"test": {**scores, "brier": 0.25, "log_loss": 0.7, "auc": 0.5, "mcc": None}}
    what = {**of, "baselines": {"train_mean": of}, "best_baseline": "train_mean"}
    assert result_tables.result_table(what).split()[:4] == ["split", "mae", "r2", "hit_rate"]
    assert "mse" in result_tables.result_table({"test": scores, "baselines": {}, "best_baseline": ""})
