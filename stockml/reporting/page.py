"""report.html and plots/*.png of a run or a sweep, drawn from the files of its folder alone."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from stockml.config.values import show
from stockml.errors import UserError
from stockml.evaluation import metrics as table
from stockml.reporting import document, drawing, plots, summary, sweep_plots
from stockml.reporting.document import Figure, Page, Section, Table
from stockml.reporting.drawing import Picture
from stockml.runs.folder import RunFolder
from stockml.runs.names import fold_member_title
from stockml.runs.sweep_folder import SweepFolder

if TYPE_CHECKING:
    from stockml.evaluation.metrics import Target


def draw(folder: RunFolder) -> Path:
    """Draw a run's page and pictures; where the page is.

    A run that did not end well gets what is there of it. Raises UserError where matplotlib is missing, or a file of
    the folder is missing or broken.
    """
    with drawing.style():
        return document.write(folder, _of_run(folder))


def draw_sweep(folder: SweepFolder) -> Path:
    """Draw a sweep's page and pictures; where the page is. It links to the pages that its jobs have by then.

    Raises UserError where matplotlib is missing or there is no sweep.
    """
    with drawing.style():
        return document.write(folder, _of_sweep(folder))


def pictures(folder: RunFolder) -> list[Picture]:
    """The pictures of a run's page, not yet drawn; errors as `draw` has them."""
    with drawing.style():
        return _of_run(folder).pictures()


def _of_run(folder: RunFolder) -> Page:
    facts = folder.read_json("config.json")
    metrics = folder.read_json("metrics.json") if (folder.path / "metrics.json").exists() else None
    try:
        return _page(folder, facts, metrics)
    except (KeyError, TypeError, IndexError) as error:
        raise UserError(f"{folder.path}: no report can be drawn of it: its files lack {error}") from error


