"""Where examples come from: a file, a folder of files, a hub data set, or TOFU by name.

``source_of`` finds out which; each gives the same shape (``source_rows.Source``).
"""

import json
from pathlib import Path
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.file_source import FileSource
from unlogit.data.source_rows import Source
from unlogit.data.tofu_source import TOFU_PREFIX, TofuSource
from unlogit.errors import DataError
from unlogit.settings.options import DataOptions

NO_FILES = ("builtin", "none")
"""What stands for rows of our own, or for none, where a setting takes a source."""


def source_of(
    name: str, *, tokenizer: Any = None, chunk_tokens: int = 256, tofu_folder: str = "", columns: str = ""
) -> Source:
    """Return the source that a name stands for; nothing is read.

    Args:
        name: a file (see ``tables.SUFFIXES``), a folder of such files, a hub data set ``owner/name`` or
            ``owner/name:config``, several of these separated by commas, or ``tofu:NAME`` (see ``tofu.load_tofu``).
        tokenizer: a fast tokenizer; needed for ``text`` columns only.
        chunk_tokens: length in tokens of the pieces that documents are cut into.
        tofu_folder: folder of TOFU's files; empty for the hub.
        columns: which column is which, where files have no known shape (see ``columns.parse_columns``).
    """
    if name.startswith(TOFU_PREFIX):
        return TofuSource(name, tofu_folder)
    return FileSource(name, tokenizer, chunk_tokens, columns)


def source_in(name: str, options: DataOptions, tokenizer: Any = None) -> Source:
    """Return the source that a name stands for, read as the data settings say."""
    return source_of(
        name,
        tokenizer=tokenizer,
        chunk_tokens=options.chunk_tokens,
        tofu_folder=options.tofu_folder,
        columns=options.columns,
    )


def read_examples(
    source: str, *, tokenizer: Any = None, chunk_tokens: int = 256, tofu_folder: str = ""
) -> list[Example]:
    """Read every example of a source (see ``source_of``), in order; never an empty list.

    Raises:
        DataError: the source cannot be found or read, or holds rows that cannot be used.
    """
    return source_of(source, tokenizer=tokenizer, chunk_tokens=chunk_tokens, tofu_folder=tofu_folder).rows()


def check_sources(*sources: str) -> None:
    """Refuse sources that name files which are missing or empty, before anything slow; empty names are passed over.

    Raises:
        DataError: see ``read_examples``.
    """
    for source in sources:
        if source and source not in NO_FILES:
            source_of(source).check()


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
