"""When two rows are the same row, and when they ask the same question: case and spacing do not count."""

from collections.abc import Iterable
from dataclasses import replace

from unlogit.data.examples import Example

RowKey = tuple[str, ...]


def row_key(row: Example) -> RowKey:
    """Return what makes two rows the same row: all their text."""
    history = (message.content for message in row.history)
    return tuple(" ".join(text.casefold().split()) for text in (row.question, row.answer, *history))


def question_key(row: Example) -> RowKey:
    """Return what makes two rows ask the same, whatever they answer; running text is compared in full."""
    return row_key(row) if row.kind == "text" else row_key(replace(row, answer=""))


def distinct_rows(rows: Iterable[Example]) -> list[Example]:
    """Return the first of each group of equal rows, in order."""
    first: dict[RowKey, Example] = {}
    for row in rows:
        first.setdefault(row_key(row), row)
    return list(first.values())
