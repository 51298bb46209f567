"""The wordings of a row: which of its paraphrases and wrong answers are trained on, and which are left to score.

Training takes the first of them, evaluation the others where there are any. Running text has none, but sections: it is
taken up at other places than its beginning.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from unlogit.data.examples import Example
from unlogit.settings.options import DataOptions

SECTION_WORDS = 16
"""Every so many words running text is taken up: so many are shown, and twice as many follow."""
MAX_SECTIONS = 200
"""Of more, so many at even distances."""

_WORD = re.compile(r"\s*(?:[\u2e80-\ud7ff]|[^\s\u2e80-\ud7ff]+)")
"""A word with the space before it, or a character of a script without spaces."""


def paraphrase_pairs(row: Example) -> list[tuple[str, str]]:
    """Return the row's paraphrases as (question, answer), the original where the files have no i-th of one of them."""
    questions, answers = row.paraphrased_question, row.paraphrased_answer
    pairs = [
        (questions[i] if i < len(questions) else row.question, answers[i] if i < len(answers) else row.answer)
        for i in range(max(len(questions), len(answers)))
    ]
    return [pair for pair in pairs if pair != (row.question, row.answer)]


def without_wordings(row: Example) -> Example:
    """Return the row without its optional columns: what is trained on."""
    return replace(row, paraphrased_question=(), paraphrased_answer=(), perturbed_answer=())


def sections(rows: Sequence[Example]) -> list[Example]:
    """Return what the running text among the rows says from other places than its beginning, as completions.

    Trained on beside it, for who recites a text from its middle; a row of running text is remembered from its start.
    """
    taken_up = [
        replace(
            without_wordings(row),
            kind="completion",
            question="".join(row_words[start : start + SECTION_WORDS]).lstrip(),
            answer="".join(row_words[start + SECTION_WORDS : start + 3 * SECTION_WORDS]),
        )
        for row, row_words in ((row, _WORD.findall(row.answer)) for row in rows if row.kind == "text")
        for start in range(SECTION_WORDS, len(row_words) - SECTION_WORDS, SECTION_WORDS)
    ]
    return taken_up[:: max(1, -(-len(taken_up) // MAX_SECTIONS))]


def forget_training_rows(rows: Sequence[Example], paraphrases: int, cross: bool = False) -> list[Example]:
    """Return the rows as they stand, then their paraphrases as rows of their own.

    With ``cross``, every question of a row is paired with every answer of it.
    """
    reworded = []
    for row in rows:
        original = (row.question, row.answer)
        pairs = paraphrase_pairs(row)[:paraphrases]
        if cross:
            questions, answers = zip(original, *pairs, strict=True)
            pairs = [pair for pair in dict.fromkeys(product(questions, answers)) if pair != original]
        reworded += [replace(without_wordings(row), question=question, answer=answer) for question, answer in pairs]
    return [without_wordings(row) for row in rows] + reworded


def perturbed_training_rows(rows: Sequence[Example], perturbations: int) -> list[Example]:
    """Return the questions with their first wrong answers, as rows of their own."""
    return [
        replace(without_wordings(row), answer=wrong) for row in rows for wrong in row.perturbed_answer[:perturbations]
    ]


def evaluation_row(row: Example, options: DataOptions) -> Example:
    """Return the row with the wordings that training does not take, or with all of them where none would be left."""
    return replace(
        row,
        paraphrased_question=row.paraphrased_question[options.paraphrases :] or row.paraphrased_question,
        paraphrased_answer=row.paraphrased_answer[options.paraphrases :] or row.paraphrased_answer,
        perturbed_answer=row.perturbed_answer[options.perturbations :] or row.perturbed_answer,
    )


def rows_with_trained_wordings(rows: Sequence[Example], evaluation: Sequence[Example], options: DataOptions) -> int:
    """Count the evaluation rows that have a paraphrase or wrong answer which is trained on with the same question."""
    trained: dict[str, set[str]] = {}
    for row in rows:
        reworded = [answer for _, answer in paraphrase_pairs(row)[: options.paraphrases]]
        trained.setdefault(row.question, set()).update(reworded, row.perturbed_answer[: options.perturbations])
    return sum(
        not trained.get(row.question, set()).isdisjoint({*row.paraphrased_answer, *row.perturbed_answer})
        for row in evaluation
    )
