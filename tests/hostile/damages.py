"""Files of run and sweep folders, damaged: emptied, cut short, or with values of other types; and the commands."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

QUICK = "data.days=300 data.window=10 trainer.epochs=1 report=false"
MADE = {
    "kept": "model=linear hydra.run.dir=kept",
    "run": "model=linear hydra.run.dir=run tracker.tensorboard=true",
    "chain": "model=linear hydra.run.dir=chain data.split=walk_forward data.folds=2 trainer.ensemble=2",
    "sweep": "-m model=linear seed=1,2 hydra.sweep.dir=sweep",
    "search": "-m +experiment=tune_mlp hydra.sweeper.n_trials=2 hydra.sweep.dir=search",
}
"""What makes the folders."""
_RUN = (
    "trainer.resume=F trainer.epochs=2 report=false",
    *(f"task={task} run=F report=false" for task in ("predict", "evaluate", "report", "audit", "explain", "update")),
    *(f"task={task} run=F report=false" for task in ("unseal", "looks", "doctor", "features", "reproduce")),
    "-cp F/.hydra -cn config hydra.run.dir=again report=false",
    "task=evaluate run=F data.seed=5 report=false",
    "task=predict run=F export.onnx=x.onnx",
    "task=placebo run=F placebo.copies=1 report=false",
    "task=combine runs=[F,kept] report=false",
    "model=linear data.days=300 data.window=10 trainer.epochs=1 report=false trainer.init_from=F",
)
_SWEEP = (
    "MAKE",
    *(f"task={task} run=F report=false" for task in ("report", "unseal", "looks", "reproduce")),
    "task=placebo run=F placebo.copies=1 report=false",
    "task=combine runs=[F] report=false",
)
COMMANDS = {"run": _RUN, "sweep": _SWEEP, "search": _SWEEP, "chain": _RUN}
"""The commands that meet each folder, F."""
_WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "{}": lambda _: b"{}\n",
    "[]": lambda _: b"[]\n",
    "null": lambda _: b"null\n",
    "number": lambda _: b"1\n",
    "binary": lambda _: bytes(range(256)),
    "first line": lambda content: content.partition(b"\n")[0] + b"\n",
}
_ODD: tuple[Any, ...] = (
    None,
    [],
    {},
    "x",
    1,
    -1,
    1e300,
    True,
    [None],
    {"x": None},
    "9" * 400,
    float("nan"),
    ["x"],
    [[1]],
    {"x": {}},
)


def damages(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """What is done to a file's content, and the content then."""
    for kind, damage in _WHOLE.items():
        yield kind, damage(content)
    if name.endswith(".json"):
        yield from _changed_values(json.loads(content), random.Random(name))
    if name.endswith(".csv"):
        yield from _changed_cells(content.decode(), random.Random(name))


def _changed_values(value: Any, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """JSON in which a value somewhere is of another type, or is missing."""
    places = list(_places(value))
    for key in value:
        yield from (_changed(value, (key,), odd) for odd in ("missing", chance.choice(_ODD), chance.choice(_ODD)))
    for _ in range(20):
        yield _changed(value, chance.choice(places), chance.choice(("missing", *_ODD)))


def _changed(value: Any, place: tuple[Any, ...], odd: Any) -> tuple[str, bytes]:
    of = changed = json.loads(json.dumps(value))
    *parents, last = place
    for key in parents:
        of = of[key]
    if odd == "missing":
        del of[last]
    else:
        of[last] = odd
    return f"{'.'.join(map(str, place))}: {odd!r}"[:100], json.dumps(changed).encode()


def _places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*before, key)
        yield from _places(inner, (*before, key))


def _changed_cells(text: str, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """A table with one odd cell, or a column less."""
    lines = [line.split(",") for line in text.splitlines()]
    for odd in ("", "x", "nan", "1e999", '"', "2020-99-99", "-1", "\x1b[2J"):
        line = chance.randrange(len(lines))
        column = chance.randrange(len(lines[line]))
        changed = [list(cells) for cells in lines]
        changed[line][column] = odd
        yield f"{line}, {column}: {odd!r}", "\n".join(map(",".join, changed)).encode() + b"\n"
    for column in range(len(lines[0])):
        with contextlib.suppress(IndexError):
            shorter = [cells[:column] + cells[column + 1 :] for cells in lines]
            yield f"no {lines[0][column]}", "\n".join(map(",".join, shorter)).encode() + b"\n"


def files(folder: Path) -> list[str]:
    """The files of a folder that commands read; of jobs, folds and members the first."""
    skipped = ("plots/", "tensorboard/", "seed_2", "folds/1", "members/1", ".lock", ".changing", ".png")
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    return [name for name in names if not any(part in name for part in skipped)]
