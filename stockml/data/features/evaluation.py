"""Values of expressions over the rows of one or many stocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stockml.data.features.expressions import Call, Column, Expression, ExpressionError, Node, Number
from stockml.data.features.operators import OPERATORS
from stockml.errors import describe_error

Floats = NDArray[np.float64]
Value = Floats | np.float64
_CHUNK_BYTES = 128 << 20  # of expressions evaluated together


@dataclass(frozen=True)
class Rows:
    """The rows of all stocks: each stock's together, in order of time."""

    columns: Mapping[str, Floats]
    """(R,) each."""
    dates: NDArray[np.datetime64]
    """(R,)"""
    starts: NDArray[np.int64]
    """(K + 1,) the first row of each stock, then R."""


@dataclass(frozen=True)
class _Step:
    """One value of the plan: a node, and the steps that its function takes arrays from."""

    node: Node
    taken: tuple[int, ...] = ()


class _Plan:
    """The steps of several expressions, each distinct one once, inputs first."""

    def __init__(self, roots: Sequence[Node], known: Mapping[Node, str]) -> None:
        self.steps: list[_Step] = []
        self.known = known
        """Nodes whose values are there already, and the column that holds them."""
        self._numbers: dict[object, int] = {}
        self.results = [self._add(root) for root in roots]
        self.last_use = dict.fromkeys(self.results, len(self.steps))
        for number, step in enumerate(self.steps):
            for taken in step.taken:
                self.last_use[taken] = max(self.last_use.get(taken, 0), number)

    def _add(self, node: Node) -> int:
        if isinstance(node, Number):
            return self._step(("number", repr(node.value)), node, ())
        if isinstance(node, Column):
            return self._step(("column", node.name), node, ())
        if node.operator.scope == "day":
            return self._add(Column(self.known[node]))
        taken = [self._add(given) for given in node.inputs]
        for part in node.operator.parts:
            inputs = tuple(node.inputs[place] for place in part.inputs)
            taken.append(self._add(Call(OPERATORS[part.operator], inputs, node.parameters[:1])))
        return self._step((node.operator.name, node.parameters, *taken), node, tuple(taken))

    def _step(self, key: object, node: Node, taken: tuple[int, ...]) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self.steps)
            self.steps.append(_Step(node, taken))
        return self._numbers[key]


def evaluate(expressions: Sequence[Expression], rows: Rows) -> Iterator[Floats]:
    """The values of each expression in turn, (R,) each.

    Raises ExpressionError where a column is missing. Infinite values and NaN are values.
    """
    size = rows.dates.size
    at_once = max(_CHUNK_BYTES // (8 * max(size, 1)), 1)
    for first in range(0, len(expressions), at_once):
        chunk = expressions[first : first + at_once]
        values = [np.empty(size) for _ in chunk]
        for where, found in evaluate_stocks(chunk, rows):
            for result, of_stock in zip(values, found, strict=True):
                result[where] = of_stock
        while values:
            yield values.pop(0)


def evaluate_stocks(expressions: Sequence[Expression], rows: Rows) -> Iterator[tuple[slice, Floats]]:
    """The values of all expressions, a stock at a time: the stock's rows, and (expressions, rows).

    It needs memory for one stock (and an array (R,) for each distinct cross-sectional operator). Raises as `evaluate`.
    """
    for expression in expressions:
        for column in expression.columns:
            if column not in rows.columns:
                there = ", ".join(rows.columns)
                raise ExpressionError(f"{expression.text}: there is no column {column}; there are {there}")
    roots = [expression.root for expression in expressions]
    rows, known = _with_cross_sections(roots, rows)
    plan = _Plan(roots, known)
    for first, last in zip(rows.starts[:-1].tolist(), rows.starts[1:].tolist(), strict=True):
        where = slice(first, last)
        yield where, _of_stock(plan, rows, where)


def _with_cross_sections(roots: Sequence[Node], rows: Rows) -> tuple[Rows, dict[Node, str]]:
    """The rows with a further column for each cross-sectional operator, innermost first."""
    found: list[Call] = []
    for root in roots:
        _collect(root, found)
    if not found:
        return rows, {}
    known: dict[Node, str] = {}
    columns = dict(rows.columns)
    _, days = np.unique(rows.dates, return_inverse=True)
    for node in found:
        if node in known:
            continue
        rows = Rows(columns, rows.dates, rows.starts)
        plan = _Plan(node.inputs, known)
        inputs = np.empty((len(node.inputs), rows.dates.size))
        for first, last in zip(rows.starts[:-1].tolist(), rows.starts[1:].tolist(), strict=True):
            inputs[:, first:last] = _of_stock(plan, rows, slice(first, last))
        name = f"\0{len(known)}"
        with np.errstate(all="ignore"):
            columns[name] = node.operator.function(*inputs, days.astype(np.int64), *node.parameters)
        known[node] = name
    return Rows(columns, rows.dates, rows.starts), known


def _collect(node: Node, found: list[Call]) -> None:
    if isinstance(node, Call):
        for given in node.inputs:
            _collect(given, found)
        if node.operator.scope == "day":
            found.append(node)


def _of_stock(plan: _Plan, rows: Rows, where: slice) -> Floats:
    """The plan's results (results, rows of the stock)."""
    size = where.stop - where.start
    values: dict[int, Value] = {}
    with np.errstate(all="ignore"):
        for number, step in enumerate(plan.steps):
            values[number] = _value(step, [values[taken] for taken in step.taken], rows, where)
            for taken in set(step.taken):
                if plan.last_use[taken] == number:
                    del values[taken]
    results = np.empty((len(plan.results), size))
    for place, number in enumerate(plan.results):
        results[place] = values[number]
    return results


def _value(step: _Step, taken: list[Value], rows: Rows, where: slice) -> Value:
    node = step.node
    if isinstance(node, Number):
        return np.float64(node.value)
    if isinstance(node, Column):
        return _unwritable(np.ascontiguousarray(rows.columns[node.name][where], dtype=np.float64).view())
    operator, size = node.operator, where.stop - where.start
    if operator.scope == "dates":
        return _unwritable(operator.function(rows.dates[where], *node.parameters))
    if operator.scope == "window":
        taken = [np.full(size, value) if np.ndim(value) == 0 else value for value in taken]
    try:
        found = np.asarray(operator.function(*taken, *node.parameters), dtype=np.float64)
    except MemoryError:
        raise
    except Exception as error:
        raise ExpressionError(f"{operator.signature} failed: {describe_error(error)}") from error
    if found.shape != (size,) and not (operator.scope == "row" and found.ndim == 0):
        raise ExpressionError(f"{operator.signature} must return an array of shape {(size,)}, not {found.shape}")
    return _unwritable(found)


def _unwritable(values: Floats) -> Floats:
    """The same array, safe from the functions that take it: others take it too."""
    values.flags.writeable = False
    return values
