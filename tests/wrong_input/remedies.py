"""What a message proposes, applied to what was typed: it must lead on, to a run or to another message."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import zlib
from collections.abc import Iterator, Sequence

import pytest

from stockml import cli
from stockml.errors import UserError
from stockml.runs.folder import RunFolder
from stockml.runs.sweep_folder import SweepFolder
from stockml.tasks import train_ddp

_REACHED = "all that is looked at before a run's folder is made is right"
_PLACEHOLDERS = {
    "FOLDER": "elsewhere",
    "FILE": "elsewhere.csv",
    "HOST:PORT": "localhost:29400",
    "=N": "=1",
    "A,B": "1,2",
    "…": "$close",
}
_SETTING = r"[+~]?[a-z][\w./]*=(?:[^\s,;:()'\[]|,(?! )|:(?=\S)|\[[^]]*\])+(?!:)"
_QUOTED = r"'(?:[+~]?[a-z][^'=]*=[^']+|~[^']+)'"
_PROPOSED = re.compile(
    r"(?:\b(?:take|only|set|type|add|(?:one|another|added) with|or|either|is|chosen by|set by)|[:,]|\() "
    rf"?({_SETTING}(?: {_SETTING})*(?: {_QUOTED})?)"
)
_INSTEAD = re.compile(
    r"chosen by|added by|added with|set by|folder is|by itself|either|quotes?|a list: |about several|for another"
)


def assert_they_lead_on(capsys: pytest.CaptureFixture[str], typed: Sequence[str], err: str) -> None:
    """Each proposal of each line, typed, brings a run that could begin, or another message than this line.

    A proposal of one kind is tried once in a session, and half of the kinds unless STOCKML_ALL_REMEDIES is set.
    """
    for line in err.splitlines():
        kind = _masked(line)
        is_left_out = zlib.crc32(kind.encode()) % 2 == 0 and not os.environ.get("STOCKML_ALL_REMEDIES")
        if kind in _tried or is_left_out:
            continue
        _tried.add(kind)
        for better in _remedied(line, typed):
            with pytest.MonkeyPatch.context() as patch:
                for owner, name in _ENDS:
                    patch.setattr(owner, name, _reached)
                capsys.readouterr()
                cli.main(better)
            after = capsys.readouterr().err
            assert "fault of stockml's own" not in after, after
            is_example = any(filled in one for filled in _PLACEHOLDERS.values() for one in better)
            same = {after_line if is_example else _masked(after_line) for after_line in after.splitlines()}
            assert (line if is_example else kind) not in same, (
                f"{line}\nleads by\n{shlex.join(better)}\nwhich says\n{after}"
            )


_tried = set[str]()
_ENDS = ((RunFolder, "_prepared"), (SweepFolder, "at"), (SweepFolder, "create"), (train_ddp, "run"))


def _reached(*_: object, **__: object) -> None:
    raise UserError(_REACHED)


def _masked(line: str) -> str:
    """What a line says, whatever it is said of."""
    return re.sub(r"\S*/\S*|=\S+|'[^']*'|\"[^\"]*\"|\d+", "#", line.partition("; ")[0])


def _remedied(line: str, typed: Sequence[str]) -> Iterator[list[str]]:
    """The command line with each of a message's proposals in it."""
    subject, _, said = line.partition(": ")
    said = said[said.rfind("); ") + 1 :] if "not of the form" in said else said
    for name, filled in _PLACEHOLDERS.items():
        said = said.replace(name, filled)
    keys = [_key(part.strip("'")) for part in subject.split(", ")]
    others = [one for one in typed if _key(one) not in keys]
    if meant := re.search(r"(?:did you mean|the nearest is) (~?[\w./]+)", said):
        yield from _with_nearest(typed, line[: line.index(meant[0])], meant[1])
    for command in re.findall(r"python run\.py ([^;]*?) shows", said):
        yield shlex.split(command)
    if "without the plus" in said:
        yield [one.lstrip("+") for one in typed]
    if "add -m" in said:
        yield ["-m", *typed]
    if re.search(r"without -m|leave out -m", said) or (subject == "command line" and "leave out one" in said):
        yield [one for one in typed if one != "-m"]
    elif re.search(r"leave (it|this|them|one of them) out|leave out one", said) and len(others) < len(typed):
        yield others
    quoted = re.findall(_QUOTED, said)
    base = others if _INSTEAD.search(said) else typed
    if names := re.search(r"'(~[\w.]+\.)NAME': ([\w, ]+)", said):
        yield [*typed, *(names[1] + name for name in names[2].split(", "))]
    elif quoted:
        yield _with(base, [part for one in quoted for part in shlex.split(one)])
    proposed = [found[1] for found in _PROPOSED.finditer(said)]
    if "one of the two" in said:
        base = [one for one in base if _key(one) not in map(_key, proposed)]
    for one in proposed:
        yield _with(base, shlex.split(one))


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~").replace("/", ".")


def _with(typed: Sequence[str], proposed: Sequence[str]) -> list[str]:
    """The command line with these overrides instead of its own of the same keys."""
    keys = [_key(one) for one in proposed]
    return [*(one for one in typed if _key(one) not in keys), *proposed]


def _with_nearest(typed: Sequence[str], blamed: str, meant: str) -> Iterator[list[str]]:
    """The command line with a word instead of the one that is blamed and nearest to it."""
    pattern, end = (r"~?[\w./]+", r"[\w.]") if "." in meant else (r"\w+", r"\w")
    words = [word for word in re.findall(pattern, " ".join(typed)) if word != meant and word in blamed]
    for nearest in difflib.get_close_matches(meant, words, n=1, cutoff=0.5):
        yield [re.sub(rf"(?<!{end}){re.escape(nearest)}(?!{end})", meant, one) for one in typed]
