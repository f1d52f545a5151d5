"""Arrays windowed elsewhere, from an npz file: X_train (N, T, F), y_train (N,), X_test, y_test."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from stockml.data.panel import Panel
from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.config import Config, NpzConfig
    from stockml.data.panel import Kind

KEYS = ("X_train", "y_train", "X_test", "y_test")
_LEVEL_R2 = 0.5  # a window's last value that explains this much of the target makes the target a level


def load(config: Config) -> tuple[Panel, int]:
    """The panel, and how many of its samples come before the test. Raises UserError."""
    path = _file(cast("NpzConfig", config.data), config.stock.ticker)
    x_train, y_train, x_test, y_test = arrays = _read(path)
    for key, array in zip(KEYS, arrays, strict=True):
        wanted = 3 if key.startswith("X") else 1
        if array.ndim != wanted:
            raise UserError(f"{path}: {key} has shape {array.shape}; must be {'(N, T, F)' if wanted == 3 else '(N,)'}")
    for part, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if len(x) != len(y):
            raise UserError(f"{path}: X_{part} has {len(x):,} samples, y_{part} {len(y):,}; they must be equal")
        if not x.size:
            raise UserError(f"{path}: X_{part} has shape {x.shape}: no numbers in it")
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UserError(
            f"{path}: windows of X_train are {x_train.shape[1:]}, of X_test {x_test.shape[1:]}; must be equal"
        )

    n_train, (window, width) = len(x_train), x_train.shape[1:]
    values = np.empty((n_train + len(x_test), window, width), dtype=np.float32)
    values[:n_train], values[n_train:] = x_train, x_test
    target = np.concatenate([y_train, y_test]).astype(np.float64)
    kind, last, last_number = _kind(values, target, n_train)
    features: Sequence[str] = config.stock.features or tuple(f"x{number}" for number in range(width))
    if len(features) != width:
        raise UserError(
            f"{path}: has {width} feature{'s' if width > 1 else ''}, but stock.features names {len(features)} "
            f"({', '.join(features)}); set stock.features, or name the file alone: data.path={path}"
        )
    return Panel(
        ticker=config.stock.ticker,
        origin=str(path),
        features=features,
        values=values,
        window=window,
        target=target,
        kind=kind,
        samples=np.arange(len(values)),
        dropped=(),
        last=last,
        last_name=f"last {features[last_number]}",
        relative=False,
    ), n_train


def sample_shape(config: Config) -> tuple[int, int]:
    """Days and features (T, F) of a sample, from the file's head alone. Raises UserError."""
    path = _file(cast("NpzConfig", config.data), config.stock.ticker)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{KEYS[0]}.npy") as file:
            read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
            (_, window, width), _, _ = read[np.lib.format.read_magic(file)[0]](file)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: has no readable {KEYS[0]} ({error})") from error
    return window, width


def _file(data: NpzConfig, ticker: str) -> Path:
    if data.path is not None:
        path = Path(data.path)
        if not path.is_file():
            raise UserError(f"data.path={path}: there is no such file")
        return path
    folder = Path(str(data.dir))
    if not folder.is_dir():
        raise UserError(f"data.dir={folder}: there is no such folder")
    places = (folder / f"{ticker}.npz", folder / "classification" / f"{ticker}.npz")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        there = sorted(p.stem for p in [*folder.glob("*.npz"), *(folder / "classification").glob("*.npz")])
        raise UserError(
            f"data.dir={folder}: holds no {ticker}.npz, nor classification/{ticker}.npz; "
            f"it holds {', '.join(there) or 'no npz file at all'}"
        )
    return found


def _read(path: Path) -> list[NDArray[Any]]:
    arrays = []
    if not zipfile.is_zipfile(path):  # np.load takes whatever is neither zip nor array for a pickle
        raise UserError(
            f"{path}: is no readable npz file, it may be truncated; save {', '.join(KEYS)} in one with np.savez"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file.files]
            if missing:
                raise UserError(
                    f"{path}: has no {', '.join(missing)}; an npz file needs {', '.join(KEYS)}, "
                    f"this one has {', '.join(file.files) or 'nothing'}"
                )
            for key in KEYS:
                arrays.append(_numbers(path, key, file[key]))
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise UserError(
                f"{path}: holds pickled Python objects, which could run code and are never loaded; "
                "save plain arrays of numbers with np.savez"
            ) from error
        raise UserError(f"{path}: is no readable npz file ({error}); it may be truncated: save it again") from error
    return arrays


def _numbers(path: Path, key: str, array: NDArray[Any]) -> NDArray[Any]:
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: {key} is no array; save arrays of numbers with np.savez")
    if array.dtype.kind not in "fiub":
        raise UserError(f"{path}: {key} is of type {array.dtype}; must be numbers")
    largest = np.finfo(np.float32).max
    bad = np.argwhere(~(np.abs(array) <= largest)) if array.dtype.kind == "f" else np.empty((0, array.ndim))
    if len(bad):
        where = ", ".join(map(str, bad[0]))
        raise UserError(
            f"{path}: {key} holds {len(bad):,} value{'s' if len(bad) > 1 else ''} that "
            f"{'are' if len(bad) > 1 else 'is'} NaN, infinite or beyond float32, "
            f"the first at [{where}]; fill or drop them"
        )
    return array


def _kind(
    values: NDArray[np.float32], target: NDArray[np.float64], n_train: int
) -> tuple[Kind, NDArray[np.float64] | None, int]:
    """What sort of number the target is, judged by train; of a level, its last known value and feature."""
    train = target[:n_train]
    if np.isin(target, (0, 1)).all():
        return "class", None, 0
    errors = [np.mean(np.square(train - values[:n_train, -1, f])) for f in range(values.shape[2])]
    best = int(np.argmin(errors))
    if errors[best] < (1 - _LEVEL_R2) * train.var():
        return "level", values[:, -1, best].astype(np.float64), best
    return "return", None, 0
