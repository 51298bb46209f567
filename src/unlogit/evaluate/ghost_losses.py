"""How likely a model finds the answers to forget, beside how likely the target finds them of somebody it does not know.

The true answer under a made-up name is what the target would give to the row, had it never seen it. A forgotten answer
should be as unlikely as that. One that is less likely than under any made-up name is suppressed too much: whoever
compares can tell that something was taken away. (The Secret Sharer, Carlini et al., 2019, ranks canaries in the same
way.) Only what the answer tells is compared, its values or else its content words: a made-up name is unlikely itself.

The same probabilities say what can be guessed: a model that never saw a row says a town now and then, and never a phone
number. A few answers about strangers show the first badly and the second not at all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from unlogit.data.content_words import content_spans
from unlogit.data.encode import tokens_of_spans
from unlogit.data.examples import Example
from unlogit.data.ghosts import strangers, with_words
from unlogit.data.secrets import is_code, secrets_of, values_of_answer
from unlogit.data.wordings import without_wordings
from unlogit.evaluate.scoring.batching import Progress
from unlogit.evaluate.scoring.score import score_examples

BATCH_SIZE = 16

Rates = dict[frozenset[str], float]
"""By secret (see ``secrets``), the probability that it is said of a stranger, between 0 and 1."""


@dataclass(frozen=True)
class GhostLosses:
    """What a forget row's answer tells among the same about strangers; losses are in nats a token of it."""

    question: str
    target: float
    unlearned: float
    ghosts: tuple[float, ...]
    """The target's losses of the same under made-up names."""

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


@dataclass(frozen=True)
class Told:
    """How likely a model finds what one answer tells: its values, or else its content words."""

    log_probs: tuple[float, ...]
    """Of each value or word in order, the sum over its tokens, in nats."""
    tokens: int
    """Of all together; 1 or more."""

    @property
    def loss(self) -> float:
        """Mean loss in nats a token."""
        return -sum(self.log_probs) / self.tokens


def score_told(
    model: Any, tokenizer: Any, rows: Sequence[Example], common: frozenset[str], progress: Progress | None = None
) -> list[Told]:
    """Score what each row's answer tells; ``common`` are words that many answers have."""
    plain = [without_wordings(row) for row in rows]
    scores = score_examples(
        model, tokenizer, plain, batch_size=BATCH_SIZE, generate=False, progress=progress, token_scores=True
    )
    return [_told(row, score.token_log_probs, tokenizer, common) for row, score in zip(plain, scores, strict=True)]


def _told(row: Example, log_probs: Sequence[float], tokenizer: Any, common: frozenset[str]) -> Told:
    spans = [span for _, span in values_of_answer(row, common)] or content_spans(row, common)[0]
    token_ranges = tokens_of_spans(row, tokenizer, spans)
    of_spans = [[log_probs[i] for i in numbers if i < len(log_probs)] for numbers in token_ranges]
    of_spans = [tokens for tokens in of_spans if tokens] or [list(log_probs)]  # an answer of nothing but common words
    return Told(tuple(map(sum, of_spans)), sum(map(len, of_spans)))


@dataclass(frozen=True)
class AmongGhosts:
    """What a row's answer tells among the same about strangers, under one model; losses are in nats a token."""

    number: int
    """Place of the row."""
    loss: float
    ghosts: tuple[float, ...]
    rates: Rates
    """Of the row's secrets that can be guessed."""


def losses_among_ghosts(
    rows: Sequence[Example],
    ghosts: Sequence[Example],
    model: Any,
    tokenizer: Any,
    common: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> list[AmongGhosts]:
    """Score the rows that have ghosts, and their ghosts, under a model."""
    with_ghosts = [(i, of_row) for i, row in enumerate(rows) if (of_row := ghost_rows(row, ghosts))]
    if not with_ghosts:
        return []
    of_rows = score_told(model, tokenizer, [rows[i] for i, _ in with_ghosts], common, progress)
    flat = [ghost for _, group in with_ghosts for ghost in group]
    of_ghosts = iter(score_told(model, tokenizer, flat, common, progress))
    among = []
    for (i, group), scored in zip(with_ghosts, of_rows, strict=True):
        scored_ghosts = [next(of_ghosts) for _ in group]
        ghost_losses = tuple(ghost.loss for ghost in scored_ghosts)
        among.append(AmongGhosts(i, scored.loss, ghost_losses, _guess_rates(rows[i], scored_ghosts, common)))
    return among


def _guess_rates(row: Example, ghosts: Sequence[Told], common: frozenset[str]) -> Rates:
    """Return how likely each secret is said of a stranger, a mean over ghosts.

    Of several values a later one counts with those before it: the model may know what follows them. So its rate is too
    low rather than too high. A code or a long number means somebody, and cannot be guessed.
    """
    secrets = secrets_of(row, common)
    rates = dict.fromkeys((secret for secret in secrets if not is_code(secret)), 0.0)
    for ghost in ghosts:
        likely = [math.exp(total) for total in accumulate(ghost.log_probs)]
        if not values_of_answer(row, common):
            likely = likely[-1:]  # all content words together are the secret
        if len(likely) == len(secrets):  # else a made-up name reads as a value
            first_told = dict(reversed([*zip(secrets, likely, strict=True)]))
            for secret in rates:
                rates[secret] += min(1.0, first_told[secret]) / len(ghosts)
    return rates


def find_ghost_losses(
    rows: Sequence[Example],
    by_target: Sequence[AmongGhosts],
    unlearned: Any,
    tokenizer: Any,
    common: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> list[GhostLosses]:
    """Score the rows that have ghosts under the unlearned model; ``by_target`` are their losses under the target."""
    scored = [rows[among.number] for among in by_target]
    by_unlearned = score_told(unlearned, tokenizer, scored, common, progress) if scored else []
    return [
        GhostLosses(row.question, among.loss, answer.loss, among.ghosts)
        for row, among, answer in zip(scored, by_target, by_unlearned, strict=True)
    ]
