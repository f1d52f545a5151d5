"""What the README shows is true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stockml import Result
from tests.conftest import readme


def blocks(section: str) -> list[str]:
    """The Python of a section of the README, in its order."""
    return re.findall(r"^```python$(.*?)^```$", readme(section), re.DOTALL | re.MULTILINE)


def test_the_examples_from_python_run_as_they_are_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    notebook: dict[str, Any] = {}
    examples = blocks("From Python")
    assert len(examples) > 1
    for number, example in enumerate(examples, start=1):
        exec(compile(example, f"README.md, From Python, example {number}", "exec"), notebook)
    runs = [Result(folder) for folder in (tmp_path / "outputs").iterdir()]
    assert len(runs) == 3 and {run.status for run in runs} == {"ok"}
    assert notebook["forecasts"]["y_true"].isna().sum() == 1
