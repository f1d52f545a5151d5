"""The operators of the expressions: one table.

A package adds an operator by an entry point in the group `stockml.features`, whose name is the operator's name and
whose value is an `Operator`:

    [project.entry-points."stockml.features"]
    Range = "my_package:RANGE"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stockml.data.features import cross_section, windows

Floats = NDArray[np.float64]
ENTRY_POINTS = "stockml.features"
MAX_WINDOW = 10_000
"""The longest window, in rows."""


@dataclass(frozen=True)
class Parameter:
    """A number that an operator takes after its expressions."""

    name: str
    low: float
    high: float = float(MAX_WINDOW)
    default: float | None = None
    """None: it must be given."""
    whole: bool = True
    """Whether it must be a whole number; the function gets it as int then, else as float."""
    is_window: bool = True
    """Whether it counts rows."""


@dataclass(frozen=True)
class Part:
    """A further array that an operator's function takes: another operator of some of its inputs, same window."""

    operator: str
    inputs: tuple[int, ...] = (0,)


WINDOW = Parameter("n", 1)
"""The length of a window, in rows."""


def _no_rows(*_parameters: float) -> int:
    return 0


def window_lookback(n: float, *_others: float) -> int:
    """Rows before the current one in a window of n rows."""
    return int(n) - 1


def lag_lookback(n: float) -> int:
    """Rows before the current one, if the row n earlier is needed."""
    return int(n)


@dataclass(frozen=True)
class Operator:
    """An operator: its function on float64 arrays, and what it takes."""

    name: str
    function: Callable[..., Floats]
    """Takes the inputs, the parts, then the parameters; all arrays and the result are (R,).

    row, window: R are the rows of one stock in order of time. In row, a number among the inputs stays a number.
    dates: the rows' dates (R,) of datetime64[D] take the place of the inputs.
    day: R are the rows of all stocks, and the number of each row's day (R,) follows the inputs.
    """
    inputs: tuple[str, ...]
    """Names of the expressions that it takes, as its signature shows them."""
    meaning: str
    """One line."""
    parameters: tuple[Parameter, ...] = ()
    scope: Literal["row", "window", "dates", "day"] = "window"
    lookback: Callable[..., int] = _no_rows
    """Of the parameters: the rows before the current one that the value needs."""
    parts: tuple[Part, ...] = ()
    keeps_nan: bool = True
    """Whether NaN in any row of the lookback, in any input, gives NaN."""
    from_first_row: bool = False
    """Whether all rows from the stock's first on have an influence, and not those of the lookback alone."""
    outputs: tuple[str, ...] = ()
    """Names of its outputs, if it has several; one of them is chosen as in `MACD($close, 12, 26, 9).signal`."""

    @property
    def signature(self) -> str:
        """How it is written: `Mean(x, n)`."""
        taken = [
            parameter.name if parameter.default is None else f"{parameter.name}={parameter.default:g}"
            for parameter in self.parameters
        ]
        return f"{self.name}({', '.join([*self.inputs, *taken])})"


def _with_nan(function: Callable[..., NDArray[np.bool_]]) -> Callable[..., Floats]:
    """1.0 or 0.0 of a test, NaN where an input is NaN."""

    def tested(*inputs: Floats) -> Floats:
        missing = np.isnan(inputs[0])
        for array in inputs[1:]:
            missing = missing | np.isnan(array)
        return np.where(missing, np.nan, function(*inputs))

    return tested


def _choose(condition: Floats, x: Floats, y: Floats) -> Floats:
    return np.where(np.isnan(condition), np.nan, np.where(condition != 0, x, y))


def _power(x: Floats, y: Floats) -> Floats:
    powers: Floats = np.asarray(np.power(x, y))  # 1 ** NaN would be 1
    return np.where(np.isnan(x) | np.isnan(y), np.nan, powers)


def _delta(x: Floats, n: int) -> Floats:
    return x - windows.shift(x, n)


def _return(x: Floats, n: int) -> Floats:
    return x / windows.shift(x, n) - 1


