"""The sections of a run's page with its scores and with their significance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stockml.evaluation import metrics as table
from stockml.reporting import economic, where
from stockml.reporting.document import Section, Table
from stockml.reporting.result_tables import INTERVAL_FIGURES, forecasters, interval_figures, known, own_scores, rivals

_MOST_STOCKS = 50


def sections(metrics: Mapping[str, Any], stocks: Sequence[Mapping[str, str]], changes: str) -> list[Section]:
    """The sections, given what metrics.json says and the rows of stocks.csv.

    `changes` is what the metrics of changes are of, such as returns; empty where there is nothing to change from.
    """
    significance = [_significance(metrics, changes)] if metrics.get("significance") else []
    return [
        _scores(metrics, stocks, changes),
        *significance,
        *economic.section(metrics),
        *where.section(metrics),
        *where.factor_section(metrics),
        *_intervals(metrics.get("intervals", {})),
    ]


def _scores(metrics: Mapping[str, Any], stocks: Sequence[Mapping[str, str]], changes: str) -> Section:
    text, own = ["* the best baseline on validation, which the model is compared with. "], own_scores(metrics)
    if table.has_quantiles(own):
        text[0] += (
            "pinball is the loss that the quantile minimises, below the share of targets below the forecast. "
            "train_quantile is the quantile of the train split, scaled_quantile that of its targets in units of their "
            "volatility, times the volatility known on the day."
        )
    elif not table.has_classes(own) and not changes:
        text[0] += (
            "mse, mae, rmse, r2 and ic are of the target itself. Its last known value is not in the data: r2_zero and "
            "hit_rate, which compare with it, are undefined, and train_mean is what to compare with."
        )
    elif not table.has_classes(own):
        rival = "persistence, the forecast of no change" if _is_level(metrics) else "the forecast of no change"
        text[0] += (
            f"mse, mae, rmse and r2 are of the target itself; r2_zero, r2_ct, hit_rate and ic are of {changes}. "
            f"r2_zero compares with {rival}, r2_ct with the mean of all {changes.split(maxsplit=1)[0]} known by then."
        )
    else:
        text[0] += (
            "log_loss, auc, brier (the squared error) and mcc judge the forecast as the probability of a "
            "one; train_mean, the base rate of train, is what to compare with."
        )
    if table.has_pooled(own) and not table.has_quantiles(own):
        text.append(
            "Between stocks: daily_ic and daily_rank_ic are the correlation of forecast and realised returns over the "
            "stocks of a day, averaged over days; icir and rank_icir are that mean over the standard deviation of days."
        )
    tables = [score_table(metrics, split) for split in ("test", "validation") if split in metrics]
    return Section("Scores", text, [*tables, *_of(stocks)])


def score_table(metrics: Mapping[str, Any], split: str) -> Table:
    """Every forecaster's scores on a split, given what metrics.json says."""
    pooled = table.shown("page", pooled=True) if table.has_pooled(metrics[split]) else []
    of_classes = table.shown("page", of_classes=True) if table.has_classes(metrics[split]) else []
    of_quantiles = table.has_quantiles(metrics[split])
    columns = [*table.shown("page", of_quantiles=of_quantiles), *of_classes, *([] if of_quantiles else pooled)]
    columns, best = known(metrics, columns), metrics["best_baseline"]
    rows = [
        [f"{name} *" if name == best else name, *(metric.format(of[split].get(metric.name)) for metric in columns)]
        for name, of in forecasters(metrics).items()
    ]
    caption = f"{split.capitalize()}, {metrics[split]['n']:,} samples"
    return Table(caption, ["", *(metric.name for metric in columns)], rows, strong=[0])


def _of(stocks: Sequence[Mapping[str, str]]) -> list[Table]:
    """The stocks of a pooled run, the best first."""
    if not stocks:
        return []
    of_quantiles = "test_pinball" in stocks[0]
    ranked = sorted(stocks, key=lambda row: -float(row["test_r2_zero"] or "-inf"))
    left = f"; {len(ranked) - _MOST_STOCKS:,} more" if len(ranked) > _MOST_STOCKS else ""
    by = "" if of_quantiles else ", by test_r2_zero"
    return [short_table(f"Stocks{by}; stocks.csv has all their scores{left}", ranked[:_MOST_STOCKS])]


def short_table(caption: str, rows: Sequence[Mapping[str, str]], without: Sequence[str] = ()) -> Table:
    """Rows of a CSV file, with the metrics of short tables alone; of forecasts of a quantile those that they have."""
    header = [name for name in rows[0] if name not in ("synthetic", *without) and _is_in_short_tables(name)]
    header = [name for name in header if "test_pinball" not in rows[0] or any(row[name] for row in rows)]
    return Table(caption, header, [[csv_cell(name, row[name]) for name in header] for row in rows])


def _is_in_short_tables(column: str) -> bool:
    metric = table.of_column(column)
    return metric is None or "short tables" in metric.shown_in


def _is_level(metrics: Mapping[str, Any]) -> bool:
    return "persistence" in metrics["baselines"]


