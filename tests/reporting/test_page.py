"""report.html: its content, and that a browser shows it, from disk and with nothing else."""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stockml import cli, compose
from stockml.errors import UserError
from stockml.evaluation.metrics import METRICS
from stockml.reporting import run_page, summary, sweep_page
from stockml.runs.folder import RunFolder
from stockml.runs.location import RunLocation
from stockml.runs.sweep_folder import SweepFolder
from tests import chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOSTILE = '<script>alert("1")</script>&$a$'
NAMES = ("mse", "mae", "rmse", "r2", "r2_zero", "r2_ct", "hit_rate", "ic")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on simulated data, with its report."""
    from stockml.tasks import train

    path = tmp_path_factory.mktemp("drawn") / "run"
    config = compose.compose("+experiment=quick", "stock=AAPL", "data.days=900")
    train.run(config, RunLocation(exact=path), compose.records(config))
    run_page.draw(RunFolder(path))
    return path


@pytest.fixture
def run(drawn: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be changed."""
    return Path(shutil.copytree(drawn, tmp_path / "run"))


@pytest.fixture
def sweep(drawn: Path, tmp_path: Path) -> SweepFolder:
    """Copies of that run, of one stock by two rates and of another with two seeds, and a job that failed."""
    folder = SweepFolder.create(tmp_path / "sweep")
    jobs: list[tuple[str, float, int]] = [("AAPL", 0.1, 0), ("AAPL", 0.001, 0), ("TSLA", 0.1, 0), ("TSLA", 0.1, 1)]
    for number, (stock, lr, seed) in enumerate(jobs, start=1):
        name = f"{stock}-lr_{lr}-seed_{seed}"
        folder.plan({name: {"stock": stock, "trainer.lr": lr, "seed": seed}})
        job = folder.path / name
        shutil.copytree(drawn, job, ignore=shutil.ignore_patterns("plots", "report.html"))
        facts, found = json.loads((job / "config.json").read_text()), json.loads((job / "metrics.json").read_text())
        facts["config"]["stock"]["ticker"] = stock
        found["test"]["r2_zero"], found["validation"]["mse"] = 0.001 * number, lr
        found["significance"]["r2_zero_interval"] = [-0.01 * number, 0.02 * number]
        folder.job(name).write_json("config.json", facts)
        folder.job(name).write_json("metrics.json", found)
    folder.plan({"bad": {"stock": "NONE", "trainer.lr": 0.1, "seed": 0}})
    (folder.path / "bad").mkdir()
    folder.job("bad").record("failed", 0.0, HOSTILE, synthetic=True)
    return folder


def change(folder: Path, name: str, how: Callable[[dict[str, Any]], Any]) -> None:
    values = json.loads((folder / name).read_text())
    how(values)
    (folder / name).write_text(json.dumps(values))


def text_of(folder: Path) -> str:
    return (folder / "report.html").read_text()


