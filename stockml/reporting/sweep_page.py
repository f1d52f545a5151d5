"""report.html and plots/*.png of a sweep, made from the files of its folder alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from stockml.config.values import show
from stockml.reporting import document, drawing, job_ranking, search_page, summary, sweep_plots
from stockml.reporting.document import Page, Section, Table
from stockml.reporting.drawing import Plot
from stockml.reporting.score_sections import sentence

if TYPE_CHECKING:
    from stockml.runs.sweep_folder import SweepFolder


def draw(folder: SweepFolder, rows: Sequence[job_ranking.Row]) -> Path:
    """Write a sweep's page and plots, given its rows; the path of the page. It links to the pages that its jobs have.

    Raises UserError where matplotlib is missing or there is no sweep.
    """
    with drawing.style():
        return document.write(folder, _page(folder, rows))


def _page(folder: SweepFolder, rows: Sequence[job_ranking.Row]) -> Page:
    done = [row for row in rows if row["status"] == "ok"]
    pruned = sum(row["status"] == "pruned" for row in rows) or ""
    swept = list(dict.fromkeys(key for row in rows for key in row["swept"]))
    settings = [key for key in swept if key not in ("stock", "stock.ticker", "seed")]
    plots = list(_plots(done, settings)) if done else []
    sections = search_page.sections(folder)
    sections += [Section("Plots", plots=plots)] if plots else []
    if faults := [[str(row[key] or "–") for key in ("job", "status", "error")] for row in rows if row.get("error")]:
        table = Table("Jobs that are not done", ["job", "status", "reason"], faults)
        sections.append(Section("Failures", tables=[table]))
    header, cells = summary.cells(rows, without=("error", "synthetic"))
    links = {
        name: f"{quote(name)}/{document.FILE}"
        for name in folder.jobs()
        if (folder.job(name).path / document.FILE).exists()
    }
    tables = [Table(f"{len(rows)} jobs", header, cells, links=links)]
    if means := summary.mean_cells(rows):
        texts = [[name, *of.values()] for name, of in means]
        tables.insert(0, Table("Means; ±: standard deviation over seeds", ["", *means[0][1]], texts))
    sections.append(Section("Jobs", tables=tables))
    of_what = f"swept: {', '.join(swept) or 'nothing'}"
    return Page(
        title=f"Sweep {folder.path.name}",
        subtitle=f"{len(done)} of {len(rows)} jobs done{pruned and f', {pruned} pruned'}; {of_what}",
        synthetic=any(row.get("synthetic") for row in rows),
        verdict=[sentence(line) for line in [*summary.findings(rows), *_skills(done)]],
        sections=sections,
    )


def _skills(done: Sequence[job_ranking.Row]) -> list[str]:
    """How many jobs have which skill, in a line."""
    skills = [row["skill"] for row in done if row.get("skill")]
    counts = ", ".join(f"{skill} in {skills.count(skill)}" for skill in dict.fromkeys(skills))
    shown = sum(row.get("skill_corrected") == "shown" for row in done)
    looks = f"; shown in {shown} once all looks at their test days are counted" if "shown" in skills else ""
    return [f"skill: {counts}{looks}"] if skills else []


def _plots(done: Sequence[job_ranking.Row], settings: Sequence[str]) -> Iterator[Plot]:
    scored = [row for row in done if row["test_r2_zero"] is not None and row["val_mse"] is not None]
    if scored:
        yield sweep_plots.ranking(list(_ranked(scored, settings)), several_settings=bool(settings))
    decided = [row for row in done if row["val_mse"] is not None]
    for key in settings if decided else ():
        trials = [sweep_plots.Trial(_scalar(row["swept"].get(key)), row["stock"], row["val_mse"]) for row in decided]
        yield sweep_plots.hyperparameter(key, trials)


def _ranked(rows: Sequence[job_ranking.Row], settings: Sequence[str]) -> Iterator[sweep_plots.Ranked]:
    """Each stock with the seeds of the setting that has the lowest mean error on validation."""
    stocks: dict[str, dict[str, list[job_ranking.Row]]] = {}
    for row in rows:
        setting = str([row["swept"].get(key) for key in settings])
        stocks.setdefault(row["stock"], {}).setdefault(setting, []).append(row)
    for stock, by_setting in stocks.items():
        jobs = min(by_setting.values(), key=lambda jobs: float(np.mean([job["val_mse"] for job in jobs])))
        lows, highs = (
            [job[f"r2_zero_{end}"] for job in jobs if job.get(f"r2_zero_{end}") is not None] for end in ("low", "high")
        )
        known = len(lows) == len(highs) == len(jobs)
        interval = (float(np.mean(lows)), float(np.mean(highs))) if known else None
        yield sweep_plots.Ranked(stock, [job["test_r2_zero"] for job in jobs], interval)


def _scalar(value: Any) -> float | str:
    return value if isinstance(value, (int, float, str)) and not isinstance(value, bool) else show(value)
