"""Other wordings and wrong answers for rows that have none, by a writer, as far as what it writes passes the check.

ULD's authors had a language model write them (Ji et al. 2024, arXiv 2406.08607, appendix). Here every text is checked
(``faithful``). Of the first rows is seen whether the writer is good enough: where less than half passes, nothing of
that kind is used, and the exchange by rule takes over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.exchange import same_words
from unlogit.data.faithful import first_line, is_paraphrased_answer, is_paraphrased_question, is_wrong_answer, values_of
from unlogit.data.ghosts import names_of
from unlogit.data.made_up import Commonplace
from unlogit.data.written import Count
from unlogit.writer.prompts import SHOWN_NAMES, other_answer, other_question, wrong_answer
from unlogit.writer.writer import KeptWriter, Prompt

LEAST_PASSING = 0.5
"""Share of what a writer writes that passes the check; below, it is too weak."""
PROBED_ROWS = 16
"""Rows of which that is seen."""
PARAPHRASES = 2
WRONG_ANSWERS = 3


@dataclass(frozen=True)
class _Kind:
    """One kind of text that rows may lack."""

    name: str
    column: str
    count: int
    prompt: Callable[[Example, int], Prompt]
    passes: Callable[[str, Example], bool]
    lacks: Callable[[Example], bool]
    instead: str
    """What is done where the writer is too weak."""


def complete(
    rows: Sequence[Example], others: Sequence[Example], writer: KeptWriter, *, is_named: bool
) -> tuple[list[Example], dict[str, Count], list[str]]:
    """Return the rows that were completed, how many texts passed by kind, and what to tell people.

    Args:
        rows: to forget.
        others: rows to keep, whose values no wrong answer may have.
        writer: writes.
        is_named: whether the user named the writer. If not it is the target, whose wrong answers to questions with
            names are its answers about people who do not exist (``ghosts``), and need not be written.
    """
    completed = [row for row in rows if row.kind == "question" and not row.history]
    counts: dict[str, Count] = {}
    notes: list[str] = []
    for kind in _kinds([*rows, *others], is_named):
        numbers = [i for i, row in enumerate(completed) if kind.lacks(row)]
        if not numbers:
            continue
        texts, count = _written(kind, [completed[i] for i in numbers], writer)
        counts[kind.name] = count
        notes.append(_note(kind, count))
        if count.is_used:
            for i, row_texts in zip(numbers, texts, strict=True):
                column: dict[str, Any] = {kind.column: row_texts}
                completed[i] = replace(completed[i], **column)
    return completed, counts, notes


def _kinds(rows: Sequence[Example], is_named: bool) -> list[_Kind]:
    answers = [row.answer for row in rows if row.kind != "text"]
    common = frozenset(word for word in Commonplace.of(answers).frequent if word.isalpha())  # "NL" in account numbers
    everybody = frozenset[str]().union(*map(values_of, answers)) - common | SHOWN_NAMES

    def is_wrong(text: str, row: Example) -> bool:
        """No value of any row may be in it, its own and its question's apart, which are looked at by themselves."""
        return is_wrong_answer(text, row, everybody - values_of(row.question))

    return [
        _Kind(
            "paraphrased questions",
            "paraphrased_question",
            PARAPHRASES,
            other_question,
            is_paraphrased_question,
            lambda row: not row.paraphrased_question,
            "rows are trained on as they stand",
        ),
        _Kind(
            "paraphrased answers",
            "paraphrased_answer",
            PARAPHRASES,
            other_answer,
            is_paraphrased_answer,
            lambda row: not row.paraphrased_answer,
            "rows are trained on as they stand",
        ),
        _Kind(
            "wrong answers",
            "perturbed_answer",
            WRONG_ANSWERS,
            wrong_answer,
            is_wrong,
            lambda row: not row.perturbed_answer and (is_named or not names_of(row.question)),
            "they are made by exchange",
        ),
    ]


def _written(kind: _Kind, rows: Sequence[Example], writer: KeptWriter) -> tuple[list[tuple[str, ...]], Count]:
    """Return the texts of each row that pass, each once, and the count: of the first rows alone if these do not."""
    passing: list[tuple[str, ...]] = []
    requested = passed = 0
    for block in (rows[:PROBED_ROWS], rows[PROBED_ROWS:]):
        if requested and passed < LEAST_PASSING * requested:
            break
        prompts = [kind.prompt(row, attempt) for row in block for attempt in range(kind.count)]
        texts = [first_line(text) for text in writer.write(prompts, f"Writing {kind.name}")]
        for number, row in enumerate(block):
            row_texts = [
                text for text in texts[number * kind.count : (number + 1) * kind.count] if kind.passes(text, row)
            ]
            passed += len(row_texts)
            passing.append(_distinct(row_texts))
        requested += len(prompts)
    return passing, Count(requested, passed, passed >= LEAST_PASSING * requested)


def _distinct(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(text for i, text in enumerate(texts) if not any(same_words(text, earlier) for earlier in texts[:i]))


def _note(kind: _Kind, count: Count) -> str:
    if count.is_used:
        return f"{count.passed} of {count.requested} written {kind.name} passed the check, and are used"
    return (
        f"only {count.passed} of {count.requested} written {kind.name} passed the check, less than half: the writer is "
        f"too weak, and {kind.instead} (a stronger one: --writer)"
    )