class Tables(HTMLParser):
    """The tables of a page: for each its rows, for each row its cells' text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[list[list[str]]] = []
        self.links: list[str] = []
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.found.append([])
        elif tag == "tr":
            self.found[-1].append([])
        elif tag in ("td", "th"):
            self.found[-1][-1].append("")
            self._in_cell = True
        elif tag == "a":
            self.links.append(dict(attrs)["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.found[-1][-1][-1] += data


def test_every_score_of_every_forecaster_is_in_the_page(drawn: Path) -> None:
    found = json.loads((drawn / "metrics.json").read_text())
    tables = Tables(text_of(drawn)).found
    forecasters = {"model": found, "oracle": found["oracle"], **found["baselines"]}
    for part, table in zip(("test", "validation"), tables, strict=False):
        rows = {cells[0].removesuffix(" *"): cells[1:] for cells in table[1:]}
        assert rows == {
            name: [METRICS[metric].format(of[part][metric]) for metric in NAMES] for name, of in forecasters.items()
        }
        assert [cells[0] for cells in table if cells[0].endswith(" *")] == [f"{found['best_baseline']} *"]
    assert html.escape(found["verdict"][1:], quote=False) in html.unescape(text_of(drawn)).replace("&", "&amp;")


def test_the_title_names_a_target_and_features_that_are_not_the_default(run: Path) -> None:
    def title() -> str:
        run_page.draw(RunFolder(run))
        return str(re.findall(r"<h1>(.*)</h1>", text_of(run))[0])

    def differ(facts: dict[str, Any]) -> None:
        facts["config"]["data"].update(target="volatility", horizon=5, target_normalize="csrank", lag={})
        facts["config"]["features"]["set"] = "momentum"

    assert title() == "AAPL · mlp"
    change(run, "config.json", differ)
    assert title() == "AAPL · mlp · volatility, 5 days · features momentum"
    assert "The loss is that of ranks in the day, not of the target itself." in text_of(run)
    assert "<code>data.lag={}</code>" in text_of(run)


def test_tests_and_intervals_are_in_the_page(drawn: Path) -> None:
    found = json.loads((drawn / "metrics.json").read_text())["significance"]
    against, further = Tables(text_of(drawn)).found[2:4]
    assert [cells[0] for cells in against[1:]] == list(found["against"])
    for cells, of in zip(against[1:], found["against"].values(), strict=True):
        assert cells[1] == f"{of['mse_difference']:+.4g}"
        assert [cells[4], cells[6]] == [f"{of[test]['p_value']:.3f}" for test in ("diebold_mariano", "clark_west")]
    low, high = found["r2_zero_interval"]
    rows = {cells[0]: cells[1] for cells in further}
    assert rows["R²_zero, 95 % CI"] == f"{low:+.2%} to {high:+.2%}"
    assert rows["Smallest R² that Clark–West detects"] == f"{found['minimum_detectable_r2']['clark_west']:+.2%}"


def test_every_plot_has_a_file_and_a_description_with_its_numbers(drawn: Path) -> None:
    text = text_of(drawn)
    names = re.findall(r'<figure id="(\w+)">', text)
    assert {"losses", "predicted", "cumulative", "rolling_ic", "equity", "drawdown", "timeline"} <= set(names)
    assert sorted(path.stem for path in (drawn / "plots").iterdir()) == sorted(names)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (drawn / "plots").iterdir())
    descriptions = re.findall(r'<svg [^>]*role="img" aria-label="([^"]*)"', text)
    assert len(descriptions) == len(names) == text.count("<svg")
    assert all(re.search(r"\d", description) for description in descriptions)
    history = (drawn / "history.csv").read_text().splitlines()[1].split(",")
    assert f"the train loss (MSE) goes from {float(history[1]):.4g} to" in text


def test_every_setting_is_in_the_page_as_it_is_typed(drawn: Path) -> None:
    text = html.unescape(text_of(drawn))
    for setting in (
        "seed=42",
        "trainer.epochs=3",
        "data.start=null",
        "stock.features=[open, high, low, close, volume]",
    ):
        assert f"<code>{setting}</code>" in text


def test_a_page_needs_nothing_but_itself(drawn: Path, sweep: SweepFolder) -> None:
    sweep_page.draw(sweep, summary.read(sweep))
    for folder in (drawn, sweep.path):
        text = text_of(folder)
        addresses = re.findall(r"""(?:href|src|url)\s*[=(]\s*["']?([^"')\s>]+)""", text)
        assert all(address.startswith("#") for address in addresses if not address.endswith("report.html"))
        assert not re.search(r"<script|<link|<img|@import|\son\w+=", text)


def test_ids_are_unique_and_every_reference_has_its_target(drawn: Path) -> None:
    text = text_of(drawn)
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="|url\()#([^")]+)', text)
    assert references and set(references) <= set(ids)


def test_every_colour_of_a_plot_follows_the_page(drawn: Path) -> None:
    text = text_of(drawn)
    plots = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert not re.search(r"(?:fill|stroke|color): (?!var|none)", plots)
    assert all("fill: var(" in tag for tag in re.findall(r"<text [^>]*>", plots))  # black where none is named
    used = set(re.findall(r"var\(--(\w+)\)", plots))
    assert {"ink", "muted", "grid", "model", "rival"} <= used
    for rule in re.findall(r":root \{([^}]*)\}", text):
        assert used <= set(re.findall(r"--(\w+): #", rule))


def test_the_same_files_give_the_same_report(run: Path) -> None:
    files = {path: path.read_bytes() for path in [run / "report.html", *(run / "plots").iterdir()]}
    run_page.draw(RunFolder(run))
    assert all(path.read_bytes() == content for path, content in files.items())


def test_simulated_data_are_marked_in_the_page_and_in_every_plot(run: Path) -> None:
    text = text_of(run)
    assert 'role="note"><strong>Simulated data (synthetic: true)' in text
    assert text.count(">simulated data (synthetic: true)<") == text.count("<svg")
    marked = {path: path.read_bytes() for path in (run / "plots").iterdir()}
    change(run, "config.json", lambda facts: facts.update(synthetic=False))
    run_page.draw(RunFolder(run))
    assert "synthetic: true" not in text_of(run)
    assert all(path.read_bytes() != content for path, content in marked.items())


def test_the_content_of_files_is_text_and_never_markup(run: Path, sweep: SweepFolder) -> None:
    def spoil(facts: dict[str, Any]) -> None:
        facts["config"]["stock"]["ticker"] = facts["data"]["origin"] = facts["device"] = HOSTILE
        facts["data"]["dropped"] = [HOSTILE]

    change(run, "config.json", spoil)
    change(run, "metrics.json", lambda found: found.update(verdict=HOSTILE, best_baseline=HOSTILE))
    change(run, "metrics.json", lambda found: found["baselines"].update({HOSTILE: found["baselines"]["zero"]}))
    baselines = (run / "baselines.csv").read_text().replace("ridge", '"' + HOSTILE.replace('"', '""') + '"', 1)
    (run / "baselines.csv").write_text(baselines)
    run_page.draw(RunFolder(run))
    change(sweep.job("AAPL-lr_0.1-seed_0").path, "config.json", spoil)
    sweep.plan({"AAPL-lr_0.1-seed_0": {"stock": HOSTILE, "trainer.lr": HOSTILE, "seed": HOSTILE}})
    sweep_page.draw(sweep, summary.read(sweep))
    for folder in (run, sweep.path):
        text = text_of(folder)
        assert "<script" not in text.lower() and HOSTILE in html.unescape(text)
        assert not re.search(r'aria-label="[^"]*"[^>=]*<', text)


