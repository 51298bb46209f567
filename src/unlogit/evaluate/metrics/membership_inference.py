"""Membership inference: does a model's score of a row give away that the row was in the forget set?

A score of a row is lower the better the model knows it; AUC, in [0, 1], is the share of pairs of a forget and a
held-out row in which the forget row has the lower one, ties counting half. What to read it against is the AUC of a
model that never saw the rows, not 0.5: forget and held-out rows differ by themselves (on TOFU forget10 against
holdout10 published retain models have 0.31 to 0.48). 1 is a model that remembers them all, 0 one that gives them away
by avoiding them. The scores, with ℓ the mean loss of the answer's tokens:

    loss             ℓ                                             Yeom et al. 2018, arXiv 1709.01604
    zlib             ℓ / bytes of the answer, compressed by zlib   Carlini et al. 2021, arXiv 2012.07805
    min_k            −mean of the lowest 40 % of log p             Shi et al. 2024, arXiv 2310.16789
    min_k_plus_plus  the same of (log p − μ) / σ                   Zhang et al. 2024, arXiv 2404.02936

with μ and σ the mean and standard deviation of log p over the vocabulary, under p, at that position. ``value`` is the
AUC of min_k, as in MUSE (arXiv 2407.06460), ``parts`` has all four.

    privleak = ((1 − AUC) − (1 − AUC of the retain model)) / (1 − AUC of the retain model) · 100

(MUSE, its AUC being 1 − ours) is 0 for a model that gives away as little as one that never saw the rows, −100 for one
that gives away all, above 0 for one that knows them suspiciously badly. With n rows on either side an AUC is uncertain
by about √(1 / 6n).
"""

import zlib
from collections.abc import Callable, Mapping, Sequence

from scipy.stats import mannwhitneyu

from unlogit.evaluate.results import MetricResult, SplitResult, mean
from unlogit.evaluate.scoring.score import Score

NAME = "membership_inference"
PAPER = "MUSE, arXiv 2407.06460; OpenUnlearning, arXiv 2506.12618"
PRIVLEAK = "privleak"

MEMBERSHIP_SPLITS = ("forget", "holdout")
"""Rows that were trained on, and rows like them that were not."""

LOWEST_SHARE = 0.4
"""Share of a row's tokens that the min-k scores look at, as in MUSE."""


def zlib_score(score: Score) -> float:
    """Return the loss relative to what the text holds anyhow."""
    return score.answer_loss / len(zlib.compress(score.answer.encode()))


def lowest(values: Sequence[float]) -> float:
    """Return minus the mean of the lowest ``LOWEST_SHARE`` of the values, rounded down, at least one."""
    count = max(1, int(LOWEST_SHARE * len(values)))
    return -mean(sorted(values)[:count])


SCORES: dict[str, Callable[[Score], float]] = {
    "loss": lambda score: score.answer_loss,
    "zlib": zlib_score,
    "min_k": lambda score: lowest(score.token_log_probs),
    "min_k_plus_plus": lambda score: lowest(score.token_z_scores),
}
"""Scores that separate forget rows from held-out ones; all are lower for what the model knows."""


def membership_scores(rows: Sequence[Score]) -> dict[str, tuple[float, ...]]:
    """Return every score of every row, by name.

    Every row needs ``token_log_probs`` and ``token_z_scores``.
    """
    return {name: tuple(row_score(row) for row in rows) for name, row_score in SCORES.items()}


def membership_inference(
    forget: Mapping[str, Sequence[float]], holdout: Mapping[str, Sequence[float]]
) -> MetricResult | None:
    """Return the AUC of ``min_k``, with those of all scores in ``parts``; ``count`` is that of all rows.

    Both are the ``membership_scores`` of rows; None where either has none.
    """
    if not forget or not holdout:
        return None
    aucs = {name: auc(forget[name], holdout[name]) for name in SCORES}
    count = len(forget["min_k"]) + len(holdout["min_k"])
    return MetricResult(NAME, aucs["min_k"], (), count, "retain_model", PAPER, parts=aucs)


def membership_of(splits: Mapping[str, SplitResult]) -> MetricResult | None:
    """Return the membership inference of what was scored; None where either split was not."""
    both = [splits[name].membership_scores for name in MEMBERSHIP_SPLITS if name in splits]
    return membership_inference(*both) if len(both) == len(MEMBERSHIP_SPLITS) else None


def auc(members: Sequence[float], non_members: Sequence[float]) -> float:
    """Return the share of pairs in which the member's value is the lower one, ties counting half."""
    # The statistic counts the pairs in which the non-member has the higher value.
    higher = mannwhitneyu(non_members, members, method="asymptotic").statistic
    return float(higher) / (len(members) * len(non_members))


def privleak(unlearned: MetricResult, retain: MetricResult) -> MetricResult | None:
    """Compare a model's membership inference with the retain model's; None where the latter separates all rows.

    Then there is nothing to compare with: forget and held-out rows differ by themselves.
    """
    if retain.value == 1:
        return None
    value = ((1 - unlearned.value) - (1 - retain.value)) / (1 - retain.value) * 100
    aucs = {"auc": unlearned.value, "retain_auc": retain.value}
    return MetricResult(PRIVLEAK, value, (), unlearned.count, "retain_model", PAPER, parts=aucs)
