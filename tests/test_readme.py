"""What the READMEs show is true: their commands and code run, their links and settings exist.

Every command (a line of a block of `sh`, or code within a sentence that begins with a program's name) is run on small
settings, in a folder with the files that it names; or it is listed in NOT_RUN with the reason.
"""

from __future__ import annotations

import functools
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stockml import Result, compose
from stockml.config.values import leaves, plain
from stockml.data.bars import Bars
from tests.conftest import command, random_bars, write_bars
from tests.markdown import ROOT, Block, blocks, readmes

NOT_RUN = {
    r"python run\.py model=attention_pool": "tests/models/test_own_model.py runs it",
    r"(python -m )?pip (un)?install|pip uninstall": "changes the installation; .ci/run installs",
    r"eval ": "changes the shell; tests/models/test_own_model.py asks for completions",
    r"unset ": "changes the shell",
    r'python -c "import torch': "about the build of PyTorch that is installed",
    r"python train_|train_ddp\.py|train_all_stocks_ddp\.py": "the old scripts, which are not here",
    r".* (data=yahoo|task=fetch)": "needs the network; tests/data/sources/test_yahoo.py asks a server of its own",
    r".* hydra/launcher=slurm": "needs SLURM",
    r".* hydra/launcher=ray": "takes long or needs a cluster; tests/tasks/test_ray.py runs it",
    r"srun ": "needs SLURM; tests/tasks/test_ddp_nodes.py sets its variables",
    r"torchrun |.* trainer\.nnodes=2": "needs several machines; tests/tasks/test_ddp_nodes.py runs two nodes on one",
    r".* '?tracker=\S*mlflow": "takes long or needs a server; tests/trackers/test_trackers.py runs it",
    r".* export\.onnx=true": "takes long; tests/tasks/test_predict.py runs it",
    r".* \+experiment=tune_mlp": "takes long; tests/tasks/test_search.py runs it",
    r".* model=(lightgbm|extra_trees)": "takes long; tests/tasks/test_trees.py runs it",
    r".* task=placebo": "takes long; tests/tasks/test_placebo.py runs it",
    r".* task=unseal": "its run is sealed; tests/tasks/test_sealed.py runs it",
    r".* task=combine": "its runs are of the same stock; tests/tasks/test_combine.py runs it",
    r"py-spy ": "looks at a process that hangs",
    r"([A-Z_]+=\S+ )?pytest |ruff |\.ci/run": "the tests themselves, of which this is one",
    r"python tests/benchmarks/run\.py": "measures for minutes; tests/test_tables.py writes its tables",
    r"python tests/campaigns/reproduce_all\.py": "tests/test_reproduce_all.py runs it",
    r"python tests/campaigns/example_run\.py": "needs Chromium; tests/reporting/test_page.py draws the page",
    r"python tests/campaigns/": "takes minutes to an hour; tests of the same name run samples",
}
"""Commands that are not run, as the beginning of the command (a regular expression), and why."""

NOT_RUN_BLOCKS = {
    r"text:\$ python run\.py stock=AAPL": "what a run prints: tests/campaigns/example_run.py writes it",
    r"toml:# spread/|python:# spread/": "tests/data/features/test_own_operator.py installs and runs it",
    r"toml:# my_factors/|python:# my_factors/": "tests/data/features/test_own_set.py installs and runs it",
    r"mermaid:|text:first run  train": "a drawing",
    r"toml:# attention_pool/|python:# attention_pool/": "tests/models/test_own_model.py installs and runs it",
}
"""Blocks of code that are neither commands nor run, as language and beginning, and why."""

STATUS = {r"audit\.plant=": 1, r"stok=": 2}
"""Commands whose exit status is not 0."""

SMALLER = {
    "stock=glob(*)": "stock=AAPL,TSLA",
    "stock=AAPL,AMZN,JNJ,JPM,MSFT,TSLA,XOM": "stock=AAPL,TSLA",
    "seed=range(5)": "seed=range(2)",
    "data.fold=range(5)": "data.fold=range(2)",
}
"""Words of a sweep that has many jobs, and what is run instead."""

PROGRAMS = r"python|stockml|pip|torchrun|srun|pytest|ruff|py-spy|eval|unset"
RUN, SWEEP = "20240115_123456", "multirun/20240115_123456"


READMES = readmes()


@dataclass(frozen=True)
class Command:
    """A command that a README shows."""

    readme: Path
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)


def commands(readme: Path) -> list[Command]:
    """Those of its blocks of `sh` and of its sentences and tables."""
    text = readme.read_text(encoding="utf-8")
    lines = [line.strip() for block in blocks(text) if block.language == "sh" for line in block.text.splitlines()]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = [found.replace("\n", " ") for found in re.findall(rf"`((?:{PROGRAMS}) [^`]*|\.ci/run)`", prose)]
    return [Command(readme, line) for line in [*lines, *inline] if line and line != "python run.py"]


