"""What stands in for a retain model where there is none: the target, asked about people who do not exist.

The same answers, right and wrong, are scored under made-up names, which the target knows as little as a retain model
knows the real ones. Their truth ratios and exact memorisation are what those of the rows to forget should be like. Of
few rows there are many ghosts, so that the comparison does not hang on single made-up names.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.ghosts import ghost_questions, strangers, with_words
from unlogit.evaluate.metrics.exact_memorisation import exact_memorisation
from unlogit.evaluate.metrics.truth_ratio import row_truth_ratio
from unlogit.evaluate.results import mean, row_digest
from unlogit.evaluate.scoring.batching import Progress
from unlogit.evaluate.scoring.score import score_examples

LEAST_GHOSTS = 200
"""Ghosts of all rows together, at least; of each row as many as of any other."""


@dataclass(frozen=True)
class GhostReference:
    """Truth ratios and exact memorisation of the ghosts of each row, by the row's digest."""

    truth_ratios: Mapping[str, tuple[float, ...]]
    exact_memorisation: Mapping[str, float]

    def usable(self, rows: Sequence[Example]) -> list[Example]:
        """Return the rows that have ghosts, and wrong answers."""
        return [row for row in rows if row_digest(row) in self.truth_ratios]

    def of(self, rows: Sequence[Example]) -> tuple[list[float], float]:
        """Return all truth ratios of the ghosts of usable rows, and their mean exact memorisation."""
        digests = [row_digest(row) for row in rows]
        ratios = [ratio for digest in digests for ratio in self.truth_ratios[digest]]
        return ratios, mean([self.exact_memorisation[digest] for digest in digests])


def ghost_reference(
    rows: Sequence[Example],
    target: Any,
    tokenizer: Any,
    seed: int,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> GhostReference:
    """Score the ghosts of rows under the target.

    Args:
        rows: rows to forget; those without a name in the question, or without wrong answers, have no ghosts.
        target: the model that must forget.
        tokenizer: the target's.
        seed: of the made-up names.
        batch_size: rows at once.
        progress: called as ghosts are done.
    """
    with_choices = [row for row in rows if row.perturbed_answer]
    ghosts = ghost_questions(with_choices, max(1, math.ceil(LEAST_GHOSTS / max(1, len(with_choices)))), seed)
    groups = {row_digest(row): _about_ghosts(row, ghosts) for row in with_choices}
    groups = {digest: group for digest, group in groups.items() if group}
    scores = iter(
        score_examples(
            target,
            tokenizer,
            [ghost for group in groups.values() for ghost in group],
            batch_size=batch_size,
            generate=False,
            progress=progress,
        )
        if groups
        else ()
    )
    scores_of = {digest: [next(scores) for _ in group] for digest, group in groups.items()}
    return GhostReference(
        {digest: tuple(map(row_truth_ratio, group)) for digest, group in scores_of.items()},
        {digest: exact_memorisation(group, "forget").value for digest, group in scores_of.items()},
    )


def _about_ghosts(row: Example, ghosts: Sequence[Example]) -> list[Example]:
    """Return the row about each of its ghosts: the question with the made-up name, and every answer with it."""
    about_ghosts = []
    for ghost, names in strangers(row, ghosts):
        made_up = {real: other for other, real in names.items()}
        about_ghosts.append(
            replace(
                row,
                question=ghost.question,
                answer=with_words(row.answer, made_up),
                paraphrased_question=(),
                paraphrased_answer=tuple(with_words(answer, made_up) for answer in row.paraphrased_answer),
                perturbed_answer=tuple(with_words(answer, made_up) for answer in row.perturbed_answer),
            )
        )
    return about_ghosts
