"""Plots of a run's training: its losses, and where its splits lie. All are made within `drawing.style()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stockml.reporting import drawing
from stockml.reporting.drawing import INK, MODEL, MUTED, RIVAL, TIME_AXIS, Plot

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """The losses of E epochs, E > 0."""

    train: Floats
    """(E,)"""
    validation: Floats
    """(E,)"""
    best_epoch: int
    """From 1."""

    @property
    def best(self) -> float:
        """The validation loss of the best epoch."""
        return float(self.validation[self.best_epoch - 1])


@dataclass(frozen=True)
class Span:
    """A split's place in time."""

    split: str
    first: Any
    """Day or number of its first sample."""
    last: Any


def losses(history: History, loss: str, note: str = "") -> Plot:
    """Train and validation loss by epoch; `note` ends the caption."""
    figure, axes = drawing.axes()
    power, factor = drawing.power(np.concatenate([history.train, history.validation]))
    epochs = np.arange(1, len(history.train) + 1)
    marker = "o" if len(epochs) <= 60 else ""
    axes.plot(epochs, history.train * factor, color=MUTED, linestyle="--", marker=marker, label="train")
    axes.plot(epochs, history.validation * factor, color=MODEL, marker=marker, label="validation")
    axes.axvline(history.best_epoch, color=RIVAL, linewidth=1, linestyle=":")
    best = f"best, epoch {history.best_epoch}"
    axes.plot(history.best_epoch, history.best * factor, "o", color=RIVAL, markersize=5, label=best)
    drawing.whole_numbers(axes)
    drawing.label(axes, "epoch", f"{loss}{power}", legend=True)
    return Plot(
        "losses",
        "Loss by epoch",
        "The train loss is measured during the epoch, with dropout; the validation loss after it. The weights of the "
        f"best epoch are kept.{note}",
        f"Over {len(epochs)} epochs the train loss ({loss}) goes from {_from_to(history.train)}, the validation loss "
        f"from {_from_to(history.validation)}, best at epoch {history.best_epoch} with {history.best:.4g}.",
        figure,
    )


def losses_of_models(models: Mapping[str, History], loss: str, note: str = "") -> Plot:
    """Validation loss by epoch, a line for each fold of a walk-forward run and each member of an ensemble, by title."""
    figure, axes = drawing.axes()
    for number, history in enumerate(models.values(), start=1):
        relative = history.validation / history.validation[0]
        shade = 0.3 + 0.7 * number / len(models)
        axes.plot(np.arange(1, len(relative) + 1), relative, color=MODEL, alpha=shade)
        axes.plot(history.best_epoch, relative[history.best_epoch - 1], "o", color=RIVAL, markersize=4)
    axes.plot([], [], color=MODEL, label="a model, the later the darker")
    axes.plot([], [], "o", color=RIVAL, markersize=4, label="best epoch")
    axes.axhline(1, color=INK, linewidth=0.8)
    drawing.whole_numbers(axes)
    drawing.label(axes, "epoch", f"{loss}, epoch 1 = 1", legend=True)
    text = "; ".join(
        f"{name} from {history.validation[0]:.4g} to {history.best:.4g} at epoch {history.best_epoch}"
        for name, history in models.items()
    )
    return Plot(
        "losses",
        "Validation loss by epoch, for each model",
        f"Each model’s validation loss relative to its first epoch, as folds differ in volatility.{note}",
        f"Validation loss ({loss}) of {len(models)} models at the first and at the best epoch: {text}.",
        figure,
    )


def timeline(rows: Mapping[str, Sequence[Span]], *, dated: bool) -> Plot:
    """Where train, validation and test are in time, a row for each name."""
    figure, axes = drawing.named_rows(list(rows), 0.3)
    several = any(len(spans) > 1 for spans in rows.values())
    for number, spans in enumerate(rows.values()):
        for span in spans:
            first, last = (_days(day) if dated else day for day in (span.first, span.last))
            label = span.split if number == 0 else "_"
            axes.barh(number, last + 1 - first, 0.62, left=first, color=_COLOURS[span.split], linewidth=0, label=label)
    if dated:
        drawing.dates(axes)
    drawing.label(axes, TIME_AXIS[dated], "", legend=several)
    text = "; ".join(
        f"{name}: {', '.join(f'{span.split} {span.first} to {span.last}' for span in spans)}"
        for name, spans in rows.items()
    )
    return Plot(
        "timeline",
        "Splits",
        "Where the samples of each split are in time. Choices are made on validation, never on test.",
        f"Splits, by the {TIME_AXIS[dated]}: {text}.",
        figure,
    )


_COLOURS = {"train": MUTED, "validation": RIVAL, "test": MODEL}


def _days(date: str) -> float:
    """Days since 1970, as matplotlib counts them."""
    return float(np.datetime64(date).astype("datetime64[s]").astype(int)) / 86_400


def _from_to(values: Floats) -> str:
    return f"{values[0]:.4g} to {values[-1]:.4g}"