def reason_not_run(text: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.match(pattern, text)), None)


COMMANDS = [found for readme in READMES for found in commands(readme)]
BLOCKS = [(readme, block) for readme in READMES for block in blocks(readme.read_text(encoding="utf-8"))]


def small(words: Sequence[str]) -> list[str]:
    """The words of a command, and settings that make its training small where they are not typed."""
    words = [SMALLER.get(word, word) for word in words]
    typed = dict(word.partition("=")[::2] for word in words)
    task = typed.get("task", "train")
    if words[0].startswith("--") or task in ("predict", "evaluate", "report", "doctor"):
        return words
    added: dict[str, str] = {}
    if task == "train" and typed.get("+experiment") != "debug_overfit":
        added["trainer.epochs"] = "3" if "trainer.resume" in typed else "2"
    if not {"trainer.resume", "run", "-cp"} & set(typed) and typed.get("data") != "npz":
        added["data.window"] = "10"
        added |= {"data.days": "400"} if "data" not in typed else {}
    if task != "audit":
        added["report"] = "false"
    if typed.get("trainer") == "ddp":
        added["trainer.world_size"] = "2"
    return [*words, *(f"{key}={value}" for key, value in added.items() if key not in typed)]


RUNNABLE = list({" ".join(sorted(small(c.words))): c for c in COMMANDS if reason_not_run(c.text) is None}.values())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files, runs and the sweep that the commands name."""
    folder = tmp_path_factory.mktemp("prepared")
    for seed, ticker in enumerate(("XOM", "NVDA", "AAPL", "AMZN", "JNJ", "TSLA")):
        longer = random_bars(320, seed, ticker)
        columns = {name: values[:300] for name, values in longer.columns.items()}
        write_bars(Bars(ticker, longer.dates[:300], columns, "test"), folder / "bars")
        write_bars(longer, folder / "newer_bars")
    shutil.copy(folder / "bars" / "NVDA.csv", folder / "nasdaq_NVDA.csv")
    _write_long(folder / "long.csv", folder / "bars")
    _write_further(folder)
    rng = np.random.default_rng(0)
    shapes = {"X_train": (80, 10, 5), "y_train": (80,), "X_test": (20, 10, 5), "y_test": (20,)}
    arrays: dict[str, Any] = {key: 0.01 * rng.standard_normal(shape) for key, shape in shapes.items()}
    (folder / "arrays").mkdir()
    for name in ("sp500", "sp500_regression", "arrays/AAPL"):
        np.savez(folder / f"{name}.npz", **arrays)
    for typed in (
        f"hydra.run.dir=outputs/AAPL_{RUN}",
        f"data=csv data.dir=bars stock=XOM hydra.run.dir=outputs/XOM_{RUN}",
        f"task=update run=outputs/XOM_{RUN} data.dir=newer_bars hydra.run.dir=outputs/XOM_20240215_123456",
        f"stock=TSLA trainer=ddp trainer.world_size=2 hydra.run.dir=outputs/TSLA_{RUN}",
        f"-m stock=AAPL,TSLA seed=range(2) hydra.sweep.dir={SWEEP}",
    ):
        done = command(*small(typed.split()), cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def _write_long(path: Path, folder: Path) -> None:
    """One file of all stocks of a folder, with a column of tickers."""
    lines: list[str] = []
    for file in sorted(folder.iterdir()):
        header, *rows = file.read_text().splitlines()
        lines += [f"Ticker,{header}"] if not lines else []
        lines += [f"{file.stem},{row}" for row in rows]
    path.write_text("\n".join(lines) + "\n")


def _write_further(folder: Path) -> None:
    """Bars with further columns, with foreign names, without names, and those of other markets."""
    header, *rows = (folder / "bars" / "AAPL.csv").read_text().splitlines()
    numbered = [f"{row},{n % 7},{n % 5}" for n, row in enumerate(rows)]
    (folder / "my.csv").write_text("\n".join([f"{header},sentiment,news score", *numbered]) + "\n")
    (folder / "bare.csv").write_text("\n".join(rows) + "\n")
    cells = [row.split(",") for row in rows]
    (folder / "dax.csv").write_text("Datum;Zuletzt\n" + "".join(f"{row[0]};{row[4]}\n" for row in cells))
    (folder / "rates").mkdir()
    (folder / "rates" / "DGS10.csv").write_text("Date,rate\n" + "".join(f"{row[0]},{row[4]}\n" for row in cells))
    for ticker in ("SP500", "VIX"):
        shutil.copy(folder / "bars" / "TSLA.csv", folder / "bars" / f"{ticker}.csv")


@pytest.fixture
def place(prepared: Path, tmp_path: Path) -> Path:
    """The prepared folder for one test alone."""
    return shutil.copytree(prepared, tmp_path / "stocks")


@pytest.mark.parametrize("shown", RUNNABLE, ids=lambda c: " ".join(c.words))
def test_the_command_runs(shown: Command, place: Path) -> None:
    words = shown.words
    program = 2 if words[:2] == ["python", "run.py"] else 1 if words[0] == "stockml" else 0
    assert program, f"{shown.readme}: {shown.text}: neither run nor listed in NOT_RUN"
    done = command(*small(words[program:]), cwd=place)
    expected = next((status for pattern, status in STATUS.items() if re.search(pattern, shown.text)), 0)
    assert done.returncode == expected, done.stdout + done.stderr


def test_what_is_not_run_is_shown_somewhere() -> None:
    for pattern in NOT_RUN:
        assert any(re.match(pattern, c.text) for c in COMMANDS), pattern
    for pattern in NOT_RUN_BLOCKS:
        assert any(_named_by(pattern, block) for _, block in BLOCKS), pattern


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_runs_block_after_block(readme: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    before = set((place / "outputs").iterdir())
    session: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(readme.read_text(encoding="utf-8")):
        if block.language == "python" and not _is_listed(block):
            exec(compile("\n" * block.line + block.text, str(readme), "exec"), session)
    made = set((place / "outputs").iterdir()) - before
    assert {Result(folder).status for folder in made} <= {"ok"}
    if "forecasts" in session:
        assert session["forecasts"]["y_true"].isna().sum() == 1


def test_every_block_is_run_or_listed() -> None:
    for readme, block in BLOCKS:
        is_run = block.language in ("sh", "python") or _is_listed(block)
        assert is_run, f"{readme}:{block.line}: neither sh nor python, nor listed in NOT_RUN_BLOCKS"
    for readme in READMES:
        text = readme.read_text(encoding="utf-8")
        assert 2 * len(blocks(text)) == text.count("```"), f"{readme}: a fence that does not stand alone in its line"


def _is_listed(block: Block) -> bool:
    return any(_named_by(pattern, block) for pattern in NOT_RUN_BLOCKS)


def _named_by(pattern: str, block: Block) -> bool:
    return bool(re.match(pattern, f"{block.language}:{block.text}"))


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(readme: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", readme.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        path = readme.parent / name if name else readme
        assert path.exists(), f"{readme}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_that_are_named_exist(readme: Path) -> None:
    named = re.findall(
        r"(?<![\w.])((?:stock|data|model|trainer|hardware|tracker|sweep|export|audit)\.[a-z_]+)(?==|`|,|\))",
        "\n".join(re.findall(r"`[^`\n]+`|^python run.*$", readme.read_text(encoding="utf-8"), re.MULTILINE)),
    )
    files = {"model.onnx", "hardware.py", "sweep.json"}
    assert set(named) - files <= _settings()


@functools.cache
def _settings() -> set[str]:
    """Every setting of every choice of the groups."""
    choices = ["data=csv", "data=npz", "data=yahoo", "data=simulated", "trainer=ddp", "tracker=tensorboard"]
    choices += [f"model={path.stem}" for path in (ROOT / "conf" / "model").iterdir() if path.suffix == ".yaml"]
    configs = [compose.compose(choice, *_needed(choice)) for choice in choices]
    return {key for config in configs for key, _ in leaves(plain(config))} | {"data.path", "data.dir"}


def _needed(choice: str) -> list[str]:
    return ["data.dir=."] if choice in ("data=csv", "data=npz") else []


def test_every_room_has_a_readme_of_at_most_150_lines() -> None:
    rooms = [path.parent for path in (ROOT / "stockml").glob("*/__init__.py")]
    assert rooms
    for folder in [ROOT, ROOT / "conf", ROOT / "stockml", ROOT / "tests", *rooms]:
        assert folder / "README.md" in READMES, folder
    for readme in READMES:
        assert len(readme.read_text(encoding="utf-8").splitlines()) <= 150, readme


def test_every_campaign_has_its_command_in_the_readme_and_every_command_its_file() -> None:
    shown = {name for c in COMMANDS for name in re.findall(r"tests/(?:campaigns|benchmarks)/\w+\.py", c.text)}
    files = {f"tests/campaigns/{path.name}" for path in (ROOT / "tests" / "campaigns").glob("[a-z]*.py")}
    assert shown == files | {"tests/benchmarks/run.py"}
