"""Expressions over columns, in Qlib's language: `($close-Ref($close,1))/Std($close,20)`.

A text is parsed by Python's `ast` and turned into a tree of numbers, columns and operators of the table; anything else
is refused. Nothing is ever evaluated as Python.
"""

from __future__ import annotations

import ast
import functools
import re
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

from stockml.data.features import arguments
from stockml.data.features.nodes import Call, Column, ExpressionError, Node, Number, walk, without_comparison

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "Call", "Column", "Expression", "ExpressionError", "Node", "Number", "parse"]

MAX_LENGTH = 2_000
"""The longest text, in characters."""
MAX_DEPTH = 100
"""The deepest nesting."""

_BINARY: dict[type[ast.AST], str] = {
    ast.Add: "Add",
    ast.Sub: "Sub",
    ast.Mult: "Mul",
    ast.Div: "Div",
    ast.Pow: "Power",
    ast.BitAnd: "And",
    ast.BitOr: "Or",
    ast.And: "And",
    ast.Or: "Or",
    ast.Gt: "Gt",
    ast.GtE: "Ge",
    ast.Lt: "Lt",
    ast.LtE: "Le",
    ast.Eq: "Eq",
    ast.NotEq: "Ne",
}
_LOGICAL = ("Gt", "Ge", "Lt", "Le", "Eq", "Ne", "And", "Or", "Not")
_OTHERS: dict[type[ast.AST], str] = {
    ast.BitXor: "^ is no operator: write x ** y for a power",
    ast.Mod: "% is no operator",
    ast.FloorDiv: "// is no operator: write x / y",
    ast.MatMult: "@ is no operator",
    ast.LShift: "<< is no operator: write x < y",
    ast.RShift: ">> is no operator: write x > y",
    ast.Is: "`is` is no operator: write x == y",
    ast.IsNot: "`is not` is no operator: write x != y",
    ast.In: "`in` is no operator",
    ast.NotIn: "`not in` is no operator",
    ast.IfExp: "`if … else` is not supported: write If(condition, x, y)",
}
_TOO_DEEP = f"is nested too deeply; at most {MAX_DEPTH} levels are allowed"
_COLUMN = re.compile(r"""\$(?:"[^"]*"|'[^']*'|[^\W\d]\w*)(?:\.(?:"[^"]*"|'[^']*'|[^\W\d]\w*))*""")


@dataclass(frozen=True)
class Expression:
    """A parsed expression, and what it needs."""

    text: str
    root: Node
    columns: tuple[str, ...]
    """The columns that it reads, in order of appearance, without $."""
    lookback: int
    """Rows at the start of a stock that may have no value."""
    oldest: int
    newest: int
    """The first and the last row that a value needs, counted from its own; `newest` is above 0 in targets only."""
    cross_sectional: bool
    """Whether it compares the stocks of a day."""
    from_first_row: bool
    """Whether all rows from the stock's first on have an influence (EMA, some indicators)."""

    @property
    def lookahead(self) -> int:
        """Rows after the current one; 0 unless it is a target."""
        return max(self.newest, 0)

    def alone(self) -> Expression:
        """The same for a stock without others: with what is compared in place of each comparison."""
        return replace(self, root=without_comparison(self.root), cross_sectional=False)

    @property
    def is_logical(self) -> bool:
        """Whether its values are 1 and 0, for true and false."""
        root = self.root
        while isinstance(root, Call) and root.operator.name == "Ref":
            root = root.inputs[0]
        return isinstance(root, Call) and root.operator.name in _LOGICAL