def _log_return(x: Floats, n: int) -> Floats:
    ratio = x / windows.shift(x, n)
    return np.log(ratio, out=ratio)


def _rsquare(_x: Floats, slopes: Floats, variances: Floats, n: int) -> Floats:
    explained = slopes * slopes * (n * (n + 1) / 12)
    return np.clip(explained / variances, 0, 1)


def _residual(x: Floats, means: Floats, slopes: Floats, n: int) -> Floats:
    return (x - means) - slopes * ((n - 1) / 2)


def _correlation(
    _x: Floats, _y: Floats, covariances: Floats, x_variances: Floats, y_variances: Floats, _n: int
) -> Floats:
    spreads: Floats = np.sqrt(x_variances) * np.sqrt(y_variances)
    return np.clip(covariances / spreads, -1, 1)


def _day_of_week(dates: NDArray[np.datetime64]) -> Floats:
    days = dates.astype("datetime64[D]").astype(np.int64)
    return ((days + 3) % 7).astype(np.float64)  # 1970-01-01 was a Thursday


def _month(dates: NDArray[np.datetime64]) -> Floats:
    months = dates.astype("datetime64[M]").astype(np.int64)
    return (months % 12 + 1).astype(np.float64)


def _rows(name: str, function: Callable[..., Floats], inputs: str, meaning: str, *, keeps_nan: bool = True) -> Operator:
    return Operator(name, function, tuple(inputs.split()), meaning, scope="row", keeps_nan=keeps_nan)


def _window(
    name: str,
    function: Callable[..., Floats],
    meaning: str,
    *,
    parts: tuple[Part, ...] = (),
    low: int = 1,
    inputs: tuple[str, ...] = ("x",),
) -> Operator:
    parameters = (Parameter("n", low),)
    return Operator(name, function, inputs, meaning, parameters, lookback=window_lookback, parts=parts)


# Only the two rows n apart count, so NaN between them does not matter.
def _lagged(name: str, function: Callable[..., Floats], meaning: str, default: float | None, low: int = 1) -> Operator:
    return Operator(
        name, function, ("x",), meaning, (Parameter("n", low, default=default),), lookback=lag_lookback, keeps_nan=False
    )


_MEAN, _VAR, _SLOPE = Part("Mean"), Part("Var"), Part("Slope")

