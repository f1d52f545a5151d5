"""The part of a sweep's page that is about its search, drawn from search.json."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stockml.config.values import show
from stockml.reporting import drawing, search_file
from stockml.reporting.document import Section, Table
from stockml.reporting.drawing import GRID, INK, MODEL, MUTED, RIVAL, Plot

if TYPE_CHECKING:
    from stockml.runs.sweep_folder import SweepFolder

Trial = Mapping[str, Any]
_MOST_AXES = 12  # of a plot of parallel coordinates: the most important parameters
_MOST_VALUES = 8  # of a parameter's choices that its axis names
_BEST_SHARE = 0.1  # of the trials, those that the plot of parallel coordinates shows in colour


def sections(folder: SweepFolder) -> list[Section]:
    """The section of a sweep that was a search, else none."""
    found = search_file.read(folder)
    trials = [trial for trial in found.get("trials", ()) if not trial["is_repeated"]]
    done = [trial for trial in trials if trial["state"] == "complete"]
    if not done:
        return []
    objectives, directions = found["objectives"], found["directions"]
    states = [trial["state"] for trial in trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    others = sum(trial["state"] in ("complete", "pruned") and not _is_here(folder, trial) for trial in trials)
    text = [f"{len(trials)} trials: {counts}{f'; {others} of them by searches elsewhere' if others else ''}."]
    importances = found.get("importances") or {}
    if len(objectives) == 1:
        plots = [_history(trials, objectives[0], directions[0])]
        tables = []
    else:
        front = _front(done, directions)
        plots = [_pareto(done, front, objectives)]
        rows = [[_name(trial), *map(show, _rounded(trial["values"]))] for trial in front]
        tables = [Table("Trials that no other is better than in every objective", ["job", *objectives], rows)]
    plots += [_importances(name, of) for name, of in importances.items() if of]
    plots += _parallel(done, objectives[0], directions[0], list(importances.get(objectives[0]) or ()))
    return [Section("Search", text, tables, plots)]


def _is_here(folder: SweepFolder, trial: Trial) -> bool:
    return trial["job"] is not None and (folder.path / trial["job"]).is_dir()


def _name(trial: Trial) -> str:
    return str(trial["job"] or f"trial {trial['number']}")


def _rounded(values: Sequence[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _history(trials: Sequence[Trial], objective: str, direction: str) -> Plot:
    """Each trial's value in the order of drawing, and the best so far."""
    sign = 1.0 if direction == "minimize" else -1.0
    done = [(trial["number"], trial["values"][0]) for trial in trials if trial["state"] == "complete"]
    pruned = [(t["number"], t["values"][0]) for t in trials if t["state"] == "pruned" and t["values"]]
    power, factor = drawing.power(np.array([value for _, value in done]))
    best = sign * np.minimum.accumulate([sign * value for _, value in done])
    figure, axes = drawing.axes()
    for points, colour, name in ((pruned, MUTED, "pruned, its last epoch"), (done, MODEL, "complete")):
        if points:
            axes.plot([x for x, _ in points], [factor * y for _, y in points], "o", color=colour, label=name, alpha=0.7)
    steps = [*(x for x, _ in done), trials[-1]["number"]]
    axes.step(steps, factor * np.append(best, best[-1]), where="post", color=RIVAL, label="best so far")
    shown = factor * np.array([value for _, value in done])
    spread = max(float(np.ptp(shown)), 1e-9 * float(np.abs(shown).max()))
    axes.set_ylim(shown.min() - 0.1 * spread, shown.max() + 0.3 * spread)  # not by losses far off of pruned trials
    drawing.whole_numbers(axes)
    drawing.label(axes, "trial", f"{objective}{power}", legend=True)
    return Plot(
        "search_history",
        "Trials in the order of drawing",
        f"{objective} of each trial, on validation. The line is the best so far of the complete trials.",
        f"The best {objective} is {best[-1]:.4g} after {len(done)} complete and {len(pruned)} pruned trials.",
        figure,
    )


def _importances(objective: str, shares: Mapping[str, float]) -> Plot:
    """How much of the spread of an objective each parameter explains."""
    names = sorted(shares, key=lambda name: -shares[name])
    figure, axes = drawing.named_rows(names, 0.24)
    axes.barh(range(len(names)), [100 * shares[name] for name in names], color=MODEL, height=0.6)
    drawing.label(axes, "% of the importance", f"what {objective} depends on")
    return Plot(
        f"search_importances{'' if objective == 'loss' else '_' + objective.replace('/', '_')}",
        f"Importance of parameters for {objective}",
        "By optuna’s PED-ANOVA (Watanabe et al., 2023): what sets the best trials apart from all complete ones.",
        "; ".join(f"{name} {shares[name]:.0%}" for name in names) + ".",
        figure,
    )


