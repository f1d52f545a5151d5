"""Checkpoints: best.pt, from which the model is rebuilt, and last.pt, from which training goes on."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from stockml.errors import UserError

if TYPE_CHECKING:
    from stockml.runs.folder import RunFolder

_CHECKSUM = "sha256"


def save(folder: RunFolder, name: str, state: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all, with a checksum of its content."""
    content = packed(state)  # torch turns a full disk into an error that nobody understands
    with folder.writing(name) as file:
        file.write(content)


def save_last(folder: RunFolder, state: Mapping[str, Any]) -> None:
    """Write last.pt; the one before it stays, as previous.pt, for the case that last.pt is ever damaged."""
    folder.keep("last.pt", "previous.pt")
    save(folder, "last.pt", state)


def load_last(folder: RunFolder) -> tuple[dict[str, Any] | None, list[str]]:
    """The latest checkpoint that is whole, None where none was ever written; and what is wrong with a later one.

    Whichever it is, it is last.pt from then on. UserError where there are checkpoints and none of them is whole.
    """
    faults: list[str] = []
    last = folder.path / "last.pt"
    for path in (last, folder.path / "previous.pt"):
        if path.exists():
            try:
                state = load(path)
            except UserError as error:
                faults += error.lines
            else:
                path.replace(last)
                return state, faults
    if faults:
        raise UserError(*(f"{fault}; start the run anew" for fault in faults))
    return None, []


def packed(state: Mapping[str, Any]) -> memoryview:
    """A checkpoint's bytes, a checksum of its content among them."""
    content = io.BytesIO()
    torch.save({**state, _CHECKSUM: checksum(state)}, content)
    return content.getbuffer()


def load(path: Path | BinaryIO) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running code of it; UserError where it is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are refused all the same
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found = state.pop(_CHECKSUM)
    except Exception as error:  # a damaged file can fail anywhere in zip, pickle or torch
        reason = (" ".join(str(error).split()) or type(error).__name__)[:120]
        raise UserError(f"{path}: is no readable checkpoint ({reason})") from error
    if found != checksum(state):
        raise UserError(f"{path}: is damaged (its checksum does not fit its content)")
    return state


def checksum(state: Any) -> str:
    """SHA-256 of nested dicts, lists, scalars and tensors: of what they say, not of how a file packs them."""
    digest = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                digest.update(f"{key!r}:".encode())
                add(item)
        elif isinstance(value, (list, tuple)):
            digest.update(f"[{len(value)}".encode())
            for item in value:
                add(item)
        elif isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            digest.update(repr(value).encode())

    add(state)
    return digest.hexdigest()