def _page(folder: RunFolder, facts: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> Page:
    config, faults, scores = facts["config"], [], []
    if metrics is None:
        error = folder.read_json("result.json").get("error") if folder.outcome() else None
        faults = [f"This run is not done: {folder.outcome() or 'not begun'}. {error or ''}".rstrip()]
    else:
        evidence = [_evidence(found)] if (found := metrics.get("significance")) else []
        scores = [_scores(metrics, _rows(folder.path / "stocks.csv")), *evidence]
    return Page(
        title=f"{config['stock']['ticker']} · {config['model']['name']}",
        subtitle=f"{facts['data']['origin']}; seed {config['seed']}; run folder {folder.path.name}",
        synthetic=bool(facts["synthetic"]),
        faults=faults,
        verdict=[_sentence(metrics["verdict"])] if metrics else [],
        figures=_headline(metrics) if metrics else [],
        sections=[
            *scores,
            Section("Pictures", pictures=list(_pictures(folder, facts, metrics))),
            _data(facts["data"], _rows(folder.path / "folds.csv")),
            Section("Config", [_origin(facts)], settings=[f"{key}={show(value)}" for key, value in _flat(config)]),
        ],
    )


def _headline(metrics: Mapping[str, Any]) -> list[Figure]:
    test, best = metrics["test"], metrics["best_baseline"]
    interval = metrics.get("significance", {}).get("r2_zero_interval")
    if test["r2_zero"] is None:
        r2 = Figure("R² on test", _percent(test["r2"]), "0: the mean of the test, which nobody knows before")
    else:
        known = f"95 % interval {_ends(interval, '{:+.2%}')}" if interval else "0: the forecast of no change"
        r2 = Figure("R²_zero on test", _percent(test["r2_zero"]), known)
    error, correlation, hits = (table.metric(name).format for name in ("mse", "ic", "hit_rate"))
    rival = error(metrics["baselines"][best]["test"]["mse"])
    return [
        r2,
        Figure("MSE on test", error(test["mse"]), f"{best}, the best baseline: {rival}"),
        Figure("IC on test", correlation(test["ic"]), "correlation over time"),
        Figure("Hit rate on test", hits(test["hit_rate"]), f"of {test['n']:,} samples"),
    ]


def _scores(metrics: Mapping[str, Any], stocks: Sequence[Mapping[str, str]]) -> Section:
    """Test, then validation, and each stock where there are several."""
    tables = [score_table(metrics, part) for part in ("test", "validation")]
    text = (
        "* the best baseline on validation: the one that the model is held against. mse, mae, rmse and r2 are in the "
        "target’s own terms; r2_zero, hit_rate and ic judge returns, r2_zero against the forecast of no change."
    )
    between = (
        "Between stocks: daily_ic and daily_rank_ic are the mean over days of the correlation, over the stocks, of "
        "forecast and realised; icir and rank_icir are that mean over its standard deviation from day to day."
    )
    return Section(
        "Scores", [text, between] if table.has_pooled(metrics["test"]) else [text], [*tables, *_stocks(stocks)]
    )


def score_table(metrics: Mapping[str, Any], part: str) -> Table:
    """A part's scores, from what metrics.json says: a row for the model, the oracle, and each baseline."""
    pooled = table.shown("page", pooled=True) if table.has_pooled(metrics[part]) else []
    columns = [*table.shown("page"), *pooled]
    oracle = {"oracle": metrics["oracle"]} if metrics.get("oracle") else {}
    scored, best = {"model": metrics, **oracle, **metrics["baselines"]}, metrics["best_baseline"]
    rows = [
        [f"{name} *" if name == best else name, *(metric.format(of[part].get(metric.name)) for metric in columns)]
        for name, of in scored.items()
    ]
    return Table(
        f"{part.capitalize()}, {metrics[part]['n']:,} samples",
        ["", *(metric.name for metric in columns)],
        rows,
        strong=[0],
    )


def _stocks(rows: Sequence[Mapping[str, str]]) -> list[Table]:
    """The stocks of a pooled run, the best first."""
    if not rows:
        return []
    ranked = sorted(rows, key=lambda row: -float(row["test_r2_zero"] or "-inf"))
    header = [name for name in rows[0] if name != "synthetic" and _is_in_short_tables(name)]
    cells = [[_cell(row[name]) for name in header] for row in ranked[:_MOST_STOCKS]]
    left = f"; {len(ranked) - len(cells):,} more" if len(ranked) > len(cells) else ""
    return [Table(f"Stocks, by test_r2_zero; stocks.csv has all their scores{left}", header, cells)]


_MOST_STOCKS = 50


def _is_in_short_tables(column: str) -> bool:
    metric = table.of_column(column)
    return metric is None or "short tables" in metric.shown_in


def _evidence(found: Mapping[str, Any]) -> Section:
    """What tests and intervals say of the model's skill."""
    confidence, identity = f"{found['confidence']:.0%}", found["r2_identity"]
    against = [
        [
            rival,
            f"{of['mse_difference']:+.4g}",
            _ends(of["interval"], "{:+.3g}"),
            *_outcome(of["diebold_mariano"]),
            *_outcome(of["clark_west"]),
        ]
        for rival, of in found["against"].items()
    ]
    direction, p_value = _outcome(found["pesaran_timmermann"])
    bootstrap = f"block bootstrap, {found['resamples']:,} resamples of blocks of {found['block_days']}"
    further = [
        [f"R²_zero, {confidence} interval", _ends(found["r2_zero_interval"], "{:+.2%}"), bootstrap],
        ["R²_ct", _percent(found["r2_ct"]), "against the mean of all returns known by then (Campbell & Thompson 2008)"],
        ["R²", _percent(identity["r2"]), "of returns, = ρ² − (s − ρ)² − (bias/σ)², that is:"],
        ["ρ", table.SIGNED(identity["correlation"]), "correlation of forecasts and returns"],
        ["s", table.SIGNED(identity["spread_ratio"]), "standard deviation of forecasts over that of returns"],
        ["bias/σ", table.SIGNED(identity["bias_ratio"]), "mean error over the standard deviation of returns"],
        ["Pesaran–Timmermann", direction, f"test of the direction, p {p_value}"],
    ]
    further += [
        [f"{name}: least R²", _percent(found["minimum_detectable_r2"][test]), "that it finds here with 80 % power"]
        for test, name in (("diebold_mariano", "Diebold–Mariano"), ("clark_west", "Clark–West"))
    ]
    overlap = f", {found['horizon']} days ahead" if found["horizon"] > 1 else ""
    text = (
        f"{found['n']:,} {found['unit']}{overlap}. p-values are one-sided: how often so much or more in the model’s "
        "favour would come about if it were no better. Clark–West makes up for the noise of estimated forecasts."
    )
    header = ["against", "MSE saved", f"{confidence} interval", "Diebold–Mariano", "p", "Clark–West", "p"]
    tables = [
        Table("Squared error of the rival less the model’s: positive where the model is better", header, against),
        Table("Further figures", [], further),
    ]
    return Section(f"Evidence on {found['part']}", [text], tables)


def _pictures(folder: RunFolder, facts: Mapping[str, Any], metrics: Mapping[str, Any] | None) -> Iterator[Picture]:
    from stockml.reporting import predictions_file

    loss = {"mse": "MSE", "mae": "MAE"}.get(name := facts["config"]["trainer"]["loss"], f"{name} loss")
    found = {fold_member_title(part): _history(folder.path / name) for name, part in folder.histories().items()}
    histories = {title: history for title, history in found.items() if history}
    if "" in histories:
        yield plots.losses(histories[""], loss)
    elif histories:
        yield plots.losses_of_parts(histories, loss)
    if metrics is None or not (folder.path / "baselines.csv").exists():
        return
    scored = predictions_file.read(folder)["test"]
    unit, is_class = _unit(scored.truth, facts["config"]["data"]["source"]), scored.truth.kind == "class"
    if not is_class:
        yield plots.predicted(scored, unit)
    if calibration := plots.calibration(scored, unit):
        yield calibration
    yield plots.cumulative(scored, metrics["best_baseline"], unit)
    if rolling := plots.rolling_ic(scored):
        yield rolling
    if not is_class:
        yield plots.residuals(scored, unit)


def _unit(truth: Target, source: str) -> plots.Unit:
    if truth.kind == "class":
        return plots.Unit("", "")
    if truth.kind == "level":
        return plots.Unit("return", "%") if truth.relative else plots.Unit("change", "target’s units")
    return plots.Unit("return", "target’s units" if source == "npz" else "%")


def _history(path: Path) -> plots.History | None:
    """The losses that a history.csv holds; None where there are none."""
    rows = _rows(path)
    try:
        train, validation = ([float(row[f"{part}_loss"]) for row in rows] for part in ("train", "validation"))
        return plots.History(np.array(train), np.array(validation), int(rows[-1]["best_epoch"])) if rows else None
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error!r})") from error


