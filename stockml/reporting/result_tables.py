"""The lines in which a run reports its results: scores, folds, stocks, significance and verdict."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stockml.config.values import worded
from stockml.evaluation.metrics import (
    COUNT,
    ERROR,
    PERCENT,
    Metric,
    Scores,
    has_classes,
    has_pooled,
    has_quantiles,
    shown,
)
from stockml.evaluation.verdict import percent
from stockml.reporting import economic
from stockml.reporting.text_tables import text_table

SPLITS = ("validation", "test")
_MOST_STOCKS = 12


def results(evaluated: Mapping[str, Any], *, overfitted: bool = False) -> list[str]:
    """All results, given what metrics.json says: scores, significance, verdict.

    A run that was `overfitted` to a few batches has no skill to test; its verdict says that they were learned. Nor is
    there any of a sealed test.
    """
    is_tested = not overfitted and "significance" in evaluated
    label = "learned" if overfitted else "verdict"
    end = significance(evaluated) if is_tested else [verdict(label, evaluated)]
    tables = [result_table(evaluated), *_further_tables(evaluated), *_intervals(evaluated)]
    end = [worded(line, evaluated.get("step", "day")) for line in end]
    return [*tables, *economic.lines(evaluated), *end]


def forecasters(evaluated: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Scores by split of the model, the oracle and each baseline, given what metrics.json says."""
    oracle = {"oracle": evaluated["oracle"]} if evaluated.get("oracle") else {}
    return {"model": evaluated, **oracle, **evaluated["baselines"]}


def own_scores(evaluated: Mapping[str, Any]) -> Scores:
    """The model's scores on test, or on validation where the test is sealed."""
    found: Scores = evaluated["test" if "test" in evaluated else "validation"]
    return found


def result_table(evaluated: Mapping[str, Any]) -> str:
    """Every forecaster's scores on validation and test."""
    best = evaluated["best_baseline"]
    metrics = known(evaluated, shown("terminal", of_quantiles=has_quantiles(own_scores(evaluated))))
    rows = _rows({f"{name} *" if name == best else name: of for name, of in forecasters(evaluated).items()}, metrics)
    header = ("", "split", *(metric.name for metric in metrics))
    return f"{text_table(header, rows, left=header[:2], width=120)}\n* the best baseline on validation"


def known(evaluated: Mapping[str, Any], metrics: Sequence[Metric]) -> list[Metric]:
    """The metrics that are worth a column: of classes, without undefined ones, and without mse, which is brier."""
    if not has_classes(own_scores(evaluated)):
        return list(metrics)
    scores = [of[split] for of in forecasters(evaluated).values() for split in SPLITS if split in of]
    return [
        metric for metric in metrics if metric.name != "mse" and any(of.get(metric.name) is not None for of in scores)
    ]


