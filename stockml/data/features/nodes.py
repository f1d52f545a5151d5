"""The tree of an expression."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stockml.data.features.operators import Operator


class ExpressionError(ValueError):
    """What is wrong with an expression and what to do, in one line."""

    def __init__(self, message: str) -> None:
        line = " ".join(message.split())
        super().__init__("".join(letter if letter.isprintable() else "?" for letter in line))


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Column:
    """A column of the rows, by its name."""

    name: str


@dataclass(frozen=True)
class Call:
    """An operator with the expressions and the numbers that it is given."""

    operator: Operator
    inputs: tuple[Node, ...] = ()
    parameters: tuple[float, ...] = ()


Node = Number | Column | Call


def walk(root: Node) -> Iterator[Node]:
    """Every node, in order of appearance in the text."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, Call):
            waiting.extend(reversed(node.inputs))


def rows_back(root: Node) -> dict[str, int]:
    """How many rows before the current one the newest value of each column lies that an expression uses."""
    found: dict[str, int] = {}
    waiting = [(root, 0)]
    while waiting:
        node, back = waiting.pop()
        if isinstance(node, Column):
            found[node.name] = min(back, found.get(node.name, back))
        elif isinstance(node, Call):
            back += node.operator.lookback(*node.parameters) if node.operator.name == "Ref" else 0
            waiting.extend((child, back) for child in node.inputs)
    return found


def without_comparison(root: Node) -> Node:
    """The tree with what is compared between stocks in place of the comparison."""
    if not isinstance(root, Call):
        return root
    inputs = tuple(without_comparison(node) for node in root.inputs)
    return inputs[0] if root.operator.scope == "day" else Call(root.operator, inputs, root.parameters)
