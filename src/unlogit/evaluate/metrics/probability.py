"""Probability of the true answer, geometric mean per token: ``p = exp(−loss)``, in [0, 1].

TOFU, arXiv 2401.06121, section 2.2.1 (and its published code): on forget and retain rows the mean of p; on
real authors and world facts, where wrong answers stand beside the true one, the mean of ``p_true / (p_true +
Σ p_wrong)``. On forget rows the retain model's value is the aim: lower means over-suppressed.
"""

import math
from collections.abc import Sequence

from unlogit.evaluate.results import Direction, MetricResult, Role, mean
from unlogit.evaluate.scoring.score import Score

NAME = "probability"
PAPER = "TOFU, arXiv 2401.06121"


def probability(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the mean probability of the true answer, among the choices where ``role`` is knowledge."""
    row_probability = choice_probability if role == "knowledge" else answer_probability
    values = tuple(row_probability(score) for score in scores)
    direction: Direction = "retain_model" if role == "forget" else "higher"
    return MetricResult(NAME, mean(values), values, len(values), direction, PAPER)


def answer_probability(score: Score) -> float:
    """Return ``exp(−loss)``."""
    return math.exp(-score.answer_loss)


def choice_probability(score: Score) -> float:
    """Return ``p_true / (p_true + Σ p_wrong)``; written with differences of losses, it cannot become 0/0."""
    lowest = min(score.answer_loss, *score.perturbed_loss)
    wrong = math.fsum(math.exp(lowest - loss) for loss in score.perturbed_loss)
    true = math.exp(lowest - score.answer_loss)
    return true / (true + wrong)
