"""Windowed arrays from npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stockml import compose
from stockml.data.dataset import prepare
from stockml.data.panel import Kind
from stockml.data.sources.npz import arrays


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
