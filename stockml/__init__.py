"""stockml: composable, honest and reproducible experiments in stock time-series regression.

From Python: `train` and `predict`, which do what `python run.py` does, and `Result`, a run's folder. Each is imported
when it is first used, so that `import stockml` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stockml.api import predict, train
    from stockml.errors import RunError, UserError
    from stockml.result import Result

__all__ = ["Result", "RunError", "UserError", "predict", "train"]

_HOMES = {"Result": "result", "RunError": "errors", "UserError": "errors", "predict": "api", "train": "api"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