@functools.lru_cache(maxsize=4096)  # a pool asks for the same ones once per stock
def parse(text: str, *, target: bool = False) -> Expression:
    """The expression of a text; `Ref(x, -n)` is allowed in a target only.

    Raises ExpressionError: one line of what is wrong and what to do.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"is {len(text)} characters long; at most {MAX_LENGTH} are allowed")
    if not text.strip():
        raise ExpressionError("is empty: write an expression such as Mean($close, 5)")
    try:
        root = _Reader(text, target).root()
    except (RecursionError, MemoryError):
        raise ExpressionError(_TOO_DEEP) from None
    _check_depth(root)
    nodes = list(walk(root))
    columns = tuple(dict.fromkeys(node.name for node in nodes if isinstance(node, Column)))
    operators = [node.operator for node in nodes if isinstance(node, Call)]
    if not columns and not any(operator.scope == "dates" for operator in operators):
        raise ExpressionError("reads no column, so it is the same on every day: name one, such as $close")
    oldest, newest = _reach(root)
    return Expression(
        text,
        root,
        columns,
        lookback=_rows_lost(root),
        oldest=oldest,
        newest=newest,
        cross_sectional=any(operator.scope == "day" for operator in operators),
        from_first_row=any(operator.from_first_row for operator in operators),
    )


def _reach(node: Node) -> tuple[int, int]:
    """The first and the last row that a value needs, counted from its own."""
    if not isinstance(node, Call) or not node.inputs:
        return 0, 0
    reached = [_reach(given) for given in node.inputs if not isinstance(given, Number)] or [(0, 0)]
    oldest, newest = min(first for first, _ in reached), max(last for _, last in reached)
    rows = node.operator.lookback(*node.parameters)
    return oldest - rows, newest - (rows if node.operator.name == "Ref" else 0)


def _rows_lost(node: Node) -> int:
    """The rows at the start of a stock that may have no value."""
    if not isinstance(node, Call) or not node.inputs:
        return 0
    return max(0, max(map(_rows_lost, node.inputs)) + node.operator.lookback(*node.parameters))


class _Reader:
    """Turns one text into a tree."""

    def __init__(self, text: str, target: bool) -> None:
        self.text = text
        self.target = target
        self.columns: dict[str, str] = {}
        """By the identifier that stands in a column's place: the column as it is written."""
        normalized = unicodedata.normalize("NFKC", text)  # as Python reads identifiers
        self.prefix = next(prefix for n in range(len(text) + 1) if (prefix := f"column{n}_") not in normalized)

    def root(self) -> Node:
        plain, positions = self._without_dollars()
        if "#" in plain:
            raise ExpressionError(
                f"# at character {positions[plain.index('#')]}: comments are not supported; write an odd column "
                'as $"#1"'
            )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(plain, mode="eval").body
        except SyntaxError as error:
            raise ExpressionError(self._syntax(error, positions)) from None
        except ValueError as error:  # null characters, numbers of thousands of digits
            raise ExpressionError(f"cannot be read: {' '.join(str(error).split())}") from None
        _check_depth(tree)
        self.plain = plain
        return self._node(tree)

    def _without_dollars(self) -> tuple[str, list[int]]:
        """The text with an identifier in place of each $column, in one line; and each character's position in it."""
        parts: list[str] = []
        positions: list[int] = []
        end = 0
        for match in _COLUMN.finditer(self.text):
            parts.append(self.text[end : match.start()])
            positions += range(end + 1, match.start() + 1)
            identifier = f"{self.prefix}{len(self.columns)}"
            self.columns[identifier] = match.group()
            parts.append(f" {identifier} ")
            positions += [match.start() + 1] * (len(identifier) + 2)
            end = match.end()
        parts.append(self.text[end:])
        positions += range(end + 1, len(self.text) + 1)
        plain = "".join(" " if letter.isspace() else letter for letter in "".join(parts))
        if "$" in plain:
            raise ExpressionError(
                f"$ at character {positions[plain.index('$')]} has no name after it: write $close, "
                'or $"news score" for an odd name'
            )
        spaces = len(plain) - len(plain.lstrip())
        return plain.strip(), positions[spaces:]

    def _syntax(self, error: SyntaxError, positions: list[int]) -> str:
        what = self._restored(re.sub(r"\. (Perhaps|Did|Maybe|Expected).*", "", error.msg or "invalid syntax"))
        if "recursion" in what or "nested" in what:
            return _TOO_DEEP
        at = (error.offset or 0) - 1
        where = f"at character {positions[at]}" if 0 <= at < len(positions) else "at the end"
        return f"cannot be read: {what} {where}"

    def _shown(self, node: ast.AST) -> str:
        """A node as it is written, shortened."""
        segment = ast.get_source_segment(self.plain, node) or type(node).__name__
        segment = self._restored(segment)
        return segment if len(segment) <= 40 else f"{segment[:37]}…"

    def _restored(self, plain: str) -> str:
        """With the columns as they are written."""
        return re.sub(rf" ?\b{self.prefix}\d+\b ?", lambda found: self.columns[found.group().strip()], plain)

    def _node(self, node: ast.AST) -> Node:
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return self._number(node, number)
            case ast.Constant(value=str() as name):
                shown = self._restored(name)[:40]
                if re.search(r"[$(]", shown):
                    raise ExpressionError(f'"{shown}" is in quotes: write the expression without them')
                raise ExpressionError(f'"{shown}" is a text: write $"{shown}" for the column of that name')
            case ast.Name(id=name):
                return self._column(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                negated = self._node(operand)
                if isinstance(negated, Number):
                    return Number(-negated.value)
                return self._call("Mul", Number(-1.0), negated)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._node(operand)
            case ast.UnaryOp(operand=operand):  # not x, ~x
                return self._call("Not", self._node(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self._call(self._named(op, node), self._node(left), self._node(right))
            case ast.BoolOp(op=op, values=values):
                joined = self._node(values[0])
                for value in values[1:]:
                    joined = self._call(self._named(op, node), joined, self._node(value))
                return joined
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self._call(self._named(op, node), self._node(left), self._node(right))
            case ast.Compare():
                raise ExpressionError(
                    f"{self._shown(node)}: two comparisons in one; write (x > y) & (y > z), each in its own parentheses"
                )
            case ast.Call():
                return self._operator(node)
            case ast.Attribute(value=ast.Call() as call, attr=output):
                return self._operator(call, output)
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name not in self.columns:
                raise ExpressionError(
                    f"{name}.{attribute}: write ${name}.{attribute} for the column {attribute} of {name}"
                )
        raise ExpressionError(f"{self._shown(node)}: {_OTHERS.get(type(node), 'is no number, column or operator')}")

    def _named(self, op: ast.AST, node: ast.AST) -> str:
        name = _BINARY.get(type(op))
        if name is None:
            raise ExpressionError(f"{self._shown(node)}: {_OTHERS[type(op)]}")
        return name

    def _number(self, node: ast.AST, value: float) -> Number:
        if isinstance(value, bool):
            raise ExpressionError(f"{value} is no number: write {value:d}")
        try:
            number = float(value)
        except OverflowError:
            number = float("inf")
        if number in (float("inf"), float("-inf")):
            raise ExpressionError(f"{self._shown(node)} is too large a number")
        return Number(number)

    def _column(self, name: str) -> Column:
        written = self.columns.get(name)
        if written is None:
            arguments.check_bare_name(name)
            return Column(name)
        column = re.sub(r"""\$?(\.?)(?:"([^"]*)"|'([^']*)'|(\w+))""", r"\1\2\3\4", written)
        if not column.strip():
            raise ExpressionError(f'{written} names no column: write its name between the quotes, as in $"news score"')
        return Column(column)

    def _operator(self, call: ast.Call, output: str | None = None) -> Call:
        if not isinstance(call.func, ast.Name) or call.func.id in self.columns:
            raise ExpressionError(f"{self._shown(call)}: {self._shown(call.func)} is no operator")
        name = call.func.id
        if call.keywords or any(isinstance(given, ast.Starred) for given in call.args):
            raise ExpressionError(f"{self._shown(call)}: arguments are given by position alone, as in Mean($close, 5)")
        given = arguments.check_call(name, len(call.args), output)
        inputs = tuple(self._node(node) for node in call.args[: len(given.inputs)])
        numbers = [self._parameter(given.signature, node) for node in call.args[len(given.inputs) :]]
        return Call(*arguments.bind(given, inputs, numbers, output, target=self.target))

    def _parameter(self, signature: str, node: ast.AST) -> float:
        try:
            number = self._node(node)
        except ExpressionError:
            number = Column("")
        if not isinstance(number, Number):
            raise ExpressionError(f"{signature}: {self._shown(node)} must be a plain number")
        return number.value

    def _call(self, name: str, *inputs: Node) -> Call:
        return Call(arguments.OPERATORS[name], inputs)


def _check_depth(tree: ast.AST | Node) -> None:
    level: list[ast.AST | Node] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise ExpressionError(_TOO_DEEP)


def _children(node: ast.AST | Node) -> Iterable[ast.AST | Node]:
    if isinstance(node, ast.AST):
        return ast.iter_child_nodes(node)
    return node.inputs if isinstance(node, Call) else ()
