"""The features on a run's page: all of them, folded away if they are many, and in the config no second time."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from stockml.reporting import feature_tables, run_page
from stockml.runs.folder import RunFolder
from tests.conftest import Run

SMALL = ("data.days=500", "data.window=5", "trainer.epochs=1", "model=linear")


def recorded(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text())["data"]["features"]
    return found


def page(folder: Path) -> str:
    pytest.importorskip("matplotlib")
    return run_page.draw(RunFolder(folder)).read_text(encoding="utf-8")


def section(text: str) -> str:
    found = re.search(r"<section>\s*<h2>Features</h2>.*?</section>", text, re.DOTALL)
    assert found is not None
    return found[0]


def cells(text: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_every_feature_is_a_row_of_the_page(run: Run, tmp_path: Path) -> None:
    run("run", *SMALL, '+features.columns.weekday="DayOfWeek()"', '+features.columns.trend="EMA($close, 9)/$close"')
    text = section(page(tmp_path / "run"))
    header, *rows = cells(text)
    assert header == ["feature", "expression", "lookback", "missing", "correlation", "t"]
    each = recorded(tmp_path / "run")["features"]
    assert [row[0] for row in rows] == ["open", "high", "low", "close", "volume", "weekday", "trend"]
    for row, one in zip(rows, each, strict=True):
        assert row[1:4] == [one["expression"], f"{one['lookback']}{', all' * (row[0] == 'trend')}", "0%"]
        assert row[4:] == [
            f"{one['correlation']:+.4f}",
            f"{one['t']:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0"),
        ]
    assert "<details>" not in text
    assert "every earlier day has some influence" in text


def test_many_features_are_folded_away_and_are_not_repeated_among_the_settings(run: Run, tmp_path: Path) -> None:
    run("run", *SMALL, "features=alpha158", "data.window=1")
    text = page(tmp_path / "run")
    assert len(cells(section(text))) == 159
    assert "<summary>158 features</summary>" in section(text)
    assert "features.set=alpha158" in text
    assert "features.columns.KMID" not in text


def test_of_walk_forward_it_is_the_first_fold_s_train(run: Run, tmp_path: Path) -> None:
    run("run", *SMALL, "data.split=walk_forward", "data.folds=2")
    text = section(page(tmp_path / "run"))
    first, last = json.loads((tmp_path / "run" / "config.json").read_text())["data"]["folds"][0]["spans"]["train"]
    assert f"train samples of fold 0, {first} to {last}; validation and test are not used" in text


def test_a_run_of_an_earlier_release_has_no_such_section(run: Run, tmp_path: Path) -> None:
    run("run", *SMALL)
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    del content["data"]["features"]
    path.write_text(json.dumps(content))
    assert "<h2>Features</h2>" not in page(tmp_path / "run")


def test_a_figure_that_is_undefined_is_a_dash() -> None:
    row = {"name": "a", "expression": None, "lookback": None, "missing": 0.125, "correlation": None, "t": None}
    text = feature_tables.text({"samples": 10, "day_step": 1, "features": [row]})
    assert text.splitlines()[-1].split() == ["a", "–", "–", "12.50%", "–", "–"]


def test_a_figure_that_is_rounded_to_zero_has_no_sign_and_a_high_one_is_a_warning() -> None:
    row = {"expression": "$a", "lookback": 0, "missing": 0}
    rows = [
        {**row, "name": "a", "correlation": -4e-5, "t": -0.04},
        {**row, "name": "b", "correlation": -0.4, "t": -9.0},
    ]
    found = {"samples": 10, "day_step": 1, "features": rows}
    assert [line.split()[4:] for line in feature_tables.text(found).splitlines()[2:]] == [
        ["0.0000", "0.0"],
        ["-0.4000", "-9.0"],
    ]
    assert "Of 2 features, about 0.1 have |t| > 2 by chance alone." in feature_tables.basis(found, None)
    assert "Of 200 features, about 9 have" in feature_tables.basis({**found, "features": rows * 100}, None)
    assert feature_tables.warning(found).startswith("b: |correlation| above 0.3: seems to know the target: run task=au")
    assert feature_tables.warning({**found, "features": rows[:1]}) == ""


def test_a_browser_unfolds_the_table_and_the_page_stays_within_its_window(run: Run, tmp_path: Path) -> None:
    executable = os.environ.get("STOCKML_CHROMIUM") or shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium here (STOCKML_CHROMIUM names it)")
    sync_api = pytest.importorskip("playwright.sync_api")
    run("run", *SMALL, "features=alpha158", "data.window=1")
    page(tmp_path / "run")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for width in (390, 1200):
            shown = browser.new_page(viewport={"width": width, "height": 800})
            shown.goto((tmp_path / "run" / "report.html").as_uri())
            table = shown.locator("details table")
            assert not table.is_visible()
            shown.locator("summary").click()
            assert table.is_visible()
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
