"""The texts that Hydra reads and writes: overrides and their grammar, YAML, and what its errors say."""

from __future__ import annotations

import datetime
import fnmatch
import functools
import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, Transformer
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from stockml.config.printable import printable
from stockml.config.values import show, undecoded
from stockml.errors import UserError


def parse(overrides: Iterable[str], loader: Any = None) -> list[Override]:
    """Hydra's reading of each override; UserError with a line for each that has no meaning.

    `loader` knows the choices that a `glob` stands for.
    """
    parser = OverridesParser.create(loader)
    parsed, faults = [], []
    for text in overrides:
        try:
            if text.startswith("="):
                raise HydraException("no key")
            parsed += parser.parse_overrides([text])
        except HydraException as error:
            if unquoted := _unquoted(text):
                faults.append(f"{text.partition('=')[0]}: {unquoted}")
                continue
            reason = str(error).splitlines()[0].removesuffix(".")
            faults.append(f"{text!r}: not of the form key=value ({reason}); {_advice(text)}")
    if faults:
        raise UserError(*faults)
    return parsed


def with_files(o: Override) -> Override:
    """The override; a glob of `data.path`, or of another path, as the files, or folders, that it stands for."""
    pattern: Any = o.value()
    kind = o.key_or_group.rpartition(".")[2].rpartition("_")[2]
    if not isinstance(pattern, Glob) or kind not in ("path", "dir"):
        return o
    patterns = [str(Path(text).expanduser()) for text in pattern.include]
    found = {path for text in patterns for path in glob.glob(text, recursive=True)}  # noqa: PTH207  (absolute ones too)
    paths = [path for path in sorted(found) if Path(path).is_dir() == (kind == "dir")]
    paths = [path for path in paths if not any(fnmatch.fnmatch(path, text) for text in pattern.exclude)]
    if not paths:
        raise UserError(f"{o.input_line}: matches no {'folder' if kind == 'dir' else 'file'}; correct the pattern")
    if odd := [shown for path in paths if (shown := undecoded(path))]:
        raise UserError(*(f"{shown}: its name holds bytes that are not UTF-8; rename it" for shown in odd))
    (choice,) = parse([f"{o.get_key_element()}=choice({','.join(map(quote, paths))})"])
    return replace(choice, input_line=o.input_line)


def values_swept(o: Override) -> Iterator[str]:
    """The values that a sweep of one key stands for, as they are typed; Hydra leaves out the quotes within `choice`."""

    def typed(value: Any) -> str:
        is_special = isinstance(value, str) and re.search(r"[^\w./:%+\- ]", value, re.ASCII)
        return quote(value) if is_special and "${" not in value else str(Transformer.encode(value))

    yield from map(str, o.sweep_iterator(typed))


def _unquoted(text: str) -> str:
    """How to write a word with letters that Hydra takes in quotes only, such as ö; empty where there is none."""
    value = re.sub(r"\"[^\"]*\"|'[^']*'", "", text.partition("=")[2])
    word = re.search(r"(?:(?P<key>\w+): *)?(?P<word>[\w./ -]*[^\W\x00-\x7f][\w./ -]*)", value)
    if word is None:
        return ""
    key = f"{word['key']}: " if word["key"] else ""
    return f'quote {word["word"].strip()}, since it has other letters than a-z: {key}"{word["word"].strip()}"'


def _advice(text: str) -> str:
    """How an override that cannot be read is to be typed."""
    key, is_setting, value = text.partition("=")
    if not is_setting:
        return "a setting is typed as stock=AAPL; --help lists them"
    if not re.fullmatch(r"\+{0,2}features\.columns\..*|data\.target", key):
        return f"quote values with special characters{_quoted(key, value)}"
    name = key.rpartition(".")[2]
    if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        return f"{name!r} is no feature's name: it has letters, digits and _ only, and begins with a letter"
    shown = "…" if {'"', "'"} & set(value) else value
    taken = "" if "$" in value else "; where a $name is missing, the shell has taken it out"
    return f"an expression needs quotes of both kinds: '{key}=\"{shown}\"'{taken}"


def _quoted(key: str, value: str) -> str:
    """An override with its words in quotes, as the shell is given it; empty where that cannot be read either."""
    words = re.sub(r"[^\[\],\s\"'][^\[\],\"']*", lambda word: f'"{word[0]}"', value)
    try:
        OverridesParser.create().parse_override(f"{key}={words}")
    except HydraException:
        return ""
    return f": '{key}={words}'"


