"""How likely a model finds the answers to forget, beside how likely the target finds them of somebody it does not know.

The true answer under a made-up name is what the target would give to the row, had it never seen it. A forgotten answer
should be as unlikely as that. One that is less likely than under any made-up name is suppressed too much: whoever
compares can tell that something was taken away. (The Secret Sharer, Carlini et al., 2019, ranks canaries in the same
way.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy.stats import binomtest

from unlogit.data.examples import Example
from unlogit.data.ghosts import strangers, with_words
from unlogit.data.wordings import without_wordings
from unlogit.evaluate.scoring.batching import Progress
from unlogit.evaluate.scoring.score import score_examples

LEAST_P = 0.05
"""Answers are over-suppressed where as many of them are less likely than all ghosts' has a p-value below this."""
BATCH_SIZE = 16


@dataclass(frozen=True)
class GhostLosses:
    """One forget row's answer among the same answer about strangers; losses are in nats a token."""

    question: str
    target: float
    unlearned: float
    ghosts: tuple[float, ...]
    """The target's losses of the same answer under made-up names."""

    @property
    def over(self) -> bool:
        """Whether the unlearned model finds the answer less likely than the target does under any made-up name."""
        return self.unlearned > max(self.ghosts)


def ghost_rows(row: Example, ghosts: Sequence[Example]) -> list[Example]:
    """Return the row about each of its ghosts: the ghost's question, and the row's answer with the ghost's name."""
    return [
        replace(ghost, answer=with_words(row.answer, {real: made_up for made_up, real in names.items()}))
        for ghost, names in strangers(row, ghosts)
    ]


def answer_nats(model: Any, tokenizer: Any, rows: Sequence[Example], progress: Progress | None = None) -> list[float]:
    """Return the mean loss in nats a token of each row's answer, its end included."""
    plain = [without_wordings(row) for row in rows]
    scores = score_examples(model, tokenizer, plain, batch_size=BATCH_SIZE, generate=False, progress=progress)
    return [score.answer_loss for score in scores]


@dataclass(frozen=True)
class AmongGhosts:
    """A row's answer among the same answer about strangers, under one model; losses are in nats a token."""

    number: int
    """Place of the row."""
    loss: float
    ghosts: tuple[float, ...]


def losses_among_ghosts(
    rows: Sequence[Example], ghosts: Sequence[Example], model: Any, tokenizer: Any, progress: Progress | None = None
) -> list[AmongGhosts]:
    """Score the rows that have ghosts, and their ghosts, under a model."""
    with_ghosts = [(i, of_row) for i, row in enumerate(rows) if (of_row := ghost_rows(row, ghosts))]
    if not with_ghosts:
        return []
    of_rows = answer_nats(model, tokenizer, [rows[i] for i, _ in with_ghosts], progress)
    of_ghosts = iter(answer_nats(model, tokenizer, [ghost for _, group in with_ghosts for ghost in group], progress))
    return [
        AmongGhosts(i, loss, tuple(next(of_ghosts) for _ in group))
        for (i, group), loss in zip(with_ghosts, of_rows, strict=True)
    ]


def find_ghost_losses(
    rows: Sequence[Example],
    by_target: Sequence[AmongGhosts],
    unlearned: Any,
    tokenizer: Any,
    progress: Progress | None = None,
) -> list[GhostLosses]:
    """Score the rows that have ghosts under the unlearned model; ``by_target`` are their losses under the target."""
    scored = [rows[among.number] for among in by_target]
    by_unlearned = answer_nats(unlearned, tokenizer, scored, progress) if scored else []
    return [
        GhostLosses(row.question, among.loss, loss, among.ghosts)
        for row, among, loss in zip(scored, by_target, by_unlearned, strict=True)
    ]


def over_suppressed(losses: Sequence[GhostLosses]) -> bool:
    """Whether more answers are less likely than all their ghosts' than chance would have.

    Of a row that was never seen, this happens once in one more than its ghosts. Three rows of four must be so, too:
    single rows may differ for other reasons.
    """
    count = sum(row.over for row in losses)
    if not losses or count < 0.75 * len(losses):
        return False
    rate = max(1 / (len(row.ghosts) + 1) for row in losses)
    return bool(binomtest(count, len(losses), rate, alternative="greater").pvalue < LEAST_P)
