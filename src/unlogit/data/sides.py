"""The three sides of a run, from their sources: rows to train on, rows to score, and what was done to get them.

No row stands on two sides, and none that is scored is trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unlogit.data.documents import document_texts, set_aside, set_aside_neighbours, ungroup_few_documents
from unlogit.data.examples import Example
from unlogit.data.exchange import exchange_answers
from unlogit.data.ghosts import strangers_answers
from unlogit.data.neutral import load_neutral
from unlogit.data.row_keys import distinct_rows, question_key, row_key
from unlogit.data.source_rows import Source, SourceRows
from unlogit.data.wordings import (
    evaluation_row,
    forget_training_rows,
    paraphrase_pairs,
    rows_with_trained_wordings,
)
from unlogit.data.written import NOTHING_WRITTEN, Written
from unlogit.errors import DataError
from unlogit.settings.options import DataOptions

EVALUATION_WRONG_ANSWERS = 3
"""Wrong answers made by exchange for each evaluation row that has none, for the truth ratio."""
HELD_OUT_ROWS = 4
"""Rows of a side that are held out at least, or a quarter of fewer than 16: training stops by what is measured on
them."""


@dataclass(frozen=True, slots=True)
class Side:
    """Rows to train on and rows to score of one side, and what to tell people about them."""

    training: list[Example]
    evaluation: list[Example] = field(default_factory=list)
    unseen: list[Example] = field(default_factory=list)
    """Rows to train on that the target never saw (see ``SourceRows``)."""
    documents: dict[str, str] = field(default_factory=dict)
    """Full texts of its documents, by name."""
    summary: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def forget_side(
    source: Source,
    options: DataOptions,
    retain_rows: Sequence[Example],
    ghosts: Sequence[Example] = (),
    written: Written = NOTHING_WRITTEN,
) -> Side:
    """Return the forget rows with paraphrases and wrong answers to train on, and the rows to score.

    Wrong answers that the source lacks are those that were ``written``, those that ``ghosts`` get, or are made from the
    answers of ``retain_rows``.
    """
    source_rows = source.forget_rows(options)
    count = options.perturbations + (0 if source_rows.evaluation else EVALUATION_WRONG_ANSWERS)
    training = [
        row if row.perturbed_answer else replace(row, perturbed_answer=strangers_answers(row, ghosts, count))
        for row in written.over(source_rows.training)
    ]
    rows, exchanged = _with_wrong_answers(training, count, options.seed, retain_rows)
    evaluation = source_rows.evaluation or [evaluation_row(row, options) for row in rows]
    evaluation = [*evaluation, *written.tests]
    summary = source_rows.summary | {
        "originals": len(rows),
        "rows_with_wrong_answers_made_by_exchange": exchanged,
        "rows_without_wrong_answers": sum(not row.perturbed_answer for row in rows),
        "rows_without_paraphrases": sum(not paraphrase_pairs(row) for row in rows),
        "evaluation_rows_with_wordings_of_training": rows_with_trained_wordings(rows, evaluation, options),
    }
    notes = _forget_notes(summary, options) + source_rows.notes
    return Side(rows, evaluation, documents=source_rows.documents, summary=summary, notes=notes)


def _forget_notes(counts: dict[str, Any], options: DataOptions) -> list[str]:
    """Say what was done about paraphrases and wrong answers, and what could not be."""
    notes, total = [], counts["originals"]
    if options.paraphrases and (lacking := counts["rows_without_paraphrases"]):
        notes.append(f"{lacking} of {total} forget rows have no paraphrases: these are trained on as they stand")
    if options.perturbations and (exchanged := counts["rows_with_wrong_answers_made_by_exchange"]):
        notes.append(f"{exchanged} of {total} forget rows had no wrong answers: made by exchange of answers")
    if options.perturbations and (lacking := counts["rows_without_wrong_answers"]):
        notes.append(f"{lacking} of {total} forget rows have no wrong answers, and none could be made")
    if shared := counts["evaluation_rows_with_wordings_of_training"]:
        notes.append(
            f"{shared} of {total} forget evaluation rows have paraphrases or wrong answers that are trained on too, "
            "since the files have no others"
        )
    return notes


def retain_side(source: Source, options: DataOptions, written: Written = NOTHING_WRITTEN) -> Side:
    """Return the retain rows that training may take, and those to score, questions about documents among them."""
    rows = source.retain_rows(options)
    rows = replace(rows, training=[*rows.training, *written.retain_questions])
    if rows.evaluation is None:
        return set_evaluation_aside(rows, options)
    return Side(rows.training, rows.evaluation, rows.unseen, rows.documents, rows.summary, rows.notes)


def set_evaluation_aside(rows: SourceRows, options: DataOptions) -> Side:
    """Set some of the rows aside to score them: a quarter at most, since few rows to keep are needed for training."""
    available = len(rows.training)
    needed = 3 if options.holdout_fraction else 2  # one to train on, one to score, one to hold out
    if available < needed:
        raise DataError(
            f"the retain side has {available} different row{'' if available == 1 else 's'}; expected at least "
            f"{needed}, for training, evaluation and holding out: give more"
        )
    count = min(options.evaluation_rows, max(1, available // 4))
    training, aside = set_aside_neighbours(rows.training, count, options.seed, leave=needed - 1)
    count = min(len(aside), options.evaluation_rows)
    aside = [evaluation_row(row, options) for row in aside[:count]]  # worded as the forget side's are
    evaluation, exchanged = _with_wrong_answers(aside, EVALUATION_WRONG_ANSWERS, options.seed, training)
    notes = list(rows.notes)
    if count < options.evaluation_rows:
        notes.append(
            f"{count} of {available} retain rows are set aside for evaluation, not {options.evaluation_rows}: "
            "the others are left for training"
        )
    if exchanged:
        notes.append(f"{exchanged} of {count} retain evaluation rows had no wrong answers: made by exchange of answers")
    if lacking := sum(not row.perturbed_answer and row.kind != "text" for row in evaluation):
        notes.append(f"{lacking} of {count} retain evaluation rows have no wrong answers, and none could be made")
    summary = rows.summary | {"rows_with_wrong_answers_made_by_exchange": exchanged}
    return Side(training, evaluation, rows.unseen, rows.documents, summary, notes)


def neutral_side(forget: Side, other_rows: Sequence[Example], options: DataOptions, tokenizer: Any) -> Side:
    """Return the neutral rows whose question is not in ``other_rows``: retain rows, and rows that are scored."""
    rows = load_neutral(options.neutral, tokenizer, options.chunk_tokens)
    documents = document_texts(rows)
    check_disjoint(forget, Side(rows, documents=documents), "neutral", options)
    distinct = distinct_rows(rows)
    other_questions = {question_key(row) for row in other_rows}
    remaining = [row for row in distinct if question_key(row) not in other_questions]
    training, notes = ungroup_few_documents(remaining, "neutral")
    if dropped := len(distinct) - len(remaining):
        notes.append(
            f"{dropped} of {len(distinct)} neutral rows were left out: their questions stand on the retain side too, "
            "or are scored"
        )
    return Side(training, documents=documents, notes=notes)


def check_disjoint(forget: Side, other: Side, name: str, options: DataOptions) -> None:
    """Refuse what is to be forgotten and kept at once: rows, in any wording that is trained on, and full documents.

    The message gives row numbers, never text.
    """
    other_keys = {row_key(row) for row in other.training + other.unseen + other.evaluation}
    other_documents = set(other.documents.values())
    both = [
        number
        for number, row in enumerate(forget.training, start=1)
        if not other_keys.isdisjoint(
            map(row_key, forget_training_rows([row], options.paraphrases, options.cross_paraphrases))
        )
        or forget.documents.get(row.document) in other_documents
    ]
    if both:
        shown = ", ".join(map(str, both[:5])) + (", …" if len(both) > 5 else "")
        raise DataError(
            f"{len(both)} of {len(forget.training)} forget rows also stand on the {name} side (forget rows {shown}); "
            "expected none, since they would be forgotten and kept at once: take them out of one of the two"
        )


def contradicting_rows(forget: Side, retain: Side) -> list[str]:
    """Return where the forget rows stand whose questions have other answers on the retain side."""
    kept_questions = {question_key(row) for row in retain.training + retain.unseen + retain.evaluation}
    return [
        row.origin or f"forget row {number}"
        for number, row in enumerate(forget.training, start=1)
        if row.kind != "text" and question_key(row) in kept_questions
    ]


def hold_out(rows: list[Example], options: DataOptions, name: str) -> tuple[list[Example], list[Example]]:
    """Split a side into rows to train on and rows held out.

    If there are few rows, more are held out than ``holdout_fraction``: ``HELD_OUT_ROWS``, or a quarter. Retain rows are
    held out with their neighbours; neutral rows have nothing in common with theirs.
    """
    if len(rows) < (2 if options.holdout_fraction else 1):
        raise DataError(
            f"the {name} side has {len(rows)} row{'' if len(rows) == 1 else 's'} left to train on; expected at "
            "least 2, one of them to hold out: give more"
        )
    least = max(1, min(HELD_OUT_ROWS, len(rows) // 4))
    count = max(least, round(options.holdout_fraction * len(rows))) if options.holdout_fraction else 0
    choose = set_aside_neighbours if name == "retain" else set_aside
    return choose(rows, min(count, len(rows) - 1), options.seed)


def _with_wrong_answers(
    rows: list[Example], count: int, seed: int, retain_rows: Sequence[Example] = ()
) -> tuple[list[Example], int]:
    """Give rows without wrong answers up to ``count`` exchanged ones, from ``retain_rows`` first.

    Returns all rows, and how many of them got any.
    """
    exchanged = exchange_answers(rows, count, seed, retain_rows)
    completed = [
        replace(row, perturbed_answer=answers) if answers else row for row, answers in zip(rows, exchanged, strict=True)
    ]
    return completed, sum(bool(answers) for answers in exchanged)
