"""The order of the rooms: imports point downwards, no two files import each other, files and functions stay small."""

from __future__ import annotations

import ast
import graphlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROOMS = (  # from top to bottom
    ("stockml.cli", "stockml.api", "stockml.result"),
    ("stockml.tasks",),
    ("stockml.compose",),
    ("stockml.trackers",),
    ("stockml.reporting",),
    ("stockml.training",),
    ("stockml.distributed",),
    ("stockml.evaluation",),
    ("stockml.models",),
    ("stockml.data",),
    ("stockml.runs",),
    ("stockml.processes",),
    ("stockml.config.root",),
    ("stockml.config", "stockml.errors"),
)
MOST_LINES = 350


def level(module: str) -> int:
    """How far down a module's room is; the settings of every room lie below the root of the config."""
    if module.endswith(".settings") or module in SETTINGS:
        return len(ROOMS) - 1
    return next(n for n, room in enumerate(ROOMS) for name in room if module == name or module.startswith(f"{name}."))


# Packages whose __init__ holds settings, or a register that the settings are made from, and imports nothing heavy.
SETTINGS = {"stockml.trackers", *(f"stockml.data.sources.{name}" for name in ("csv", "npz", "simulated", "yahoo"))}


def files() -> dict[str, Path]:
    """Every module of the package, by its name."""
    found = {}
    for path in sorted((ROOT / "stockml").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a file imports: anywhere in it, for types alone too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def graph() -> dict[str, set[str]]:
    known = files()
    return {module: set(imports(path, known)) - {module, "stockml"} for module, path in known.items()}


def test_every_import_points_downwards() -> None:
    upward = [
        f"{module} → {imported}"
        for module, found in graph().items()
        if module != "stockml"
        for imported in found
        if level(imported) < level(module)
    ]
    assert not upward, "\n".join(upward)


def test_no_file_imports_one_that_imports_it() -> None:
    graphlib.TopologicalSorter({m: found for m, found in graph().items() if m != "stockml"}).prepare()


def test_no_text_names_a_module_of_a_room_above() -> None:
    """A module named in a text, to be imported later, is an import too."""
    known, upward = files(), []
    for module, path in known.items():
        texts = {
            node.value.partition(":")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        upward += [
            f"{module} → {name}"
            for name in texts & set(known) - {"stockml"}
            if level(name) < level(module)
            and not name.startswith(f"{module}.")  # a register names the files of its room
        ]
    assert not upward, "\n".join(upward)


@pytest.mark.parametrize("folder", ["stockml", "tests"])
def test_a_file_is_no_longer_than_can_be_read_at_once(folder: str) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", f"{folder}/**.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / name for name in tracked.stdout.splitlines()] or list((ROOT / folder).rglob("*.py"))
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths if path.exists()}
    long = [f"{path.relative_to(ROOT)}: {count} lines" for path, count in counts.items() if count > MOST_LINES]
    assert not long, "\n".join(long)
