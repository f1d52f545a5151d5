"""Windowed arrays from an npz file: X_train (N, T, F), y_train (N,), X_test, y_test; feature_names (F,) or none."""

from __future__ import annotations

import contextlib
import math
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from stockml.data import store
from stockml.data.panel import Panel
from stockml.data.sources.npz import labels
from stockml.data.sources.npz.horizon import Horizon, infer
from stockml.errors import UserError
from stockml.runs import plain_files

if TYPE_CHECKING:
    from stockml.config.root import Config
    from stockml.data.sources.npz import NpzConfig

KEYS = ("X_train", "y_train", "X_test", "y_test")
_NAMES = "feature_names"
_BLOCK_BYTES = 2**25
_RATIO = 200  # windows repeat each day as often as they have days, so they can be packed well


def load(config: Config) -> tuple[Panel, int]:
    """The panel, and how many of its samples come before the test split. Raises UserError."""
    data = cast("NpzConfig", config.data)
    path = _file(data, config.stock.ticker)
    _check_sizes(path)
    found = _from_store(path, data) if _size(path) > data.memory_limit * 1e9 else None
    values, target, n_train = _in_memory(path) if found is None else _mapped(found)
    window, width = values.shape[1:]
    labels.check_classes(path, target, n_train)
    kind, last, last_number = labels.kind_of(values, target, n_train)
    moves = target if last is None else target - last
    labels.check_scale(path, moves, n_train)
    ahead = Horizon(data.horizon or 0)
    if data.horizon is None:
        known = None if kind == "level" and last is None else moves[:n_train]
        ahead = infer(values[:n_train, -1].astype(np.float64), target[:n_train], kind, known)
    features: Sequence[str] = config.stock.features or tuple(f"x{number}" for number in range(width))
    if (named := _names(path, width)) is not None:
        features = named
    elif len(features) != width:
        raise UserError(
            f"{path}: has {width} feature{'s' if width > 1 else ''}, but stock.features names {len(features)} "
            f"({', '.join(features)}); set as many, or leave out stock= and stock.features="
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
        parsing_notes=ahead.note,
        horizon=ahead.days,
        target_end=ahead.end,
        last=last,
        last_name="" if last is None else f"last {features[last_number]}",
        relative=False,
        content="" if found is None else found.content,
    ), n_train


def _names(path: Path, width: int) -> tuple[str, ...] | None:
    """The features' names in the file; None where it has none. UserError where they cannot be used."""
    with np.load(path, allow_pickle=False) as file:
        if _NAMES not in file.files:
            return None
        try:
            given = file[_NAMES]
        except ValueError as error:  # pickled objects
            raise UserError(
                f"{path}: {_NAMES} is no array of texts ({error}); save np.array([…], dtype=str)"
            ) from error
    if not isinstance(given, np.ndarray) or given.dtype.kind != "U" or given.shape != (width,):
        kind = f"{given.dtype} of shape {given.shape}" if isinstance(given, np.ndarray) else "no array"
        raise UserError(f"{path}: {_NAMES} is {kind}; must be {width} texts, one for each feature of X_train")
    names = tuple(str(name).strip() for name in given)
    if bad := [name or "an empty name" for name in names if not name or names.count(name) > 1]:
        raise UserError(f"{path}: {_NAMES} has {bad[0]}{' twice' if names.count(bad[0]) > 1 else ''}; name each once")
    return names


def sample_shape(config: Config) -> tuple[int, int]:
    """Days and features (T, F) of a sample, from the file's header. Raises UserError."""
    path = _file(cast("NpzConfig", config.data), config.stock.ticker)
    try:
        with _opened(path, KEYS[0]) as (_, (_, window, width), _):
            return window, width
    except _UNREADABLE as error:
        raise UserError(f"{path}: has no readable {KEYS[0]} ({error})") from error


_UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)


