"""Windowed arrays from npz files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import compose
from stockml.data.dataset import prepare
from stockml.data.panel import Kind
from stockml.data.sources.npz import arrays
from stockml.errors import UserError
from stockml.evaluation import baselines
from stockml.evaluation.metrics import score
from stockml.evaluation.truth import target
from stockml.reporting import data_report


def save(path: Path, *, n: int = 100, width: int = 5, y: np.ndarray | None = None) -> Path:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n + 20, 8, width))
    y = rng.standard_normal(n + 20) if y is None else y
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, X_train=x[:n], y_train=y[:n], X_test=x[n:], y_test=y[n:])
    return path


def test_a_path_gives_the_run_its_name_and_features(tmp_path: Path) -> None:
    config = compose.compose("data=npz", f"data.path={save(tmp_path / 'mine.npz', width=3)}")
    assert (config.stock.ticker, config.stock.name, config.stock.features) == ("mine", "", ())
    assert prepare(config).panel.features == ("x0", "x1", "x2")


def test_a_folder_is_searched_for_the_ticker_and_then_for_its_classification(tmp_path: Path) -> None:
    save(tmp_path / "classification" / "AAPL.npz")
    config = compose.compose("data=npz", f"data.dir={tmp_path}", "stock=AAPL")
    assert prepare(config).panel.origin.endswith("classification/AAPL.npz")
    save(tmp_path / "AAPL.npz")
    assert prepare(config).panel.origin.endswith(f"{tmp_path.name}/AAPL.npz")


def test_validation_is_the_end_of_train_and_test_is_that_of_the_file(tmp_path: Path) -> None:
    split = prepare(compose.compose("data=npz", f"data.path={save(tmp_path / 'a.npz')}")).split
    assert split.train.tolist() == list(range(90))
    assert split.validation.tolist() == list(range(90, 100))
    assert split.test.tolist() == list(range(100, 120))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u1", "?"])
def test_any_numeric_type_is_read(tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 2, (50, 4, 2)).astype(dtype), (np.arange(50) % 2).astype(dtype)
    np.savez(tmp_path / "a.npz", X_train=x[:40], y_train=y[:40], X_test=x[40:], y_test=y[40:])
    panel, before_test = arrays.load(compose.compose("data=npz", f"data.path={tmp_path / 'a.npz'}"))
    assert before_test == 40
    assert panel.kind == "class"
    assert np.array_equal(panel.values, x.astype(np.float32))


def test_the_kind_of_the_target_depends_on_train_only(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 8, 2)).astype(np.float32)
    level = x[:, -1, 1] + 0.1 * rng.standard_normal(120)
    targets: dict[Kind, np.ndarray] = {
        "return": rng.standard_normal(120),
        "class": rng.integers(0, 2, 120),
        "level": np.concatenate([level[:100], rng.standard_normal(20)]),
    }
    for kind, y in targets.items():
        np.savez(tmp_path / "a.npz", X_train=x[:100], y_train=y[:100], X_test=x[100:], y_test=y[100:])
        panel, _ = arrays.load(compose.compose("data=npz", f"data.path={tmp_path / 'a.npz'}"))
        assert panel.kind == kind
        assert (panel.last is not None) == (kind == "level")
        if panel.last is not None:
            assert np.array_equal(panel.last, x[:, -1, 1])
            assert panel.last_name == "last x1"


def walk(path: Path, *, start: int = 0, days: int = 1, kind: str = "return", shuffled: bool = False) -> Path:
    """Windows a day apart over prices, and their changes from day `start` after the window over so many days."""
    price = np.random.default_rng(0).standard_normal(900).cumsum()
    ends = np.arange(7, 807)
    if shuffled:
        ends = np.random.default_rng(1).permutation(ends)
    x = np.stack([price[end - 7 : end + 1, None] for end in ends])
    change = price[ends + start + days] - price[ends + start]
    y = {"return": change, "class": (change > 0).astype(int), "level": price[ends + start + days]}[kind]
    np.savez(path, X_train=x[:600], y_train=y[:600], X_test=x[600:], y_test=y[600:])
    return path


@pytest.mark.parametrize("kind", ["return", "class", "level"])
@pytest.mark.parametrize(("start", "days"), [(0, 1), (0, 5), (0, 20), (1, 1), (5, 15)])
def test_the_windows_show_how_far_ahead_targets_lie_and_the_splits_are_purged_by_it(
    tmp_path: Path, kind: str, start: int, days: int
) -> None:
    found = prepare(
        compose.compose("data=npz", f"data.path={walk(tmp_path / 'a.npz', start=start, days=days, kind=kind)}")
    )
    end = start + days
    assert (found.panel.horizon, found.panel.reach) == (end if kind == "level" else days, end)
    assert found.split.train.tolist() == list(range(541 - end))
    assert found.split.validation.tolist() == list(range(540, 601 - end))
    assert len(found.split.test) == 200


def test_targets_that_no_window_shows_are_purged_by_twice_their_overlap(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.lib.stride_tricks.sliding_window_view(rng.standard_normal(1819), 20).sum(axis=1)
    found = prepare(compose.compose("data=npz", f"data.path={save(tmp_path / 'a.npz', n=1780, y=y)}"))
    assert 15 <= found.panel.horizon <= 25 and found.panel.reach == 2 * found.panel.horizon
    assert "autocorrelations" in found.panel.parsing_notes


def test_a_horizon_that_is_given_counts_and_0_purges_nothing(tmp_path: Path) -> None:
    path = walk(tmp_path / "a.npz", days=5)
    for horizon, purged in ((7, 12), (0, 0), (1, 0)):
        found = prepare(compose.compose("data=npz", f"data.path={path}", f"data.horizon={horizon}"))
        assert (found.panel.horizon, found.split.purged, found.panel.parsing_notes) == (horizon, purged, "")


def test_a_horizon_longer_than_the_test_purges_all_targets_that_reach_into_it(tmp_path: Path) -> None:
    found = prepare(compose.compose("data=npz", f"data.path={save(tmp_path / 'a.npz', n=400)}", "data.horizon=25"))
    assert found.split.validation.tolist() == list(range(360, 376))


@pytest.mark.parametrize("shuffled", [True, False])
def test_where_nothing_shows_the_horizon_it_is_unknown_and_the_report_says_so(tmp_path: Path, shuffled: bool) -> None:
    path = walk(tmp_path / "a.npz", days=5, shuffled=True) if shuffled else save(tmp_path / "a.npz")
    found = prepare(compose.compose("data=npz", f"data.path={path}"))
    assert (found.panel.horizon, found.split.purged) == (0, 0)
    report = "\n".join(data_report.lines([found]))
    assert "set data.horizon" in report and "their horizon is not known" in report


@pytest.mark.parametrize("labels", [(1, 2), (0, 1, 2), (-1, 1), (-1, 0, 1), (2,)])
def test_labels_other_than_0_and_1_are_refused(tmp_path: Path, labels: tuple[int, ...]) -> None:
    y = np.random.default_rng(0).choice(labels, 120).astype(float)
    path = save(tmp_path / "a.npz", y=y)
    with pytest.raises(UserError, match=rf"whole numbers only \({labels[0]}.*classes named 0 and 1"):
        prepare(compose.compose("data=npz", f"data.path={path}"))


@pytest.mark.parametrize("name", ["valid", "val", "validation"])
def test_a_validation_split_of_the_file_is_refused_with_the_way_to_use_it(tmp_path: Path, name: str) -> None:
    arrays_of_file = dict(np.load(save(tmp_path / "a.npz")))
    own = {f"X_{name}": arrays_of_file["X_test"], f"y_{name}": arrays_of_file["y_test"]}
    np.savez(tmp_path / "b.npz", **arrays_of_file, **own)
    with pytest.raises(UserError, match=rf"X_{name}, y_{name} would not be used.*data.valid_ratio=0.166667"):
        prepare(compose.compose("data=npz", f"data.path={tmp_path / 'b.npz'}"))


@pytest.mark.parametrize(
    ("made", "kind", "known"),
    [
        (lambda r: r, "return", False),
        (lambda r: 3 + r, "level", False),
        (lambda r: np.exp(0.5 * r), "level", False),
        (lambda r: -100 + np.cumsum(r), "level", True),
    ],
)
def test_targets_far_from_zero_or_of_one_sign_are_levels_measured_from_the_train_mean_or_a_scaled_last_value(
    tmp_path: Path, made: Any, kind: str, known: bool
) -> None:
    rng = np.random.default_rng(0)
    y = made(rng.standard_normal(400))
    x = rng.standard_normal((400, 3, 2))
    x[1:, -1, 0] = (y[:-1] - y.mean()) / y.std() if known else x[1:, -1, 0]
    path = tmp_path / "a.npz"
    np.savez(path, X_train=x[:300], y_train=y[:300], X_test=x[300:], y_test=y[300:])
    data = prepare(compose.compose("data=npz", f"data.path={path}", "data.valid_ratio=0.2"))
    assert (data.panel.kind, data.panel.last is not None) == (kind, known)
    if kind == "level":
        mean = data.scaler.train_mean(data.panel)
        truth = target(data.panel, data.split.test)
        assert truth.has_no_zero != known
        names = [name for name, _ in baselines.naive(data.panel, mean)]
        assert ("zero" in names, "persistence" in names) == (False, known)
        assert (score(truth, mean[data.split.test])["r2_zero"] is None) != known


@pytest.mark.parametrize("other", [100.0, 0.01])
def test_test_targets_in_another_unit_than_those_of_train_are_refused(tmp_path: Path, other: float) -> None:
    y = np.random.default_rng(0).standard_normal(120)
    y[100:] *= other
    with pytest.raises(UserError, match=r"y_test begins .* times as large as y_train ends"):
        prepare(compose.compose("data=npz", f"data.path={save(tmp_path / 'a.npz', y=y)}"))


def test_test_targets_that_are_no_classes_beside_classes_of_train_are_refused(tmp_path: Path) -> None:
    y = np.r_[np.tile([0.0, 1.0], 50), np.random.default_rng(0).random(20)]
    with pytest.raises(UserError, match="y_train has the classes 0 and 1 alone"):
        prepare(compose.compose("data=npz", f"data.path={save(tmp_path / 'a.npz', y=y)}"))


def test_names_in_the_file_are_those_of_the_features(tmp_path: Path) -> None:
    path = save(tmp_path / "AAPL.npz", width=2)
    arrays_of = dict(np.load(path))
    np.savez(path, **arrays_of, feature_names=np.array(["close", "mood"]))
    for typed in ((f"data.path={path}",), (f"data.dir={tmp_path}", "stock=AAPL", "stock.features=[open,close]")):
        data = prepare(compose.compose("data=npz", *typed))
        assert tuple(data.panel.features) == ("close", "mood")
        assert data.scaler.to_dict(data.panel, data.split.train)["features"] == ["close", "mood"]
