"""TA-Lib's functions as operators, by TA-Lib's own names and definitions."""

from __future__ import annotations

import functools
import os.path
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stockml.data.features.nodes import ExpressionError
from stockml.data.features.operators import Operator, Parameter

Floats = NDArray[np.float64]
_MOST = float(2**31 - 1)  # a C int; TA-Lib checks its own bounds


def installed() -> bool:
    """Whether TA-Lib is installed."""
    return _talib() is not None


def names() -> list[str]:
    """The names of its functions; none if it is not installed."""
    talib = _talib()
    return [] if talib is None else list(talib.get_functions())


def find(name: str) -> Operator | None:
    """The operator of a function of TA-Lib; None if there is none of that name, or TA-Lib is not installed."""
    return _find(name) if name in names() else None


def check(operator: Operator, parameters: Sequence[float]) -> None:
    """Refuse numbers that TA-Lib refuses."""
    if isinstance(operator.function, Indicator):
        try:
            operator.function.call([np.ones(1)] * len(operator.inputs), parameters)
        except Exception as error:
            given = ", ".join(f"{p.name}={value:g}" for p, value in zip(operator.parameters, parameters, strict=True))
            if "TA_BAD_PARAM" in str(error):
                out = f"one of {given} is" if len(parameters) > 1 else f"{given} is"
                raise ExpressionError(f"{operator.signature}: {out} out of TA-Lib's range") from None
            raise ExpressionError(f"{operator.signature}: TA-Lib refuses {given} ({error})") from None


def _talib() -> Any:
    try:
        import talib
    except ImportError:
        return None
    return talib


def _abstract(name: str) -> Any:
    from talib import abstract

    return abstract.Function(name)  # type: ignore[attr-defined]  # its stub lacks it


@functools.cache
def _find(name: str) -> Operator:
    information = _abstract(name).info
    inputs: list[str] = []
    for key, value in information["input_names"].items():
        inputs += [value if key == "price" else key] if isinstance(value, str) else value
    parameters = tuple(
        Parameter(
            key,
            low=-_MOST,
            high=_MOST,
            default=float(default),
            whole=isinstance(default, int),
            is_window=False,
        )
        for key, default in information["parameters"].items()
    )
    outputs = information["output_names"]
    function = Indicator(name, tuple(information["parameters"]))
    return Operator(
        name,
        function,
        tuple(inputs),
        information["display_name"],
        parameters,
        lookback=function.lookback,
        keeps_nan=False,
        from_first_row=True,
        outputs=() if len(outputs) == 1 else tuple(_short(name, outputs)),
    )


def choose(operator: Operator, output: str) -> Operator:
    """The operator of one of the outputs of a function that has several."""
    assert isinstance(operator.function, Indicator)
    function = replace(operator.function, output=operator.outputs.index(output))
    return replace(operator, name=f"{operator.name}.{output}", function=function, outputs=())


@dataclass(frozen=True)
class Indicator:
    """A function of TA-Lib on the rows of one stock."""

    name: str
    parameters: tuple[str, ...]
    output: int = 0

    def __call__(self, *given: Any) -> Floats:
        """Its values; each run of rows without NaN among the inputs is computed by itself, from its first row on."""
        inputs, parameters = given[: -len(self.parameters) or None], given[len(given) - len(self.parameters) :]
        values = np.full(inputs[0].size, np.nan)
        lookback = self.lookback(*parameters)
        whole = ~np.isnan(np.stack(inputs)).any(axis=0)
        edges = np.flatnonzero(np.diff(whole, prepend=False, append=False))
        for first, last in edges.reshape(-1, 2):
            if last - first > lookback:
                found = self.call([array[first:last] for array in inputs], parameters)
                values[first + lookback : last] = found[lookback:]
        return values

    def call(self, inputs: Sequence[Floats], parameters: Sequence[float]) -> Floats:
        """What TA-Lib returns for the chosen output."""
        import talib

        named = dict(zip(self.parameters, parameters, strict=True))
        found = getattr(talib, self.name)(*inputs, **named)
        chosen = found[self.output] if isinstance(found, tuple) else found
        return np.asarray(chosen, dtype=np.float64)

    def lookback(self, *parameters: float) -> int:
        """Rows before the first value."""
        function = _abstract(self.name)
        function.parameters = dict(zip(self.parameters, parameters, strict=True))
        return int(function.lookback)


def _short(name: str, outputs: Sequence[str]) -> list[str]:
    """Names of outputs without what all of them share: macd, signal, hist; upper, middle, lower."""
    prefix = os.path.commonprefix(outputs)  # noqa: RUF071 - of names, not of paths
    if len(prefix) < 3 and prefix != name.lower():
        prefix = ""
    return [output.removeprefix(prefix).removesuffix("band") or output for output in outputs]
