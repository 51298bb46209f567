"""Raw rows of a file or a hub data set, numbered so that an error can point at them. What they mean: see
``rows``.

CSV is read with every value as text (no guessing of numbers, so that "007" stays), its fields separated by commas,
semicolons or tabs as its header is; Parquet with pyarrow, hub data sets with ``datasets``. JSON may be a list of rows,
one row, or one row a line, whatever the suffix. A ``.txt`` or ``.md`` file is one document.
"""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from unlogit.errors import DataError

DOCUMENT_SUFFIXES = (".txt", ".md")
"""The names of files that are one document each."""

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", *DOCUMENT_SUFFIXES)
"""The file names that can be read."""

_SHOWN = 3  # bad rows named in an error; the others are counted


@dataclass(slots=True)
class Table:
    """Rows as they were read. ``numbers[i]`` is where row i stands, counted in ``unit`` from 1."""

    name: str
    unit: str = "row"
    text_only: bool = False
    """Every value is text (CSV): lists stand as JSON in a string."""
    numbers: list[int] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, number: int, row: dict[str, Any]) -> None:
        """Append a row and its number."""
        self.numbers.append(number)
        self.rows.append(row)


def raise_bad_rows(table: Table, problems: list[tuple[int, str]], expected: str) -> NoReturn:
    """Raise one DataError that counts all the bad rows, names the first few, and never shows their text."""
    shown = "; ".join(f"{table.unit} {number}: {problem}" for number, problem in problems[:_SHOWN])
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    rows = "1 bad row" if len(problems) == 1 else f"{len(problems)} bad rows"
    raise DataError(f"{table.name} has {rows} ({shown}{more}); expected {expected}: fix or remove them")


def check_file(path: Path) -> None:
    """Refuse what ``read_table`` cannot read, as far as can be told without reading it.

    Raises:
        DataError: the file is missing, empty, or of an unknown suffix.
    """
    if path.suffix.lower() not in _READERS:
        raise DataError(
            f"{path} has the suffix {path.suffix!r}; expected one of {', '.join(SUFFIXES)}: convert it to one of these"
        )
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected a file with rows: check the path")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; expected a file with rows: check how it was made")


def read_table(path: Path) -> Table:
    """Read a file by its suffix.

    Raises:
        DataError: the file is missing, empty, of an unknown suffix, or not what its suffix says.
    """
    check_file(path)
    table = _READERS[path.suffix.lower()](path)
    if not table.rows:
        raise DataError(f"{path} has no rows; expected at least one: check how it was made")
    return table


def read_hub(name: str, config: str = "") -> Table:
    """Read a data set of the Hugging Face hub: its ``train`` split, or its only one.

    Raises:
        DataError: there is none of this name or configuration, it cannot be reached, or has several splits and none of
            them is ``train``.
    """
    import datasets
    from datasets.exceptions import DatasetsError

    shown = f"{name}:{config}" if config else name
    try:
        splits = datasets.load_dataset(name, config or None)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{shown} is no local file and could not be read from the hub ({type(error).__name__}: "
            f"{reason}); "
            "expected a file, a folder or a hub data set: check the name, or download it and give the folder"
        ) from error
    split = "train" if "train" in splits else next(iter(splits))
    if split != "train" and len(splits) > 1:
        raise DataError(
            f"{shown} has the splits {', '.join(splits)}; expected 'train' or a single one: "
            "save the one you mean as a file and give that"
        )
    table = Table(shown)
    for number, row in enumerate(splits[split], start=1):
        table.add(number, dict(row))
    if not table.rows:
        raise DataError(f"{shown} has no rows in its split {split!r}; expected at least one: check the name")
    return table


def decoded(path: Path) -> str:
    """The file's text; a byte-order mark, which spreadsheets like to write, is dropped."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 (byte {error.start}); expected UTF-8 text: save it in that encoding"
        ) from error


def _json_lines(path: Path, text: str | None = None) -> Table:
    table = Table(str(path), unit="line")
    problems: list[tuple[int, str]] = []
    # not splitlines(): that also cuts at U+2028 and its like, which JSON allows inside a string
    for number, line in enumerate((text if text is not None else decoded(path)).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            problems.append((number, f"not JSON ({error.msg} at column {error.colno})"))
            continue
        if isinstance(row, dict):
            table.add(number, row)
        else:
            problems.append((number, "not a JSON object"))
    if problems:
        raise_bad_rows(table, problems, "one JSON object a line")
    return table


def _json(path: Path) -> Table:
    text = decoded(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if not text.lstrip().startswith("["):
            return _json_lines(path, text)
        raise DataError(
            f"{path} is not JSON ({error.msg} in line {error.lineno}, column {error.colno}); expected a "
            "list of rows or one row a line: fix that line"
        ) from error
    table = Table(str(path))
    rows = content if isinstance(content, list) else [content]
    problems = [(i, "not a JSON object") for i, row in enumerate(rows, start=1) if not isinstance(row, dict)]
    if problems:
        raise_bad_rows(table, problems, "a list of JSON objects")
    for number, row in enumerate(rows, start=1):
        table.add(number, row)
    return table


def _json_lines_or_list(path: Path) -> Table:
    return _json(path) if decoded(path).lstrip().startswith("[") else _json_lines(path)


def _csv(path: Path) -> Table:
    csv.field_size_limit(2**31 - 1)  # long documents; the module's own limit is 128 KiB
    table = Table(str(path), text_only=True)
    text = decoded(path)
    header = re.sub(r'"[^"]*"', "", text.lstrip().split("\n", 1)[0])
    delimiters = "\t" if path.suffix.lower() == ".tsv" else ",;\t"
    delimiter = max(delimiters, key=header.count)  # the first where there is none
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    problems: list[tuple[int, str]] = []
    try:
        for number, row in enumerate(reader, start=1):
            if None in row:
                problems.append((number, "more fields than the header has columns"))
            table.add(number, row)
    except csv.Error as error:
        raise DataError(
            f"{path} is not CSV ({error}, line {reader.line_num}); expected comma-separated fields under a "
            "header, quoted where they hold commas, quotes or line breaks: fix that line"
        ) from error
    if problems:
        raise_bad_rows(table, problems, "as many fields as columns, quoted where they hold commas")
    return table


def _document(path: Path) -> Table:
    table = Table(str(path), unit="document")
    table.add(1, {"text": decoded(path)})
    return table


def _parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} is not Parquet ({reason}); expected a Parquet file: check how it was made") from error
    table = Table(str(path))
    for number, row in enumerate(rows, start=1):
        table.add(number, row)
    return table


_READERS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": _json_lines_or_list,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".txt": _document,
    ".md": _document,
}

HUB_NAME = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?::(?P<config>\w[\w.-]*))?")
"""``owner/name`` or ``owner/name:config``."""
