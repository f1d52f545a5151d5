"""Checkpoints: best.pt, from which the model is rebuilt, and last.pt, from which training is continued."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from stockml.errors import UserError
from stockml.runs import plain_files

if TYPE_CHECKING:
    from stockml.runs.folder import RunFolder

_RATIO = 4  # torch packs no weights, only their names
_OLD_CHECKSUM = "sha256"  # a key of the checkpoints that earlier releases wrote


def save(folder: RunFolder, name: str, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, completely or not at all."""
    content = to_bytes(state)  # torch turns a full disk into an error that says nothing of it
    with folder.writing(name) as file:
        file.write(content)


def save_last(folder: RunFolder, state: Mapping[str, Any]) -> None:
    """Write last.pt; the one before it is kept as previous.pt, in case last.pt is damaged."""
    folder.keep("last.pt", "previous.pt")
    save(folder, "last.pt", state)


def load_last(folder: RunFolder) -> tuple[dict[str, Any] | None, list[str]]:
    """The latest undamaged checkpoint, None where none was ever written; and what is wrong with a later one.

    The checkpoint that is returned is renamed to last.pt. UserError where there are checkpoints and all are damaged.
    """
    problems: list[str] = []
    last = folder.path / "last.pt"
    for path in (last, folder.path / "previous.pt"):
        if path.exists():
            try:
                state = load(path)
                _require_finite(path, state.values())
            except UserError as error:
                problems += error.lines
            else:
                path.replace(last)
                return state, problems
    if problems:
        raise UserError(*(f"{problem}; start the run again" for problem in problems))
    return None, []


def misfit(path: Path, error: Exception) -> str:
    """A line about a readable checkpoint that is not one of the run's model."""
    reason = " ".join(str(error).split())
    return f"{path}: does not fit the run's model ({type(error).__name__}: {reason[:160]}); train again"


def to_bytes(state: Mapping[str, Any]) -> memoryview:
    """A checkpoint's bytes: a zip archive with a CRC of each member."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    return content.getbuffer()


def content_hash(state_dict: Mapping[str, torch.Tensor]) -> str:
    """The SHA-256 of a model's weights: of their names, types, shapes and bytes, not of the file that holds them."""
    digest = hashlib.sha256()
    for name, weights in sorted(state_dict.items()):
        digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}\n".encode())
        digest.update(weights.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_best(path: Path) -> dict[str, Any]:
    """Read a best.pt; UserError where it is damaged, or its weights are no numbers."""
    state = load(path)
    _require_finite(path, state.get("state_dict", {}).values(), "; train again")
    return state


def _require_finite(path: Path, values: Iterable[Any], remedy: str = "") -> None:
    weights = (value for value in values if isinstance(value, torch.Tensor) and value.is_floating_point())
    if not all(bool(tensor.isfinite().all()) for tensor in weights):
        raise UserError(f"{path}: its weights are not finite: they forecast nothing{remedy}")


def load(source: Path | BinaryIO) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running code of it; UserError where it is damaged."""
    try:
        if isinstance(source, Path):
            plain_files.require_memory(source, plain_files.archive_size(source, _RATIO))
        with zipfile.ZipFile(source) as archive:
            damaged = archive.testzip()  # torch itself does not compare the CRCs
        if damaged is not None:
            raise zipfile.BadZipFile(f"the CRC of {damaged} is wrong")
        if not isinstance(source, Path):
            source.seek(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused anyway
            state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in zip, pickle or torch
        if isinstance(error, pickle.UnpicklingError):  # whose advice is to run the code
            error = TypeError("it holds more than tensors and plain values")
        reason = (" ".join(str(error).split()) or type(error).__name__)[:120]
        raise UserError(f"{source}: is not a readable checkpoint ({reason})") from error
    state.pop(_OLD_CHECKSUM, None)
    return state