def _data(data: Mapping[str, Any], folds: Sequence[Mapping[str, str]]) -> Section:
    """Where the parts lie, what was left out, and the folds."""
    splits = data.get("folds") or [data]
    spans = [list(_spans(split)) for split in splits]
    if data.get("folds"):
        rows = {f"fold {number}": of for number, of in enumerate(spans)}
        text = f"{data['rows']:,} rows; {len(splits)} fold{'s' if len(splits) > 1 else ''}, each trained anew"
    else:
        rows = {f"{span.part} ({data['samples'][span.part]:,})": [span] for span in spans[0]}
        text = f"{data['rows']:,} rows; {', '.join(f'{part} {n:,} samples' for part, n in data['samples'].items())}"
    left_out = list(data["dropped"])
    if purged := sum(split["purged"] for split in splits):
        left_out.append(f"{purged} samples (purged: their targets end after the next part has begun)")
    shown = {*_OF_FOLDS, *(f"test_{metric.name}" for metric in table.shown("folds"))}
    header = [name for name in folds[0] if name in shown] if folds else []
    cells = [[_cell(fold[name]) for name in header] for fold in folds]
    tables = [Table("Folds; folds.csv has all their days and scores", header, cells)] if folds else []
    timeline = plots.timeline(rows, dated=isinstance(spans[0][0].first, str))
    return Section("Data and splits", [f"{text}. Left out: {'; '.join(left_out) or 'nothing'}."], tables, [timeline])


_OF_FOLDS = (
    "fold",
    *(f"{part}_n" for part in ("train", "validation", "test")),
    *("test_first", "test_last", "purged", "epochs", "best_epoch", "val_mse"),
)


def _spans(split: Mapping[str, Any]) -> Iterator[plots.Span]:
    """Each part's days, or sample numbers where the days are not known."""
    days, before = split.get("spans") or {}, 0
    for part, n in split["samples"].items():
        first, last = days.get(part) or (None, None)
        yield plots.Span(part, first, last) if first else plots.Span(part, before, before + n - 1)
        before += n


