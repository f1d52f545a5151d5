"""Qlib's factors by its own engine: the half of `factors.py` that runs in an environment with pyqlib.

    python _qlib_factors.py PROVIDER SET OUT [--double]

PROVIDER is a folder in Qlib's format, SET `Alpha158` or `Alpha360`. OUT gets `factors.json` with the names, and
`<instrument>.npy` with their values (rows, factors), as float32; with `--double`, OUT gets those that Qlib has if its
columns, and what it returns, are not cut to float32. Prints the seconds that Qlib took. Needs nothing of stockml.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import qlib
from qlib.config import REG_US
from qlib.contrib.data import loader
from qlib.data import D
from qlib.data.data import ExpressionD
from qlib.data.storage.file_storage import FileFeatureStorage

CORES = 2


def in_float32(fields: list[str], instruments: list[str]) -> Iterator[tuple[str, Any]]:
    """Each instrument's factors (rows, factors), as Qlib's users get them."""
    table = D.features(instruments, fields, freq="day", disk_cache=0)
    for instrument, rows in table.groupby(level="instrument"):
        yield str(instrument), rows.to_numpy()


def in_float64(fields: list[str], instruments: list[str]) -> Iterator[tuple[str, Any]]:
    """The same from the operators themselves, with columns as float64."""
    read: Callable[..., Any] = FileFeatureStorage.__getitem__

    def as_double(storage: Any, index: Any) -> Any:
        found = read(storage, index)
        return found.astype(np.float64) if isinstance(index, slice) else found

    FileFeatureStorage.__getitem__ = as_double
    last = len(D.calendar(freq="day")) - 1
    for instrument in instruments:
        columns = [ExpressionD.get_expression_instance(field).load(instrument, 0, last, "day") for field in fields]
        yield instrument, np.stack([column.to_numpy(dtype=np.float64) for column in columns], axis=1)


def main(provider: Path, factor_set: str, out: Path, *, double: bool) -> None:
    """Compute, time and write the factors of every instrument."""
    qlib.init(provider_uri=str(provider), region=REG_US, kernels=CORES, logging_level=40)
    fields, names = getattr(loader, f"{factor_set}DL").get_feature_config()
    instruments = D.list_instruments(D.instruments("all"), freq="day", as_list=True)
    began = time.perf_counter()
    found = list((in_float64 if double else in_float32)(fields, instruments))
    print(time.perf_counter() - began)
    out.mkdir(parents=True, exist_ok=True)
    (out / "factors.json").write_text(json.dumps(names))
    for instrument, values in found:
        np.save(out / f"{instrument}.npy", values)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("provider", type=Path)
    parser.add_argument("set", choices=["Alpha158", "Alpha360"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--double", action="store_true")
    given = parser.parse_args()
    main(given.provider, given.set, given.out, double=given.double)