def _parallel(done: Sequence[Trial], objective: str, direction: str, ranked: Sequence[str]) -> Iterator[Plot]:
    """A line a trial through its parameters, and at the end its value; none where only some trials have them."""
    shared = [key for key in done[0]["params"] if all(key in trial["params"] for trial in done)]
    names = [*(key for key in ranked if key in shared), *(key for key in shared if key not in ranked)][:_MOST_AXES]
    if len(names) < 2 or len(done) < 2:
        return
    sign = 1.0 if direction == "minimize" else -1.0
    by_value = sorted(done, key=lambda trial: -sign * trial["values"][0])  # the best last: drawn on top
    best = math.ceil(_BEST_SHARE * len(done))
    figure, axes = drawing.axes(3.3, left=0.95)
    figure.subplots_adjust(bottom=1.15 / 3.3)
    heights = {name: _heights([trial["params"][name] for trial in by_value]) for name in names}
    heights[objective] = _heights([trial["values"][0] for trial in by_value])
    columns = list(heights)
    for number in range(len(by_value)):
        is_best = number >= len(by_value) - best
        colour, width, alpha = (RIVAL, 1.4, 0.95) if is_best else (MUTED, 0.7, 0.35)
        line = [heights[name][0][number] for name in columns]
        axes.plot(range(len(columns)), line, color=colour, linewidth=width, alpha=alpha)
    for place, name in enumerate(columns):
        axes.axvline(place, color=GRID, linewidth=0.8)
        for height, text in heights[name][1]:
            axes.text(place, height, f" {text}", fontsize=6.5, color=INK, va="center")
    axes.set_xticks(range(len(columns)), [drawing.short(name) for name in columns], rotation=40, ha="right")
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_xlim(-0.1, len(columns) - 0.4)
    drawing.label(axes, "", f"the best {best} of {len(done)} complete trials in colour")
    values = "; ".join(f"{name} {show(by_value[-1]['params'][name])}" for name in names)
    yield Plot(
        "search_parallel",
        "Parameters of the trials",
        f"A line a trial, through its parameters to its {objective}; an axis of large range is logarithmic."
        + (f" The {len(names)} most important of {len(shared)} parameters." if len(names) < len(shared) else ""),
        f"The best trial has {values}.",
        figure,
    )


def _heights(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Where the values lie on an axis from 0 to 1, and the texts on it."""
    if any(isinstance(value, (str, bool)) or value is None for value in values):
        names = sorted({show(value) for value in values})
        places = {name: number / max(len(names) - 1, 1) for number, name in enumerate(names)}
        named = [(places[name], drawing.short(name, 9)) for name in names] if len(names) <= _MOST_VALUES else []
        return [places[show(value)] for value in values], named
    numbers = np.array(values, dtype=float)
    low, high = numbers.min(), numbers.max()
    scaled = np.log(numbers) if low > 0 and high >= 20 * low else numbers
    spread = float(np.ptp(scaled))
    heights = (scaled - scaled.min()) / spread if spread else np.full(len(scaled), 0.5)
    ends = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if spread else [(0.5, f"{low:.3g}")]
    return heights.tolist(), ends


def _front(done: Sequence[Trial], directions: Sequence[str]) -> list[Trial]:
    """The trials that no other is at least as good as in every objective, and better in one; by the first objective."""
    signs = np.array([1.0 if direction == "minimize" else -1.0 for direction in directions])
    costs = signs * np.array([trial["values"] for trial in done])
    dominated = [bool(((costs <= own).all(axis=1) & (costs < own).any(axis=1)).any()) for own in costs]
    kept = [number for number in range(len(done)) if not dominated[number]]
    return [done[number] for number in sorted(kept, key=lambda number: float(costs[number, 0]))]


def _pareto(done: Sequence[Trial], front: Sequence[Trial], objectives: Sequence[str]) -> Plot:
    """The trials by their first two objectives."""
    figure, axes = drawing.axes()
    scales = [drawing.power(np.array([trial["values"][n] for trial in done])) for n in (0, 1)]
    for trials, colour, name in ((done, MUTED, "dominated"), (front, RIVAL, "Pareto front")):
        points = [[scale * trial["values"][n] for n, (_, scale) in enumerate(scales)] for trial in trials]
        axes.plot([x for x, _ in points], [y for _, y in points], "o", color=colour, label=name)
    across, up = (f"{name}{power}" for name, (power, _) in zip(objectives, scales, strict=False))
    drawing.label(axes, across, up, legend=True)
    more = f" There are {len(objectives)} objectives; the others are in the table." if len(objectives) > 2 else ""
    return Plot(
        "search_pareto",
        "Pareto front",
        f"A dot a complete trial. No other is better than one of the front in every objective.{more}",
        "The front: " + "; ".join(f"{_name(t)}: {', '.join(map(show, _rounded(t['values'])))}" for t in front) + ".",
        figure,
    )
