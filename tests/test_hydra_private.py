"""What of Hydra's private API is used: in one file, and there."""

from __future__ import annotations

import ast
import importlib
import re

import hydra
import pytest

from tests.conftest import ROOT

PRIVATE = ROOT / "stockml" / "compose" / "hydra_private.py"
IMPORTED = [
    (node.module, alias.name)
    for node in ast.walk(ast.parse(PRIVATE.read_text()))
    if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith("hydra._")
    for alias in node.names
]


@pytest.mark.parametrize(("module", "name"), IMPORTED)
def test_hydra_has_what_is_used_of_its_private_api(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name), f"hydra-core {hydra.__version__} has no {module}.{name}"


def test_no_other_file_uses_the_private_api_of_hydra_or_omegaconf() -> None:
    private = re.compile(
        r"^\s*(from|import) (hydra|omegaconf)[\w.]*\._|Singleton\._|BaseContainer\b|\._resolvers", re.M
    )
    users = [path for path in (ROOT / "stockml").rglob("*.py") if private.search(path.read_text())]
    assert users == [PRIVATE] and IMPORTED
