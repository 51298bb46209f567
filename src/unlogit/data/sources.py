"""Where examples come from: a file, a folder of files, a hub data set, or TOFU by name.

``read_examples`` finds out which; ``tables`` reads, ``rows`` says what the rows mean, ``tofu`` knows the
benchmark.
"""

import json
import re
from pathlib import Path
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.rows import examples_from
from unlogit.data.tables import HUB_NAME, SUFFIXES, check_file, read_hub, read_table
from unlogit.data.tofu import load_tofu
from unlogit.errors import DataError

TOFU_PREFIX = "tofu:"

NO_FILES = ("builtin", "none")
"""What stands for rows of our own, or for none, where a setting takes a source."""


def read_examples(
    source: str, *, tokenizer: Any = None, chunk_tokens: int = 256, tofu_folder: str = ""
) -> list[Example]:
    """Read every example of a source, in order; never an empty list.

    Args:
        source: a file (.jsonl, .json, .csv, .parquet), a folder of such files (read in the order of their
        names), a
            hub data set ``owner/name`` or ``owner/name:config``, or ``tofu:NAME`` (see ``tofu.load_tofu``).
        tokenizer: a fast tokenizer; needed for ``text`` columns only.
        chunk_tokens: length in tokens of the pieces that documents are cut into.
        tofu_folder: folder of TOFU's files; empty for the hub.

    Raises:
        DataError: the source cannot be found or read, or holds rows that cannot be used.
    """
    if source.startswith(TOFU_PREFIX):
        return load_tofu(source.removeprefix(TOFU_PREFIX), tofu_folder)
    place = _place(source)
    if isinstance(place, re.Match):
        tables = [read_hub(place["name"], place["config"] or "")]
    else:
        tables = [read_table(file) for file in place]
    return [
        example for table in tables for example in examples_from(table, tokenizer=tokenizer, chunk_tokens=chunk_tokens)
    ]


def check_sources(*sources: str) -> None:
    """Refuse sources that name files which are not there or empty, before anything slow; empty ones are passed over.

    Raises:
        DataError: see ``read_examples``.
    """
    for source in sources:
        if source and source not in NO_FILES and not source.startswith(TOFU_PREFIX):
            place = _place(source)
            for file in () if isinstance(place, re.Match) else place:
                check_file(file)


def _place(source: str) -> list[Path] | re.Match[str]:
    """Return the files of a source, or the name and configuration of a hub data set."""
    if not source.strip():
        raise DataError(
            "no source of rows was given; expected a file, a folder, a hub data set (owner/name) or tofu:NAME: name one"
        )
    path = Path(source).expanduser()
    if path.is_dir():
        return _files(path)
    if (hub := HUB_NAME.fullmatch(source)) and not path.exists() and path.suffix.lower() not in SUFFIXES:
        return hub
    if path.exists() or path.suffix.lower() in SUFFIXES:
        return [path]
    raise DataError(
        f"{source} does not exist; expected a file ({', '.join(SUFFIXES)}), a folder, a hub data set "
        "(owner/name) or tofu:NAME: check the path"
    )


def read_prepared(path: Path) -> list[Example]:
    """Read a file that ``prepare`` wrote (rows of ``Example.to_row``); it may be empty.

    Raises:
        DataError: the file is missing, or a line is no such row.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected what 'unlogit prepare' writes: run that first")
    examples = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                examples.append(Example.from_row(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"{path} has a bad line {number} ({type(error).__name__}); expected a row as 'unlogit prepare' "
                    "writes it: prepare again with --overwrite"
                ) from error
    return examples


def _files(folder: Path) -> list[Path]:
    """The folder's readable files by name; hidden files and other suffixes (a README, a licence) are passed over."""
    files = sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    if not files:
        raise DataError(
            f"the folder {folder} has no file to read; expected some that end in {', '.join(SUFFIXES)}: check the path"
        )
    return files
