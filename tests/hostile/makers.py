"""Makes run folders, sweep folders and data files hostile."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
import zstandard

from tests.data.sources.exports import spreadsheet as spreadsheet_of
from tests.hostile.witnesses import Witness

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eX"
"""Sets a terminal's title, clears it, and turns the direction of what follows."""
FORMULA = '=HYPERLINK("http://x";"y")'
DEEP = "[" * 200_000 + "]" * 200_000


class Executes:
    """A pickle that makes a file when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("EXECUTED",))


def pickled(name: str, *, by_torch: bool) -> Callable[[Path, Witness], None]:
    def spoil(copy: Path, _: Witness) -> None:
        if by_torch:
            torch.save({"state_dict": {}, "x": Executes()}, copy / name)
        else:
            (copy / name).write_bytes(pickle.dumps(Executes()))

    return spoil


def config(**changes: Any) -> Callable[[Path, Witness], None]:
    """Changes of a run's saved config and config.json: dotted key, with __ for the dots, and value."""

    def spoil(copy: Path, witness: Witness) -> None:
        path, facts = copy / "run/.hydra/config.yaml", copy / "run/config.json"
        config, metadata = yaml.safe_load(path.read_text()), json.loads(facts.read_text())
        for key, value in changes.items():
            if isinstance(value, str):
                value = value.replace("ELSEWHERE", str(witness.elsewhere)).replace("ADDRESS", witness.address)
            for values in (config, metadata["config"]):
                *sections, last = key.split("__")
                for section in sections:
                    values = values.setdefault(section, {})
                values[last] = value
        path.write_text(yaml.safe_dump(config))
        facts.write_text(json.dumps(metadata))

    return spoil


def json_of(name: str, **changes: Any) -> Callable[[Path, Witness], None]:
    def spoil(copy: Path, witness: Witness) -> None:
        values = json.loads((copy / name).read_text())
        text = json.dumps({**values, **changes}).replace("ELSEWHERE", str(witness.elsewhere))
        (copy / name).write_text(text)

    return spoil


def jobs(**jobs: Any) -> Callable[[Path, Witness], None]:
    return json_of("sweep/sweep.json", jobs=jobs)


def job(**changes: Any) -> Callable[[Path, Witness], None]:
    return json_of("sweep/AAPL-seed_1/result.json", **changes)


def all_of(*each: Callable[[Path, Witness], None]) -> Callable[[Path, Witness], None]:
    def spoil(copy: Path, witness: Witness) -> None:
        for one in each:
            one(copy, witness)

    return spoil


def text(name: str, text: str) -> Callable[[Path, Witness], None]:
    return lambda copy, _: ignore((copy / name).write_text(text))


def ignore(_: object) -> None:
    """Return nothing."""


def link(name: str, to: str) -> Callable[[Path, Witness], None]:
    """A link in the place of a file; the folder that nobody typed is ELSEWHERE."""

    def spoil(copy: Path, witness: Witness) -> None:
        path = copy / name
        if path.is_dir():
            path.rename(path.with_name(f"{path.name}.away"))
        path.unlink(missing_ok=True)
        path.symlink_to(to.replace("ELSEWHERE", str(witness.elsewhere)))

    return spoil


def fifo(name: str) -> Callable[[Path, Witness], None]:
    def spoil(copy: Path, _: Witness) -> None:
        (copy / name).unlink(missing_ok=True)
        os.mkfifo(copy / name)

    return spoil


def unix_socket(name: str) -> Callable[[Path, Witness], None]:
    def spoil(copy: Path, _: Witness) -> None:
        (copy / name).unlink(missing_ok=True)
        cwd = Path.cwd()
        os.chdir((copy / name).parent)  # a socket's path is short
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(Path(name).name)
        os.chdir(cwd)

    return spoil


def sparse(name: str, size: int) -> Callable[[Path, Witness], None]:
    def spoil(copy: Path, _: Witness) -> None:
        (copy / name).touch()
        os.truncate(copy / name, size)

    return spoil


