"""Files written under a temporary name, flushed and renamed; and folders made for one user alone."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from stockml.config.printable import csv_cell, json_text
from stockml.errors import UserError
from stockml.runs import plain_files, shapes
from stockml.runs.names import numbered_names
from stockml.runs.old_releases import check_format
from stockml.runs.temporary import temporary


class Folder:
    """A folder whose files are written under a temporary name, flushed and renamed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written: set[Path] = set()

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to write to. It replaces an older one of that name once it is complete and on the disk."""
        path = self.path / name
        self._make_parents(path)
        own = temporary(path)
        try:
            with own.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            own.replace(path)
            self.written.add(path)
        except BaseException as error:
            own.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.filename in (None, str(own)):  # None: a full disk
                error.filename = str(path)
            raise

    def _make_parents(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        with self.writing(name) as file:
            file.write(text.encode(errors="backslashreplace"))

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write JSON. Raises ValueError for a NaN, which is a bug of the caller."""
        self.write_text(name, json_text(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)) + "\n")

    def write_csv(
        self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]], *, synthetic: bool = False
    ) -> None:
        """Write a table row by row. With `synthetic` it gets a last column that says so."""
        mark = (["synthetic"], ["true"]) if synthetic else ([], [])
        with self.writing(name) as file:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(map(csv_cell, [*header, *mark[0]]))
            writer.writerows(
                [*(csv_cell(cell) if isinstance(cell, str) else cell for cell in row), *mark[1]] for row in rows
            )
            text.detach()  # flushes, and leaves the file open

    def read_json(self, name: str) -> shapes.Values:
        """Read a JSON object. Raises UserError if it is missing, broken, of another shape or of a later release."""
        path = self.path / name
        try:
            value = shapes.parsed(path, plain_files.read(path, plain_files.MOST_JSON_BYTES))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read ({error})") from error
        check_format(path, value)
        return value


def new_folder(parent: Path, name: str, key: str) -> Path:
    """Make `<parent>/<name>`, with a suffix `_2`, `_3`, … if the name is taken; `key` is the setting that names it."""
    with folder_errors(parent, key):
        parent.mkdir(parents=True, exist_ok=True)
        for own in numbered_names(name):
            path = parent / own
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path
    raise AssertionError("unreachable")


@contextlib.contextmanager
def folder_errors(path: Path, key: str) -> Iterator[None]:
    """Turn an OSError about a folder into a UserError that names the setting `key`."""
    try:
        yield
    except OSError as error:
        what = "run folder" if key == "hydra.run.dir" else "sweep folder"
        raise UserError(
            f"{path}: cannot make a {what} here ({error.strerror}); choose another with {key}=FOLDER"
        ) from error
