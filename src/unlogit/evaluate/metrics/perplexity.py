"""Perplexity of running text: ``exp`` of the mean loss of its tokens, in [1, ∞); lower is a better language model.

The mean is over the tokens of all rows together, so that long rows count for more; ``per_example`` has each row's own.
A row's first token has nothing to be predicted from and does not count, and each row is read on its own: the pieces of
a document have a higher perplexity than the document would. On forget rows the retain model's value is the aim.
Only rows of the kind ``text`` have it; answers to questions are measured by ``probability``, its inverse.
"""

import math
from collections.abc import Sequence

from unlogit.evaluate.results import Direction, MetricResult, Role
from unlogit.evaluate.scoring.score import Score

NAME = "perplexity"
PAPER = "Jelinek et al. 1977; used for utility by ULD, arXiv 2406.08607"

_LARGEST = 700.0  # exp of more overflows a 64-bit float


def perplexity(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the perplexity of all rows together."""
    tokens = sum(score.answer_tokens for score in scores)
    loss = math.fsum(score.answer_loss * score.answer_tokens for score in scores) / tokens
    values = tuple(_exp(score.answer_loss) for score in scores)
    direction: Direction = "retain_model" if role == "forget" else "lower"
    return MetricResult(NAME, _exp(loss), values, len(values), direction, PAPER, parts={"tokens": tokens})


def _exp(loss: float) -> float:
    return math.exp(min(_LARGEST, loss))