def zip_bomb(name: str, member: str = "archive/data.pkl") -> Callable[[Path, Witness], None]:
    def spoil(copy: Path, _: Witness) -> None:
        with zipfile.ZipFile(copy / name, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(member, "w") as file:
            for _block in range(70):
                file.write(bytes(2**20))

    return spoil


def packed_bomb(ending: str) -> Callable[[Path, Witness], None]:
    """A packed file of bars that goes on and on: the same part many times."""

    def spoil(copy: Path, _: Witness) -> None:
        pack = {"gz": gzip, "bz2": bz2, "xz": lzma, "zst": zstandard}[ending].compress
        (copy / f"bomb.csv.{ending}").write_bytes(pack(b"1,2,3,4\n" * 2**17) * 70)

    return spoil


def spreadsheet(ending: str, old: str, new: str) -> Callable[[Path, Witness], None]:
    """A spreadsheet of two rows, with a change of its XML."""

    def spoil(copy: Path, _: Witness) -> None:
        content = spreadsheet_of({"Bars": [["Date", "Close"], ["2020-01-01", "1"]]}, ending)
        with zipfile.ZipFile(io.BytesIO(content)) as of, zipfile.ZipFile(copy / f"x.{ending}", "w") as archive:
            for name in of.namelist():
                archive.writestr(name, of.read(name).replace(old.encode(), new.encode()))

    return spoil


def zip_of(*names: str) -> Callable[[Path, Witness], None]:
    """An archive in which the file of bars has these names."""

    def spoil(copy: Path, _: Witness) -> None:
        with zipfile.ZipFile(copy / "x.zip", "w") as archive:
            for name in names:
                archive.write(copy / "bars.csv", name)

    return spoil


def npz(header: tuple[int, ...] = (100, 10, 5), **arrays: Any) -> Callable[[Path, Witness], None]:
    """Arrays, of which the first says that it has another shape."""

    def spoil(copy: Path, _: Witness) -> None:
        given = {"X_train": np.zeros((100, 10, 5)), "y_train": np.zeros(100), "X_test": np.zeros((9, 10, 5))}
        np.savez(copy / "x.npz", **{**given, "y_test": np.zeros(9), **arrays}, allow_pickle=True)
        if header != (100, 10, 5):
            lying = io.BytesIO()
            of = {"descr": "<f8", "fortran_order": False, "shape": header}
            np.lib.format.write_array_header_1_0(lying, of)
            with zipfile.ZipFile(copy / "x.npz") as old, zipfile.ZipFile(copy / "y.npz", "w") as new:
                for each in old.namelist():
                    new.writestr(each, lying.getvalue() if each == "X_train.npy" else old.read(each))
            (copy / "y.npz").replace(copy / "x.npz")

    return spoil


def parquet_bomb(copy: Path, _: Witness) -> None:
    import pyarrow
    from pyarrow import parquet

    column = pyarrow.array(np.ones(2**20))
    table = pyarrow.table(dict.fromkeys(("Date", "Open", "High", "Low", "Close", "Volume"), column))
    with parquet.ParquetWriter(copy / "bomb.parquet", table.schema) as writer:
        for _block in range(2):
            writer.write_table(table)


def bars(header: str = "", ticker: str = "", column: str = "ticker") -> Callable[[Path, Witness], None]:
    """The file of bars with another header, or with a column of tickers."""

    def spoil(copy: Path, _: Witness) -> None:
        first, *lines = (copy / "bars.csv").read_text().splitlines()
        if ticker:
            quoted = '"' + ticker.replace('"', '""') + '"'
            first, lines = f"{first},{column}", [f"{line},{quoted}" for line in lines]
        (copy / "bars.csv").write_text("\n".join([header or first, *lines]) + "\n")

    return spoil


def ledger(copy: Path, _: Witness) -> None:
    text = b'{"when": ' + DEEP.encode() + b"}"
    import hashlib

    text = text[:-1] + f', "sha256": "{hashlib.sha256(text).hexdigest()}"}}'.encode()
    (copy / "looks.jsonl").write_bytes(text + b"\n")
