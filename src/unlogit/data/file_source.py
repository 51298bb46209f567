"""Rows of a file, a folder of files, or a hub data set: ``tables`` reads them, ``rows`` says what they mean."""

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlogit.data.columns import parse_columns
from unlogit.data.documents import document_texts, split, ungroup_few_documents
from unlogit.data.examples import Example
from unlogit.data.row_keys import distinct_rows, row_key
from unlogit.data.rows import examples_from
from unlogit.data.source_rows import SourceRows
from unlogit.data.tables import DOCUMENT_SUFFIXES, HUB_NAME, SUFFIXES, Table, check_file, read_hub, read_table
from unlogit.errors import DataError
from unlogit.settings.options import DataOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file, a folder of files (read in the order of their names), a hub data set, or several of them separated by
    commas; see ``Source``."""

    name: str
    tokenizer: Any = None
    """A fast tokenizer; needed for ``text`` columns only."""
    chunk_tokens: int = 256
    """Length in tokens of the pieces that documents are cut into."""
    columns: str = ""
    """Which column is which, where files have no known shape: ``question=NAME,answer=NAME``."""

    @property
    def has_evaluation(self) -> bool:
        """A file brings no evaluation rows: they are set aside from its rows."""
        return False

    def check(self) -> None:
        """Refuse files that are missing, empty or of an unknown suffix; a hub data set is not looked up."""
        for location in map(_locate, _names(self.name)):
            for file in () if isinstance(location, re.Match) else location:
                check_file(file)

    def files(self) -> list[Path]:
        """Return the local files, in order; none where one of the names is no longer there."""
        with suppress(DataError):
            locations = [_locate(name) for name in _names(self.name)]
            return [file for location in locations if isinstance(location, list) for file in location]
        return []

    def rows(self) -> list[Example]:
        """Return every row, in order."""
        columns = parse_columns(self.columns)
        return [
            example
            for name in _names(self.name)
            for table in _tables(name)
            for example in examples_from(
                table, tokenizer=self.tokenizer, chunk_tokens=self.chunk_tokens, columns=columns
            )
        ]

    def forget_rows(self, options: DataOptions) -> SourceRows:
        """Return the distinct rows; of documents every piece."""
        rows = self.rows()
        distinct = distinct_rows(rows) if all(row.kind != "text" for row in rows) else rows
        left_out = len(rows) - len(distinct)
        notes = [f"{left_out} of {len(rows)} forget rows stand there twice: left out"] if left_out else []
        summary = {"duplicates_left_out": left_out}
        return SourceRows(distinct, documents=document_texts(rows), summary=summary, notes=notes)

    def retain_rows(self, options: DataOptions) -> SourceRows:
        """Return the distinct rows; of ``retain_subset`` rows, only these count as seen by the target."""
        rows = self.rows()
        distinct, notes = ungroup_few_documents(distinct_rows(rows), "retain")
        unseen, seen = _split_by_subset(distinct, rows, options.retain_subset)
        left_out = len(rows) - len(distinct)
        notes += [f"{left_out} of {len(rows)} retain rows stand there twice: left out"] if left_out else []
        summary = {"duplicates_left_out": left_out}
        return SourceRows(seen, unseen=unseen, documents=document_texts(rows), summary=summary, notes=notes)

    def default_retain(self) -> str:
        """A file has no retain source of its own."""
        return ""

    def knowledge_rows(self) -> dict[str, list[Example]]:
        """A file has no rows about other knowledge."""
        return {}


def _names(source: str) -> list[str]:
    """Return the names in a list that is separated by commas; a path that has a comma is one name."""
    if Path(source).expanduser().exists():
        return [source]
    return [name.strip() for name in source.split(",") if name.strip()] or [""]


def _tables(name: str) -> list[Table]:
    location = _locate(name)
    if isinstance(location, re.Match):
        return [read_hub(location["name"], location["config"] or "")]
    return [read_table(file) for file in location]


def _locate(source: str) -> list[Path] | re.Match[str]:
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


def _files(folder: Path) -> list[Path]:
    """The folder's readable files by name; hidden files and other suffixes are passed over, and beside tables the
    documents, too: a README, a licence."""
    files = sorted(
        file
        for file in folder.iterdir()
        if file.is_file() and file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    )
    tables = [file for file in files if file.suffix.lower() not in DOCUMENT_SUFFIXES]
    if tables and len(tables) < len(files):
        log.info(f"{folder} has tables, so that its {len(files) - len(tables)} .txt and .md files are passed over.")
    files = tables or files
    if not files:
        raise DataError(
            f"the folder {folder} has no file to read; expected files that end in {', '.join(SUFFIXES)}: check the path"
        )
    return files


def _split_by_subset(distinct: list[Example], rows: list[Example], subset: int) -> tuple[list[Example], list[Example]]:
    """Return the rows that the target never saw, and those that it was trained on; a document counts as seen only if
    all of it was."""
    if subset > len(rows):
        raise DataError(
            f"retain_subset is {subset}; expected at most {len(rows)}, the retain side's rows: give the number of rows "
            "that the target was trained on"
        )
    subset_keys = {row_key(row) for row in rows[: subset or len(rows)]}
    cut_documents = {row.document for row in distinct if row.document and row_key(row) not in subset_keys}
    seen = {i for i, row in enumerate(distinct) if row_key(row) in subset_keys and row.document not in cut_documents}
    return split(distinct, seen)