def quote(value: Any) -> str:
    """A value in the grammar of Hydra's overrides."""
    if isinstance(value, str):
        escaped = re.sub(r"(\\*)'", lambda m: m[1] * 2 + "\\'", value)
        escaped = re.sub(r"(\\+)$", lambda m: m[1] * 2, escaped)
        return f"'{literal(escaped)}'"
    if isinstance(value, list):
        return f"[{','.join(map(quote, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}: {quote(item)}' for key, item in value.items())}}}"
    return show(value)


def override(key: str, text: str) -> str:
    """`key=text`, quoted where Hydra's grammar needs it."""
    return f"{key}={text if re.fullmatch(r'[A-Za-z0-9_./+-]+', text) else quote(text)}"


def setting(key: str, value: object) -> str:
    """`key=value` of a Python value; UserError where the key is no setting's name, or no setting takes such a value."""
    if not re.fullmatch(r"\+{0,2}[A-Za-z_][\w./@]*", key):
        raise UserError(f"{key!r}: is no setting's name; write it as on the command line, 'trainer.epochs'")
    return f"{key}={quote(_plain(key, value))}"


def _plain(key: str, value: object) -> Any:
    """Text, a number, a truth or None, or a list or mapping of such, of what stands for it in Python."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        value = value.date()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, PathLike):
        return str(Path(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(key, item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [_plain(key, item) for item in value]
    if callable(item := getattr(value, "item", None)) and getattr(value, "ndim", None) == 0:  # numpy's scalars
        return _plain(key, item())
    raise UserError(
        f"{key}: no setting takes a {type(value).__name__}; give text, a number, True, False, None, a list or a mapping"
    )


def literal(value: Any) -> Any:
    """A value, or nested ones, in which OmegaConf finds no interpolation."""
    return _each_text(value, lambda text: re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", text))


def from_literal(value: Any) -> Any:
    """The value that `literal` gave this for. A `${` that is not escaped stays as it is."""
    return _each_text(value, lambda text: re.sub(r"((?:\\\\)*)\\\$\{", lambda m: m[1][::2] + "${", text))


def _each_text(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {key: _each_text(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def one_line(error: BaseException) -> str:
    """Hydra's several lines as one; of a file that is no YAML, where it is broken."""
    broken: BaseException | None = error
    while broken is not None and not isinstance(broken, yaml.MarkedYAMLError):
        broken = broken.__cause__
    if isinstance(broken, yaml.MarkedYAMLError) and (mark := broken.problem_mark or broken.context_mark) is not None:
        return f"{mark.name}, line {mark.line + 1}: is no YAML ({broken.problem}); indent with spaces, and quote texts"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [re.sub("Cannot merge DictConfig with ListConfig", "must be a list, [A,B]", line) for line in lines]
    kept = [
        line
        for line in lines
        if not line.startswith(
            ("Check that", "Config search path", "provider=", "full_key", "reference_type", "object_type")
        )
    ]
    key = getattr(error, "full_key", None)
    cause = f" ({one_line(error.__cause__)})" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    return (f"{key}: " if key else "") + " ".join(kept or lines or [type(error).__name__]) + cause + extra(str(error))


# What is found in Hydra's groups only where an extra is installed.
_EXTRAS = {"submitit": "slurm", "optuna": "optuna"}


def extra(text: str) -> str:
    """Advice where `text` names something that comes with an extra."""
    found = [name for plugin, name in _EXTRAS.items() if plugin in text]
    return f"; it comes with: pip install 'stockml[{found[0]}]'" if found else ""


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # libyaml's is ten times as fast
    """Writes YAML as OmegaConf does: texts that another reader would take for a number or a truth are quoted."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write what occurs twice twice."""
        return True


_WORDS = {word for name in ("y", "yes", "n", "no", "true", "false", "on", "off") for word in (name, name.title())} | {
    name.upper() for name in ("y", "yes", "n", "no", "true", "false", "on", "off")
}


def _represent_text(dumper: Any, text: str) -> Any:
    quoted = text in _WORDS or _is_number(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if quoted else None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_Dumper.add_representer(str, _represent_text)


def to_yaml(value: Any) -> str:
    """Plain nested values as YAML, in their order."""
    dump = functools.partial(yaml.dump, value, Dumper=_Dumper, default_flow_style=False, sort_keys=False)
    text: str = dump(allow_unicode=True)
    return text if printable(text) == text else str(dump(allow_unicode=False))
