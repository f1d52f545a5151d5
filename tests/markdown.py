"""READMEs as tests and measuring commands see them: their sections, code blocks, commands, and tables that are written.

A table of figures stands between two marks, and the command that measures it writes it there:

    <!-- table:speed -->
    | benchmark | measured |
    <!-- /table -->
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    line: int
    """Of its first fence, counted from 1."""
    language: str
    text: str


def readmes() -> list[Path]:
    """Every page of the repository: the READMEs, and the pages beside them."""
    command = ["git", "ls-files", "*.md", ":!tests/releases"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines()]


def blocks(text: str) -> list[Block]:
    """The fenced blocks, in their order."""
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [Block(text[: block.start()].count("\n") + 1, block[1], block[2]) for block in found]


def files_shown(path: Path, title: str) -> dict[str, str]:
    """The files of the package that the section shows, by path: each block whose first line is a comment with it."""
    blocks = re.findall(r"```(?:toml|python)\n# (\S+)\n(.*?)```", section(path, title), re.DOTALL)
    return {name: text.strip() + "\n" for name, text in blocks}


def install(files: Mapping[str, str], folder: Path, package: str) -> Path:
    """Write a package's files into the folder, and install it; where it is installed."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", "site", f"./{package}"], cwd=folder, check=True)
    return folder / "site"


def section(path: Path, title: str) -> str:
    """What stands under the heading `## title`."""
    text = path.read_text(encoding="utf-8")
    (body,) = re.findall(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return str(body)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def written_table(path: Path, name: str) -> str:
    """What stands between a table's marks; ValueError where the file has no such marks, or has them twice."""
    _, body, _ = _split(path, name)
    return body


def write_table(path: Path, name: str, markdown: str) -> None:
    """Put the text between a table's marks; ValueError where the file has no such marks, or has them twice."""
    before, _, after = _split(path, name)
    path.write_text(f"{before}{markdown.strip()}{after}", encoding="utf-8")


def update_rows(path: Path, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows into a table. A row with the same first cell is replaced, other rows stay, further ones are added."""
    known = [
        line.removeprefix("| ").removesuffix(" |").split(" | ") for line in written_table(path, name).splitlines()[2:]
    ]
    merged: dict[str, Sequence[object]] = {row[0]: row for row in known}
    merged.update({str(row[0]): row for row in rows})
    write_table(path, name, table(header, merged.values()))


def _split(path: Path, name: str) -> tuple[str, str, str]:
    text = path.read_text(encoding="utf-8")
    opening, closing = f"<!-- table:{name} -->\n", "\n<!-- /table -->"
    if text.count(opening) != 1:
        raise ValueError(f"{path}: {opening.strip()} stands there {text.count(opening)} times, not once")
    before, rest = text.split(opening)
    body, mark, after = rest.partition(closing)
    if not mark:
        raise ValueError(f"{path}: {opening.strip()} has no {closing.strip()}")
    return before + opening, body, mark + after
