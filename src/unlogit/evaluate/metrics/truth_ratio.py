"""Truth ratio: how much likelier wrong answers are than a paraphrase of the true one, whatever the wording.

``TR = exp(loss of the paraphrased true answer − mean loss of the wrong answers)``, i.e. p_wrong / p_true with
a geometric mean over the wrong answers, in (0, ∞). Rows without a paraphrase use the answer itself. TOFU,
arXiv 2401.06121, section 2.2.1. Aggregates as in its published code: on forget rows the mean of ``min(TR,
1/TR)`` (1: cannot tell true from wrong; the retain model's value is the aim), elsewhere the mean of ``max(0,
1 − TR)``. ``per_example`` holds TR itself, since forget quality compares its distributions.
"""

import math
from collections.abc import Sequence

from unlogit.data.examples import Example
from unlogit.evaluate.metrics.exact_memorisation import exact_memorisation
from unlogit.evaluate.results import Direction, MetricResult, Role, TruthRatios, mean, row_digest
from unlogit.evaluate.scoring.score import Score

NAME = "truth_ratio"
PAPER = "TOFU, arXiv 2401.06121"

_LARGEST = 700.0  # exp of more overflows a 64-bit float


def truth_ratio(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the aggregate for the split's role; ``per_example`` is TR. Every score needs wrong answers."""
    ratios = tuple(row_truth_ratio(score) for score in scores)
    direction: Direction = "retain_model" if role == "forget" else "higher"
    return MetricResult(NAME, aggregate(ratios, role), ratios, len(ratios), direction, PAPER)


def aggregate(ratios: Sequence[float], role: Role) -> float:
    """Return the mean of ``min(TR, 1/TR)`` on forget rows, elsewhere of ``max(0, 1 − TR)``."""
    if role == "forget":
        return mean([min(ratio, 1 / ratio) for ratio in ratios])
    return mean([max(0.0, 1 - ratio) for ratio in ratios])


def score_truth_ratios(source: str, rows: Sequence[Example], scores: Sequence[Score]) -> TruthRatios:
    """Return what forget quality and the choice of a combination compare, of a model's scores of these forget rows."""
    return TruthRatios(
        source,
        tuple(map(row_digest, rows)),
        tuple(map(row_truth_ratio, scores)),
        exact_memorisation=exact_memorisation(scores, "forget").per_example,
    )


def row_truth_ratio(score: Score) -> float:
    """Return TR of one row, kept within what a float can hold together with its inverse."""
    true = score.answer_loss if score.paraphrased_loss is None else score.paraphrased_loss
    return math.exp(min(_LARGEST, max(-_LARGEST, true - mean(score.perturbed_loss))))