def rivals(evaluated: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The comparison with each rival, given what metrics.json says; of a level, zero is named persistence."""
    is_level = "persistence" in evaluated["baselines"]
    against = evaluated["significance"]["against"]
    return {"persistence" if is_level and name == "zero" else name: of for name, of in against.items()}


def _further_tables(evaluated: Mapping[str, Any]) -> list[str]:
    """How likely a one is, of classes; how well several stocks are ranked against one another."""
    tables = {}
    if has_classes(own_scores(evaluated)):
        tables["classes"] = known(evaluated, shown("terminal", of_classes=True))
    if has_pooled(own_scores(evaluated)):
        tables["between stocks"] = shown("terminal", pooled=True)
    found = []
    for title, metrics in tables.items():
        rows = [row for row in _rows(forecasters(evaluated), metrics) if any(cell != "–" for cell in row[2:])]
        header = (title, "split", *(metric.name for metric in metrics))
        found += [text_table(header, rows, left=header[:2])] if rows else []
    return found


def _rows(scores: Mapping[str, Mapping[str, Any]], metrics: Sequence[Metric]) -> Iterator[list[str]]:
    """A row for each forecaster and split, the forecaster named once."""
    for name, of in scores.items():
        label = name
        for split in SPLITS:
            if split in of:
                yield [label, split, *(metric.format(of[split].get(metric.name)) for metric in metrics)]
                label = ""


def _intervals(evaluated: Mapping[str, Any]) -> list[str]:
    """How many targets lie in the intervals of each level, and how wide these are; a table of them and their rival."""
    found = evaluated.get("intervals", {})
    rows = [
        [f"{level} %", kind, *interval_figures(of)]
        for level, own in found.items()
        for kind, of in (("conformal", own), ("constant width", own["constant"]))
    ]
    header = ("intervals", "", *INTERVAL_FIGURES)
    return [text_table(header, rows, left=header[:2])] if rows else []


INTERVAL_FIGURES = ("coverage", "width", "score")
"""The figures of intervals: the share of targets inside, and the means of width and interval score."""


def interval_figures(of: Mapping[str, Any]) -> list[str]:
    """The figures of intervals as text."""
    return [form(of[name]) for form, name in zip((PERCENT, ERROR, ERROR), INTERVAL_FIGURES, strict=True)]


def stock_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The stocks of a pooled run by their scores on test; of many, the best and the worst."""
    metrics = _short(rows)
    ranked = sorted(rows, key=lambda row: math.inf if row["test_r2_zero"] is None else -row["test_r2_zero"])
    cells = [[row["ticker"], *_test_scores(row, metrics)] for row in ranked]
    if len(cells) > _MOST_STOCKS:
        half = _MOST_STOCKS // 2
        cells = [*cells[:half], ["…"] * (1 + len(metrics)), *cells[-half:]]
    return text_table(("stock", *(f"test_{metric.name}" for metric in metrics)), cells, left=("stock",))


def fold_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The folds of a walk-forward run by their scores on test; the data report has their days."""
    metrics, counts = _short(rows), ("epochs", "best_epoch")
    cells = [[str(row["fold"]), *(COUNT(row[name]) for name in counts), *_test_scores(row, metrics)] for row in rows]
    return text_table(("fold", *counts, *(f"test_{metric.name}" for metric in metrics)), cells, left=("fold",))


def _short(rows: Sequence[Mapping[str, Any]]) -> list[Metric]:
    """The metrics of a short table."""
    return shown("short tables", of_quantiles="test_pinball" in rows[0])


def member_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The members of a combined run, their weights and scores on test."""
    metrics = [metric for metric in _short(rows) if f"test_{metric.name}" in rows[0]]
    own = [(row["member"], row["model"], str(row["seed"]), f"{row['weight']:.3g}") for row in rows]
    cells = [[*names, *_test_scores(row, metrics)] for names, row in zip(own, rows, strict=True)]
    header = ("member", "model", "seed", "weight", *(f"test_{metric.name}" for metric in metrics))
    return text_table(header, cells, left=header[:2])


def _test_scores(row: Mapping[str, Any], metrics: Sequence[Metric]) -> list[str]:
    return [metric.format(row.get(f"test_{metric.name}")) for metric in metrics]


def significance(evaluated: Mapping[str, Any]) -> list[str]:
    """How certain the result is, and the verdict: lines of at most 100 characters, given what metrics.json says."""
    found = evaluated["significance"]
    if "quantile" in found:
        return [*_of_quantile(found), verdict("verdict", evaluated)]
    tests = [
        (f"better than {rival}?", [("Diebold–Mariano", of["diebold_mariano"]), ("Clark–West", of["clark_west"])])
        for rival, of in rivals(evaluated).items()
    ]
    direction = found["pesaran_timmermann"]
    if direction["p_value"] is not None or not has_classes(evaluated["test"]):
        tests.append(("right direction?", [("Pesaran–Timmermann", direction)]))
    if between := [(name, found[name]["test"]) for name in ("daily_ic", "daily_rank_ic") if found.get(name)]:
        tests.append(("right order of stocks?", between))
    width = max(len(question) for question, _ in tests)
    lines = [
        f"significance of {found['n']:,} test {found['unit']}; p: how often chance alone does as well",
        *(
            f"            {question:<{width}}  {'   '.join(f'{name} p {_p_value(of)}' for name, of in outcomes)}"
            for question, outcomes in tests
        ),
    ]
    if found["r2_zero_interval"] is not None:
        low, high = found["r2_zero_interval"]
        r2_ct = "" if found["r2_ct"] is None else f"   r2_ct {percent(found['r2_ct'])}"
        confidence = f"{100 * found['confidence']:g} % CI"
        lines.append(f"            r2_zero {confidence} {percent(low)} to {percent(high)}{r2_ct}")
    identity = found["r2_identity"]
    if identity["r2"] is not None:
        correlation, spread, bias = identity["correlation"] or 0.0, identity["spread_ratio"], identity["bias_ratio"]
        terms = f"ρ² {correlation**2:,.2%} − (s−ρ)² {(spread - correlation) ** 2:,.2%} − (bias/σ)² {bias**2:,.2%}"
        lines.append(f"            R² {identity['r2']:+,.2%} = {terms}")
    return [*lines, verdict("verdict", evaluated)]


def _of_quantile(found: Mapping[str, Any]) -> list[str]:
    """The tests of a quantile forecast, and the share of targets below it."""
    width = max(map(len, found["against"]))
    below = found["below_interval"]
    interval = f" ({100 * found['confidence']:g} % CI {below[0]:.1%} to {below[1]:.1%})" if below else ""
    return [
        f"significance of {found['n']:,} test {found['unit']}; p: how often chance alone does as well",
        *(
            f"            {f'better than {rival}?':<{width + 13}}  Diebold–Mariano p {_p_value(of['diebold_mariano'])}"
            for rival, of in found["against"].items()
        ),
        f"            below the forecast {found['below']:.1%}{interval} of targets; asked for {found['quantile']:.1%}",
    ]


def verdict(label: str, evaluated: Mapping[str, Any]) -> str:
    """The verdict's sentences, after its label."""
    return textwrap.fill(f"{label:<12}{evaluated['verdict']}", 100, subsequent_indent=" " * 12)


def _p_value(outcome: Mapping[str, float | None]) -> str:
    p = outcome["p_value"]
    return "–" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
