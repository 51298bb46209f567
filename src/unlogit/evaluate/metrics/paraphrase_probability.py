"""Probability of a paraphrase of the true answer, geometric mean per token: ``exp(−loss)``, in [0, 1].

OpenUnlearning, arXiv 2506.12618: part of its memorisation score. Who remembers a fact, and not a wording alone, finds
other wordings likely, too. On forget rows that have a paraphrase; the retain model's value is the aim.
"""

import math
from collections.abc import Sequence

from unlogit.evaluate.results import MetricResult, Role, mean
from unlogit.evaluate.scoring.score import Score

NAME = "paraphrase_probability"
PAPER = "OpenUnlearning, arXiv 2506.12618"


def paraphrase_probability(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the mean over rows. Every score needs ``paraphrased_loss``."""
    values = tuple(math.exp(-score.paraphrased_loss) for score in scores if score.paraphrased_loss is not None)
    return MetricResult(NAME, mean(values), values, len(values), "retain_model", PAPER)