@contextlib.contextmanager
def _opened(path: Path, key: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], np.dtype[Any]]]:
    """An array's file, positioned after its header, with its shape and type."""
    with zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, by_column, dtype = read[np.lib.format.read_magic(file)[0]](file)
        if by_column and len(shape) > 1:
            raise ValueError("it is in column order: save it with np.ascontiguousarray")
        yield file, shape, dtype


def _size(path: Path) -> int:
    """Bytes of the windows in memory; 0 where the file cannot be read, which is reported when it is loaded."""
    try:
        shapes = []
        for key in KEYS[::2]:
            with _opened(path, key) as (_, shape, _):
                shapes.append(shape)
    except _UNREADABLE:
        return 0
    return sum(math.prod(shape) for shape in shapes) * np.dtype(np.float32).itemsize


def _check_sizes(path: Path) -> None:
    """UserError where the archive, or an array's header, declares more than the file can hold."""
    try:
        plain_files.archive_size(path, _RATIO)
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
        for name, size in sizes.items():
            with contextlib.suppress(KeyError, ValueError), _opened(path, name.removesuffix(".npy")) as (_, shape, of):
                if not of.hasobject and math.prod(shape) * of.itemsize > size:
                    raise UserError(f"{path}: {name} says that its shape is {shape}, and holds less; save it again")
    except _UNREADABLE:
        return  # which is said where it is read


def _in_memory(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64], int]:
    """Windows (N, T, F) and targets (N,) of train and test, and the number of train samples."""
    plain_files.require_memory(path, 2 * _size(path))
    x_train, y_train, x_test, y_test = arrays = _read(path)
    _check_shapes(path, [array.shape for array in arrays])
    values = np.empty((len(x_train) + len(x_test), *x_train.shape[1:]), dtype=np.float32)
    values[: len(x_train)], values[len(x_train) :] = x_train, x_test
    return values, np.concatenate([y_train, y_test]).astype(np.float64), len(x_train)