def _origin(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version)
    commit = f"commit {facts['git_commit']}; " if facts.get("git_commit") else ""
    return f"On {facts['device']}; {versions}; {commit}fingerprint of the data {facts['data']['fingerprint'][:16]}."


def _of_sweep(folder: SweepFolder) -> Page:
    rows = summary.read(folder)
    done = [row for row in rows if row["status"] == "ok"]
    swept = list(dict.fromkeys(key for row in rows for key in row["swept"]))
    settings = [key for key in swept if key not in ("stock", "stock.ticker", "seed")]
    sections = [Section("Pictures", pictures=list(_sweep_pictures(done, settings)))] if done else []
    faults = [[str(row[key] or "–") for key in ("job", "status", "error")] for row in rows if row.get("error")]
    if faults:
        sections.append(
            Section("Failures", tables=[Table("Jobs that are not done", ["job", "status", "reason"], faults)])
        )
    header, cells = summary.cells(rows, without=("error", "synthetic"))
    links = {name: f"{quote(name)}/{document.FILE}" for name in folder.jobs() if _has_page(folder, name)}
    sections.append(Section("Jobs", summary.means(rows), [Table(f"{len(rows)} jobs", header, cells, links=links)]))
    named = [row["skill"] for row in done if row.get("skill")]
    skills = (
        [f"skill: {', '.join(f'{skill} in {named.count(skill)}' for skill in dict.fromkeys(named))}"] if named else []
    )
    return Page(
        title=f"Sweep {folder.path.name}",
        subtitle=f"{len(done)} of {len(rows)} jobs done; swept: {', '.join(swept) or 'nothing'}",
        synthetic=any(row.get("synthetic") for row in rows),
        verdict=[_sentence(line) for line in [*summary.findings(rows), *skills]],
        sections=sections,
    )


def _has_page(folder: SweepFolder, job: str) -> bool:
    return (folder.job(job).path / document.FILE).exists()


def _sweep_pictures(done: Sequence[summary.Row], settings: Sequence[str]) -> Iterator[Picture]:
    scored = [row for row in done if row["test_r2_zero"] is not None]
    if scored:
        yield sweep_plots.ranking(list(_ranked(scored, settings)), several_settings=bool(settings))
    for key in settings:
        trials = [sweep_plots.Trial(_scalar(row["swept"].get(key)), row["stock"], row["val_mse"]) for row in done]
        yield sweep_plots.hyperparameter(key, trials)


def _ranked(rows: Sequence[summary.Row], settings: Sequence[str]) -> Iterator[sweep_plots.Ranked]:
    """Each stock with the seeds of the setting that has the lowest mean error on validation."""
    stocks: dict[str, dict[str, list[summary.Row]]] = {}
    for row in rows:
        setting = str([row["swept"].get(key) for key in settings])
        stocks.setdefault(row["stock"], {}).setdefault(setting, []).append(row)
    for stock, of in stocks.items():
        jobs = min(of.values(), key=lambda jobs: float(np.mean([job["val_mse"] for job in jobs])))
        lows, highs = (
            [job[f"r2_zero_{end}"] for job in jobs if job.get(f"r2_zero_{end}") is not None] for end in ("low", "high")
        )
        known = len(lows) == len(highs) == len(jobs)
        interval = (float(np.mean(lows)), float(np.mean(highs))) if known else None
        yield sweep_plots.Ranked(stock, [job["test_r2_zero"] for job in jobs], interval)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _scalar(value: Any) -> float | str:
    return value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else show(value)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2%}"


def _ends(interval: Sequence[float] | None, form: str) -> str:
    return "–" if interval is None else " to ".join(form.format(end) for end in interval)


def _outcome(test: Mapping[str, float | None]) -> tuple[str, str]:
    """A test's statistic and p-value."""
    statistic, p_value = test["statistic"], test["p_value"]
    return ("–" if statistic is None else f"{statistic:+.2f}", "–" if p_value is None else f"{p_value:.3f}")


def _cell(text: str) -> str:
    """A figure of a CSV file, shortened."""
    try:
        return text if text.isdigit() else f"{float(text):.4g}"
    except ValueError:
        return text or "–"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
