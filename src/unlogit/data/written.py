"""What a writer adds to a request: other wordings of its rows, and questions about its documents."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.row_keys import question_key, row_key

ROWS = ("completed", "questions", "tests", "retain_questions")


@dataclass(frozen=True, slots=True)
class Count:
    """Of one kind of text, how many were asked for, and how many passed the check."""

    requested: int
    passed: int
    is_used: bool
    """Whether enough passed."""


@dataclass(frozen=True, slots=True)
class Written:
    """Rows that a writer wrote, and how well it did."""

    completed: list[Example] = field(default_factory=list)
    """Rows to forget, with the paraphrases and wrong answers that were written for them."""
    questions: list[Example] = field(default_factory=list)
    """About documents to forget: trained on."""
    tests: list[Example] = field(default_factory=list)
    """About documents to forget: only asked."""
    retain_questions: list[Example] = field(default_factory=list)
    """About documents to keep."""
    counts: dict[str, Count] = field(default_factory=dict)
    """By kind of text: document questions, paraphrased questions, paraphrased answers, wrong answers."""
    notes: list[str] = field(default_factory=list)
    """Lines for people to read."""

    def over(self, rows: Sequence[Example]) -> list[Example]:
        """Return the rows to forget with what was written for them, and after them the questions to train on."""
        completed = {row_key(row): row for row in self.completed}
        wordings = ("paraphrased_question", "paraphrased_answer", "perturbed_answer")
        return [
            replace(row, **{name: getattr(completed[row_key(row)], name) for name in wordings})
            if row_key(row) in completed
            else row
            for row in rows
        ] + self.questions

    def is_test(self, row: Example) -> bool:
        """Whether a row is a question about documents that is only asked."""
        return any(question_key(row) == question_key(test) for test in self.tests)

    def to_record(self) -> dict[str, Any]:
        """Return the JSON form."""
        rows = {name: [row.to_row() | {"document": row.document} for row in getattr(self, name)] for name in ROWS}
        return {**rows, "counts": {kind: asdict(count) for kind, count in self.counts.items()}, "notes": self.notes}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Written":
        """Read what ``to_record`` gave."""
        rows = {
            name: [replace(Example.from_row(row), document=row["document"]) for row in record[name]] for name in ROWS
        }
        counts = {kind: Count(**count) for kind, count in record["counts"].items()}
        return cls(**rows, counts=counts, notes=record["notes"])


NOTHING_WRITTEN = Written()
