"""Finding an operator by its name, and checking what it is given."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from stockml.config import entry_points
from stockml.data.features import indicators
from stockml.data.features.nodes import ExpressionError, Node
from stockml.data.features.operators import ENTRY_POINTS, OPERATORS, Operator, Parameter
from stockml.errors import UserError

__all__ = ["OPERATORS", "bind", "check_bare_name", "check_call", "find"]


def find(name: str) -> Operator:
    """The operator of that name: of the table, of TA-Lib, or of an installed package.

    Raises ExpressionError, with the nearest name where there is one.
    """
    operator = OPERATORS.get(name) or indicators.find(name) or _installed(name)
    if operator is None:
        raise ExpressionError(_unknown(name))
    return operator


def check_bare_name(name: str) -> None:
    """Refuse an operator's name without arguments, which reads like a column."""
    if name in OPERATORS:
        raise ExpressionError(f"{name} is an operator: write {OPERATORS[name].signature}, or ${name} for a column")


def check_call(name: str, count: int, output: str | None) -> Operator:
    """The operator of that name if it takes `count` arguments and has such an output; else ExpressionError."""
    operator = find(name)
    if output is not None and not operator.outputs:
        raise ExpressionError(f"{name}(…).{output}: {name} has one output only; leave .{output} out")
    if operator.outputs and output not in operator.outputs:
        raise ExpressionError(
            f"{name}(…){'' if output is None else f'.{output}'}: choose an output of {name}: "
            f"{', '.join(f'.{known}' for known in operator.outputs)}"
        )
    most = len(operator.inputs) + len(operator.parameters)
    least = most - sum(parameter.default is not None for parameter in operator.parameters)
    if not least <= count <= most:
        takes = str(most) if least == most else f"{least} to {most}"
        raise ExpressionError(
            f"{name} takes {takes} argument{'' if takes == '1' else 's'}, not {count}: {operator.signature}"
        )
    return operator


def bind(
    operator: Operator, inputs: Sequence[Node], numbers: Sequence[float], output: str | None, *, target: bool
) -> tuple[Operator, tuple[Node, ...], tuple[float, ...]]:
    """What a Call is made of: the numbers checked, the missing ones by their defaults."""
    values = []
    for place, parameter in enumerate(operator.parameters):
        if place >= len(numbers):
            assert parameter.default is not None
            values.append(int(parameter.default) if parameter.whole else parameter.default)
        else:
            values.append(_checked(operator, parameter, numbers[place], target=target))
    indicators.check(operator, values)
    if output is not None:
        operator = indicators.choose(operator, output)
    return operator, tuple(inputs), tuple(values)


def _checked(operator: Operator, parameter: Parameter, value: float, *, target: bool) -> float:
    low = -parameter.high if operator.name == "Ref" and target else parameter.low
    fault = f"{operator.signature}: {parameter.name} must be "
    if operator.name == "Ref" and value < low:
        raise ExpressionError(f"Ref(x, {value:g}) looks ahead: a feature may use no later row; write Ref(x, n), n ≥ 0")
    if parameter.whole and (value != int(value) or not low <= value <= parameter.high):
        kind = (
            f"a whole number from {low:g} to {parameter.high:g}"
            if value > parameter.high
            else (f"a whole number ≥ {low:g}")
        )
        hint = "; windows over all rows so far are not supported" if value == 0 and parameter.is_window else ""
        raise ExpressionError(f"{fault}{kind}, not {value:g}{hint}")
    if not low <= value <= parameter.high:
        raise ExpressionError(f"{fault}a number from {low:g} to {parameter.high:g}, not {value:g}")
    return int(value) if parameter.whole else value


def _installed(name: str) -> Operator | None:
    try:
        operator = entry_points.find(ENTRY_POINTS, name, Operator, "operator")
    except UserError as error:
        raise ExpressionError(str(error)) from None
    return operator and replace(operator, name=name)


def _unknown(name: str) -> str:
    known = [*OPERATORS, *sorted(entry_points.names(ENTRY_POINTS)), *indicators.names()]
    spelt = {known_name.lower(): known_name for known_name in reversed(known)}
    close = difflib.get_close_matches(name.lower(), spelt, n=1, cutoff=0.6)
    nearest = f"; the nearest is {spelt[close[0]]}" if close else f"; there are {', '.join(OPERATORS)}"
    if name.isupper() and not indicators.installed():
        own = f"; or write {spelt[name.lower()]}" if name.lower() in spelt else ""
        return f"{name} needs TA-Lib: pip install 'stockml[indicators]'{own}"
    return f"there is no operator {name[:40]}{nearest}"
