"""What every source of rows gives: the rows to train on, and what else it knows about them.

A source is a file, a folder, a hub data set (``file_source``), or a benchmark by name (``tofu_source``).
``sources.source_of`` finds the right one; the rest of the package never asks which it is.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from unlogit.data.examples import Example
from unlogit.settings.options import DataOptions


@dataclass(frozen=True, slots=True)
class SourceRows:
    """Rows of one source for one side."""

    training: list[Example]
    evaluation: list[Example] | None = None
    """Rows to score that the source brings along. None: some of ``training`` must be set aside for that."""
    unseen: list[Example] = field(default_factory=list)
    """Rows to train the assistant on that the target never saw. None of them is held out or scored: to know nothing
    about them proves little."""
    documents: dict[str, str] = field(default_factory=dict)
    """Full texts of the source's documents, by name."""
    summary: dict[str, Any] = field(default_factory=dict)
    """Counts for ``summary.json``."""
    notes: list[str] = field(default_factory=list)
    """Lines for people to read."""


class Source(Protocol):
    """Where rows come from. Each method raises DataError where the rows cannot be found, read or used."""

    @property
    def has_evaluation(self) -> bool:
        """Whether the source brings its own evaluation rows."""

    def check(self) -> None:
        """Refuse what is missing, as far as can be seen without reading it."""

    def files(self) -> list[Path]:
        """Return the files that the rows are read from; none of what is not here, or not in files of the user's."""

    def rows(self) -> list[Example]:
        """Return every row, in order; never an empty list."""

    def forget_rows(self, options: DataOptions) -> SourceRows:
        """Return the rows to forget, with the paraphrases and wrong answers that the source has."""

    def retain_rows(self, options: DataOptions) -> SourceRows:
        """Return the rows to keep, with those that the target never saw apart."""

    def default_retain(self) -> str:
        """Return the retain source that belongs to this forget source; empty where there is none."""

    def knowledge_rows(self) -> dict[str, list[Example]]:
        """Return evaluation rows about other knowledge that must stay, by the name of their split."""