def _from_store(path: Path, data: NpzConfig) -> store.Stored:
    """The same in the store, written block by block."""

    def build(writer: store.Writer) -> dict[str, Any]:
        _, y_train, _, y_test = arrays = _read(path, only_targets=True)
        _check_shapes(path, [array.shape for array in arrays])
        for key in KEYS[::2]:
            with _opened(path, key) as (file, shape, dtype):
                at_once = max(1, _BLOCK_BYTES // (math.prod(shape[1:]) * dtype.itemsize))
                for start in range(0, shape[0], at_once):
                    rows = min(at_once, shape[0] - start)
                    content = file.read(rows * math.prod(shape[1:]) * dtype.itemsize)
                    block = np.frombuffer(content, dtype).reshape(rows, *shape[1:])
                    writer.append("values", _numbers(path, key, block, start).astype(np.float32))
        writer.append("target", np.concatenate([y_train, y_test]).astype(np.float64))
        return {"train": len(y_train)}

    try:
        return store.get_or_build(
            Path(data.panel_cache), [str(path), store.hash_of(path, Path(data.panel_cache))], build
        )
    except _UNREADABLE as error:
        raise UserError(f"{path}: is not a readable npz file ({error}); it may be truncated: save it again") from error


def _mapped(found: store.Stored) -> tuple[NDArray[np.float32], NDArray[np.float64], int]:
    return found.array("values", mapped=True), found.array("target"), found.facts["train"]


def _check_shapes(path: Path, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raise UserError where the shapes of the arrays do not fit together."""
    for key, shape in zip(KEYS, shapes, strict=True):
        wanted = 3 if key.startswith("X") else 1
        if len(shape) != wanted:
            raise UserError(f"{path}: {key} has shape {shape}; must be {'(N, T, F)' if wanted == 3 else '(N,)'}")
    x_train, y_train, x_test, y_test = shapes
    for name, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if x[0] != y[0]:
            raise UserError(f"{path}: X_{name} has {x[0]:,} samples, y_{name} {y[0]:,}; they must be equal")
        if not math.prod(x):
            raise UserError(f"{path}: X_{name} has shape {x}: it is empty")
    if x_train[1:] != x_test[1:]:
        raise UserError(f"{path}: windows of X_train are {x_train[1:]}, of X_test {x_test[1:]}; must be equal")


def _file(data: NpzConfig, ticker: str) -> Path:
    if data.path is not None:
        path = Path(data.path)
        if not path.is_file():
            raise UserError(f"data.path={path}: there is no such file; name it where it is: data.path=FILE")
        return path
    folder = Path(str(data.dir))
    if not folder.is_dir():
        raise UserError(f"data.dir={folder}: there is no such folder; name it where it is: data.dir=FOLDER")
    places = (folder / f"{ticker}.npz", folder / "classification" / f"{ticker}.npz")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        there = sorted(p.stem for p in [*folder.glob("*.npz"), *(folder / "classification").glob("*.npz")])
        raise UserError(
            f"data.dir={folder}: holds no {ticker}.npz and no classification/{ticker}.npz; "
            f"it holds {', '.join(there) or 'no npz file'}"
        )
    return found


def _read(path: Path, *, only_targets: bool = False) -> list[NDArray[Any]]:
    """The arrays, in the order of KEYS; with `only_targets`, the windows are zeros of the right shape."""
    arrays = []
    if not zipfile.is_zipfile(path):  # np.load takes any other file for a pickle
        raise UserError(
            f"{path}: is not a readable npz file, it may be truncated; save {', '.join(KEYS)} in one with np.savez"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file.files]
            if missing:
                raise UserError(
                    f"{path}: has no {', '.join(missing)}; an npz file needs {', '.join(KEYS)}, "
                    f"this one has {', '.join(file.files) or 'nothing'}"
                )
            _check_no_validation(path, file)
            for key in KEYS:
                if only_targets and key.startswith("X"):
                    with _opened(path, key) as (_, shape, dtype):
                        arrays.append(np.broadcast_to(np.zeros((), dtype), shape))
                else:
                    arrays.append(_numbers(path, key, file[key]))
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise UserError(
                f"{path}: holds pickled Python objects, which could run code and are never loaded; "
                "save plain arrays of numbers with np.savez"
            ) from error
        raise UserError(f"{path}: is not a readable npz file ({error}); it may be truncated: save it again") from error
    return arrays


def _check_no_validation(path: Path, file: Mapping[str, Any]) -> None:
    """Raise UserError where the file has a validation split of its own, which would be left unused."""
    own = [key for key in file if re.match(r"[xy]_?val", key, re.IGNORECASE)]
    if not own:
        return
    y = next((key for key in own if key[0] in "yY"), None)
    count, train = (len(file[y]) if y else 0), len(file["y_train"])
    ratio = f", and set data.valid_ratio={count / (count + train):.6g}" if count else ""
    raise UserError(
        f"{path}: {', '.join(own)} would not be used; validation is the last part of train: append them to X_train "
        f"and y_train with np.concatenate{ratio}"
    )


def _numbers(path: Path, key: str, array: NDArray[Any], start: int | None = None) -> NDArray[Any]:
    """The array, or a block of it that starts at the sample `start`; UserError where a value is not usable."""
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path}: {key} is not an array; save arrays of numbers with np.savez")
    if array.dtype.kind not in "fiub":
        raise UserError(f"{path}: {key} is of type {array.dtype}; must be numbers")
    largest = np.finfo(np.float32).max
    bad = np.argwhere(~(np.abs(array) <= largest)) if array.dtype.kind == "f" else np.empty((0, array.ndim))
    if len(bad):
        bad[:, 0] += start or 0
        where = ", ".join(map(str, bad[0]))
        more, several = "" if start is None else " or more", len(bad) > 1
        raise UserError(
            f"{path}: {key} holds {len(bad):,}{more} value{'s that are' if several else ' that is'} NaN, infinite or "
            f"beyond float32, the first at [{where}]; fill or drop them"
        )
    return array
