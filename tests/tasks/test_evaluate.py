"""task=evaluate compares numbers, and not the words that describe them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stockml import cli
from tests.conftest import Run


@pytest.fixture
def change(run: Run, tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], Any]], list[str]]:
    """Makes a run, changes its metrics.json, and gives the command line that evaluates it."""
    run("a", "+experiment=quick", "data.days=400")

    def change(edit: Callable[[dict[str, Any]], Any]) -> list[str]:
        path = tmp_path / "a" / "metrics.json"
        metrics = json.loads(path.read_text())
        edit(metrics)
        path.write_text(json.dumps(metrics))
        return ["task=evaluate", f"run={tmp_path / 'a'}"]

    return change


def test_a_verdict_in_other_words_and_a_metric_or_baseline_that_is_missing_are_no_difference(
    change: Callable[[Callable[[dict[str, Any]], Any]], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def as_an_older_release(metrics: dict[str, Any]) -> None:
        metrics["verdict"] = "The same in other words."
        del metrics["test"]["ic"], metrics["baselines"]["always_up"]

    assert cli.main(change(as_an_older_release)) == 0
    assert "identical to its metrics.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "edit"),
    [
        ("skill", lambda metrics: metrics.update(skill="shown")),
        ("test.mse", lambda metrics: metrics["test"].update(mse=0.5)),
        ("baselines.zero.test.mae", lambda metrics: metrics["baselines"]["zero"]["test"].update(mae=None)),
    ],
)
def test_another_number_or_another_skill_is_a_difference(
    change: Callable[[Callable[[dict[str, Any]], Any]], list[str]],
    capsys: pytest.CaptureFixture[str],
    key: str,
    edit: Callable[[dict[str, Any]], Any],
) -> None:
    assert cli.main(change(edit)) == 1
    assert f"{key}: " in capsys.readouterr().err


def test_a_file_that_is_cut_short_or_empty_is_named_with_its_line_and_what_to_do(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("a", "+experiment=quick", "data.days=400")
    folder = tmp_path / "a"

    def message(task: str, name: str, content: str) -> str:
        kept = (folder / name).read_text()
        (folder / name).write_text(content)
        capsys.readouterr()
        assert cli.main([f"task={task}", f"run={folder}"]) == 2
        (folder / name).write_text(kept)
        return capsys.readouterr().err

    remedy = f"train it again with its saved config: -cp {folder}/.hydra -cn config\n"
    for name in ("predictions.csv", "baselines.csv"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        assert f"{name}: line 5 has 3 of " in (cut := message("evaluate", name, "".join(lines[:4]) + "1,AAPL,2000"))
        assert cut.endswith(remedy)
        for no_rows in ("", lines[0]):
            assert message("evaluate", name, no_rows).endswith(f"{name}: has no rows; {remedy}")
    history = (folder / "history.csv").read_text()
    assert "history.csv: row 4 has not as many cells" in message("report", "history.csv", history.rsplit(",", 2)[0])
    result = message("predict", "result.json", (folder / "result.json").read_text()[:20])
    assert "is not finished (result.json is missing or damaged)" in result