_TABLE = (
    _rows("Add", np.add, "x y", "x + y"),
    _rows("Sub", np.subtract, "x y", "x - y"),
    _rows("Mul", np.multiply, "x y", "x * y"),
    _rows("Div", np.divide, "x y", "x / y"),
    _rows("Power", _power, "x y", "x to the power y; also x ** y"),
    _rows("Gt", _with_nan(np.greater), "x y", "1 if x > y, else 0"),
    _rows("Ge", _with_nan(np.greater_equal), "x y", "1 if x >= y, else 0"),
    _rows("Lt", _with_nan(np.less), "x y", "1 if x < y, else 0"),
    _rows("Le", _with_nan(np.less_equal), "x y", "1 if x <= y, else 0"),
    _rows("Eq", _with_nan(np.equal), "x y", "1 if x == y, else 0"),
    _rows("Ne", _with_nan(np.not_equal), "x y", "1 if x != y, else 0"),
    _rows("And", _with_nan(np.logical_and), "x y", "1 if neither is 0, else 0; also x & y"),
    _rows("Or", _with_nan(np.logical_or), "x y", "1 if either is not 0, else 0; also x | y"),
    _rows("Not", _with_nan(np.logical_not), "x", "1 if x is 0, else 0"),
    _rows("If", _choose, "condition x y", "x where the condition is not 0, else y", keeps_nan=False),
    _rows("Greater", np.maximum, "x y", "the greater of the two"),
    _rows("Less", np.minimum, "x y", "the smaller of the two"),
    _rows("Abs", np.abs, "x", "absolute value"),
    _rows("Log", np.log, "x", "natural logarithm"),
    _rows("Sign", np.sign, "x", "-1, 0 or 1"),
    _lagged("Ref", windows.shift, "x of n rows earlier; in a target, n < 0 is later", None, low=0),
    _lagged("Delta", _delta, "x minus x of n rows earlier", None),
    _lagged("Diff", _delta, "x minus x of n rows earlier", 1),
    _lagged("Return", _return, "x over x of n rows earlier, minus 1", 1),
    _lagged("LogReturn", _log_return, "log of x over x of n rows earlier", 1),
    _window("Mean", windows.mean, "mean"),
    _window("Sum", windows.total, "sum"),
    _window("Var", windows.variance, "variance (n - 1 in the denominator)", low=2),
    _window("Std", lambda _x, v, _n: np.sqrt(v), "standard deviation, the root of Var", parts=(_VAR,), low=2),
    _window("Skew", windows.skewness, "skewness, bias corrected", parts=(_MEAN,), low=3),
    _window("Kurt", windows.kurtosis, "excess kurtosis, bias corrected", parts=(_MEAN,), low=4),
    _window("Max", windows.maximum, "maximum"),
    _window("Min", windows.minimum, "minimum"),
    _window("IdxMax", windows.position_of_maximum, "position of the first maximum, 1 for the oldest row"),
    _window("IdxMin", windows.position_of_minimum, "position of the first minimum, 1 for the oldest row"),
    _window("Med", lambda x, n: windows.quantile(x, n, 0.5), "median"),
    _window("Mad", windows.mean_deviation, "mean absolute deviation from the mean", parts=(_MEAN,)),
    _window("Rank", windows.rank, "rank of the newest value over n, ties averaged"),
    Operator(
        "Quantile",
        windows.quantile,
        ("x",),
        "quantile q, linear between values",
        (WINDOW, Parameter("q", 0, 1, whole=False, is_window=False)),
        lookback=window_lookback,
    ),
    Operator(
        "Count",
        windows.count,
        ("x",),
        "number of values that are not NaN",
        (WINDOW,),
        lookback=window_lookback,
        keeps_nan=False,
    ),
    Operator(
        "EMA",
        windows.exponential_mean,
        ("x",),
        "exponential mean of span n, from the stock's first row",
        (WINDOW,),
        lookback=window_lookback,
        keeps_nan=False,
        from_first_row=True,
    ),
    _window("WMA", windows.weighted_mean, "mean of w * x with weights w = 1 ... n over their sum, as in Qlib"),
    _window("Slope", windows.slope, "slope of the regression on 1 ... n", low=2),
    _window("Rsquare", _rsquare, "R² of the regression on 1 ... n", parts=(_SLOPE, _VAR), low=2),
    _window("Resi", _residual, "newest residual of the regression on 1 ... n", parts=(_MEAN, _SLOPE), low=2),
    _window(
        "Corr",
        _correlation,
        "correlation",
        parts=(Part("Cov", (0, 1)), Part("Var", (0,)), Part("Var", (1,))),
        low=2,
        inputs=("x", "y"),
    ),
    _window("Cov", windows.covariance, "covariance (n - 1 in the denominator)", low=2, inputs=("x", "y")),
    _window(
        "ZScore",
        lambda x, m, s, _n: (x - m) / s,
        "(x - Mean) / Std",
        parts=(_MEAN, Part("Std")),
        low=2,
    ),
    Operator("DayOfWeek", _day_of_week, (), "0 on Monday ... 6 on Sunday", scope="dates"),
    Operator("Month", _month, (), "1 in January ... 12 in December", scope="dates"),
    Operator("CSRank", cross_section.rank, ("x",), "rank among the day's stocks over their number", scope="day"),
    Operator("CSZScore", cross_section.z_score, ("x",), "standard score among the day's stocks", scope="day"),
    Operator("CSDemean", cross_section.demean, ("x",), "x minus the mean of the day's stocks", scope="day"),
)

OPERATORS: dict[str, Operator] = {operator.name: operator for operator in _TABLE}