def test_a_run_of_an_older_release_is_drawn_as_far_as_it_goes(run: Path) -> None:
    (run / "baselines.csv").unlink()
    change(run, "metrics.json", lambda found: found.pop("significance", None))
    run_page.draw(RunFolder(run))
    assert '<figure id="losses">' in text_of(run) and "Significance" not in text_of(run)


def test_a_failed_run_shows_its_error_and_what_there_is(run: Path) -> None:
    (run / "metrics.json").unlink()
    RunFolder(run).record("failed", 0.0, "no room on the disk", synthetic=True)
    run_page.draw(RunFolder(run))
    assert "This run is not done: failed. no room on the disk" in text_of(run)
    assert re.findall(r'<figure id="(\w+)">', text_of(run)) == ["losses", "timeline"]


def test_a_broken_file_is_named(run: Path) -> None:
    (run / "history.csv").write_text("epoch,train_loss\n1,x\n")
    with pytest.raises(UserError, match=r"history\.csv: cannot be read"):
        run_page.draw(RunFolder(run))
    change(run, "config.json", lambda facts: facts.pop("data"))
    with pytest.raises(UserError, match=r"config\.json: has no data"):
        run_page.draw(RunFolder(run))


def test_without_matplotlib_the_error_says_what_to_install(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "report.html").read_bytes()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["task=report", f"run={run}"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "matplotlib is not installed, and plots need it: pip install 'stockml[report]'"
    ]
    assert (run / "report.html").read_bytes() == before


def test_the_report_of_a_sweep_is_its_table_and_the_pages_of_all_jobs_that_have_run(
    sweep: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["task=report", f"run={sweep.path}"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"report      {sweep.path / 'report.html'}"
    text = text_of(sweep.path)
    tables = Tables(text)
    jobs = set(sweep.jobs()) - {"bad"}
    assert set(tables.links) == {f"{job}/report.html" for job in jobs}
    assert all((sweep.path / link).is_file() for link in tables.links)
    failures, means, table = tables.found
    assert failures[1:] == [["bad", "failed", HOSTILE]]
    assert [
        f"{cells[0]}: {', '.join(map(' '.join, zip(means[0][1:], cells[1:], strict=True)))}" for cells in means[1:]
    ] == (summary.means(summary.read(sweep)))
    assert [cells[0] for cells in table[1:]] == list(sweep.jobs())
    assert re.findall(r'<figure id="(\w+)">', text) == ["ranking", "by_trainer_lr"]
    assert "Simulated data (synthetic: true)" in text
    # Of a stock with several settings, the one that is best on validation, though not on test.
    expected = [
        "TSLA +0.35% over 2 seeds from +0.30% to +0.40%, 95 % CI -3.50% to +7.00%",
        "AAPL +0.20%, 95 % CI -2.00% to +4.00%",
    ]
    assert f"R²_zero on test by stock, best first: {'; '.join(expected)}." in html.unescape(text)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if (path := chromium.path()) is None:
        pytest.skip(chromium.MISSING)
    with chromium.started(path) as browser:
        yield browser


@pytest.mark.parametrize("of", ["run", "sweep"])
def test_a_browser_shows_every_plot_without_an_error_or_a_request(
    browser: Browser, run: Path, sweep: SweepFolder, of: str
) -> None:
    sweep_page.draw(sweep, summary.read(sweep))
    file = {"run": run, "sweep": sweep.path}[of] / "report.html"
    errors: list[str] = []
    requests: set[str] = set()
    seen = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme)
        tab = context.new_page()
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(error.message))
        tab.on("request", lambda request: requests.add(request.url))
        tab.goto(file.as_uri())
        for plot in tab.locator("figure").all():
            box = plot.locator("svg").bounding_box()
            assert box is not None and box["width"] > 300 and box["height"] > 50
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        ink = "getComputedStyle(document.querySelector('svg text')).fill"
        paper = "getComputedStyle(document.body).backgroundColor"
        seen[scheme] = (tab.evaluate(ink), tab.evaluate(paper))
        tab.emulate_media(media="print")
        seen[f"{scheme}, printed"] = (tab.evaluate(ink), tab.evaluate(paper))
        context.close()
    assert not errors and requests == {file.as_uri()}
    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))
    assert seen["light"] == seen["light, printed"] == seen["dark, printed"]