def _significance(metrics: Mapping[str, Any], changes: str) -> Section:
    """Tests and confidence intervals of the model's skill, given what metrics.json says."""
    if "quantile" in metrics["significance"]:
        return _of_quantile(metrics["significance"])
    found, is_class = metrics["significance"], table.has_classes(metrics["test"])
    what = "classes" if is_class else changes or "values"
    noun = what.split(maxsplit=1)[0]
    confidence, identity = f"{100 * found['confidence']:g} % CI", found["r2_identity"]
    against = [
        [
            rival,
            f"{of['mse_difference']:+.4g}",
            span(of["interval"], "{:+.3g}"),
            *_outcome(of["diebold_mariano"]),
            *_outcome(of["clark_west"]),
        ]
        for rival, of in rivals(metrics).items()
    ]
    direction, p_value = _outcome(found["pesaran_timmermann"])
    method = (
        f"block bootstrap, {found['resamples']:,} resamples of blocks of {found['block_days']}"
        if "resamples" in found  # releases up to 2026-11-28
        else "t interval, standard errors from equally weighted cosines (Lazarus et al. 2018)"
    )
    further = [
        [f"R²_zero, {confidence}", span(found["r2_zero_interval"], "{:+.2%}"), method],
        ["R²_ct", percent(found["r2_ct"]), f"against the mean of all {noun} known by then (Campbell & Thompson 2008)"],
        ["R²", percent(identity["r2"]), f"of {what}, = ρ² − (s − ρ)² − (bias/σ)²"],
        ["ρ", table.SIGNED(identity["correlation"]), f"correlation of forecasts and {noun}"],
        ["s", table.SIGNED(identity["spread_ratio"]), f"standard deviation of forecasts over that of {noun}"],
        ["bias/σ", table.SIGNED(identity["bias_ratio"]), f"mean error over the standard deviation of {noun}"],
        ["Pesaran–Timmermann", direction, f"test of the direction, p {p_value}"],
    ]
    further = [row for row in further if row[1] != "–" or not is_class]
    further += [
        [f"Smallest R² that {name} detects", percent(found["minimum_detectable_r2"][test]), "with 80 % power"]
        for test, name in (("diebold_mariano", "Diebold–Mariano"), ("clark_west", "Clark–West"))
    ]
    for name in ("daily_ic", "daily_rank_ic"):
        if of := found.get(name):
            error, p_value = table.SIGNED(of["standard_error"]), _outcome(of["test"])[1]
            note = f"standard error {error} (Newey–West {table.SIGNED(of['newey_west'])}), p {p_value}"
            further.append([f"{name}, {confidence}", span(of["interval"], "{:+.4f}"), note])
    overlap = f", {found['horizon']} days ahead" if found["horizon"] > 1 else ""
    text = (
        f"{found['n']:,} {found['unit']}{overlap}. p-values are one-sided: the probability of a result at least as "
        "good for the model if it were no better. Clark–West corrects for the noise of estimated forecasts."
    )
    header = ["against", "MSE saved", confidence, "Diebold–Mariano", "p", "Clark–West", "p"]
    tables = [
        Table("Squared error of the baseline minus the model’s: positive where the model is better", header, against),
        Table("Further figures", [], further),
    ]
    return Section(f"Significance on {found['part']}", [text], tables)


def _of_quantile(found: Mapping[str, Any]) -> Section:
    """Tests of a quantile forecast's skill, and the share of targets below it."""
    confidence, quantile = f"{100 * found['confidence']:g} % CI", found["quantile"]
    rows = [
        [
            rival,
            f"{of['pinball_difference']:+.4g}",
            span(of["interval"], "{:+.3g}"),
            percent(of["r1"]),
            *_outcome(of["diebold_mariano"]),
        ]
        for rival, of in found["against"].items()
    ]
    header = ["against", "pinball loss saved", confidence, "R¹", "Diebold–Mariano", "p"]
    text = (
        f"{found['n']:,} {found['unit']}. p-values are one-sided: the probability of a result at least as good for the "
        "model if it were no better. R¹ is the share of the baseline’s pinball loss that is saved (Koenker & Machado "
        f"1999). Below the forecast lie {found['below']:.1%} of targets ({confidence} "
        f"{span(found['below_interval'], '{:.1%}')}); {quantile:.1%} were asked for."
    )
    caption = "Pinball loss of the baseline minus the model’s: positive where the model is better"
    return Section(f"Significance on {found['part']}", [text], [Table(caption, header, rows)])


def _intervals(found: Mapping[str, Any]) -> list[Section]:
    """Coverage, width and score of the intervals of each level, given what metrics.json says of them."""
    text = (
        "Conformal intervals, as wide as the stock was volatile before that day and adapted as errors became known, "
        "beside intervals of constant width. Coverage is the share of targets inside. The interval score is the width "
        "plus what targets outside cost (Winkler 1972): lower is better. Plots by year are below."
    )
    header = ["", *INTERVAL_FIGURES, *(f"{name}, constant width" for name in INTERVAL_FIGURES)]
    rows = [[f"{level} %", *interval_figures(of), *interval_figures(of["constant"])] for level, of in found.items()]
    n = next(iter(found.values()))["n"] if found else 0
    return [Section("Intervals", [text], [Table(f"Test, {n:,} samples", header, rows)])] if n else []


def _outcome(test: Mapping[str, float | None]) -> tuple[str, str]:
    """A test's statistic and p-value."""
    statistic, p_value = test["statistic"], test["p_value"]
    return ("–" if statistic is None else f"{statistic:+.2f}", "–" if p_value is None else f"{p_value:.3f}")


def percent(value: float | None) -> str:
    """A share, signed, in percent."""
    return "–" if value is None else f"{value:+.2%}"


def span(interval: Sequence[float] | None, form: str) -> str:
    """An interval's two ends."""
    return "–" if interval is None else " to ".join(form.format(end) for end in interval)


def csv_cell(column: str, text: str) -> str:
    """A cell of folds.csv or stocks.csv, numbers in their metric's format."""
    metric = table.of_column(column)
    try:
        return text if text.isdigit() else (metric.format if metric else table.ERROR)(float(text))
    except ValueError:
        return text or "–"


def sentence(text: str) -> str:
    """The text with a capital letter."""
    return text[:1].upper() + text[1:]
