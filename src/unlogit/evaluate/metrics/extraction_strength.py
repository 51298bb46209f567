"""Extraction strength: share of the answer that the model completes from the shortest sufficient beginning.

``1 − k/T``: given the first k of the answer's T tokens (end-of-text included), the likeliest token is the
right one at every later position. 1 where the prompt alone suffices; 0 where even the last token is missed (k
= T). Carlini et al. 2021, arXiv 2012.07805, in the form of OpenUnlearning, arXiv 2506.12618; its code gives
1/T where nothing matches and 1 for one-token answers, we do not.
"""

from collections.abc import Sequence

from unlogit.evaluate.results import Direction, MetricResult, Role, mean
from unlogit.evaluate.scoring.score import Score

NAME = "extraction_strength"
PAPER = "OpenUnlearning, arXiv 2506.12618; Carlini et al., arXiv 2012.07805"


def extraction_strength(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the mean of ``1 − k/T``. Every score needs ``hits``."""
    values = tuple(1 - shortest_prefix(score.hits) / len(score.hits) for score in scores)
    direction: Direction = "lower" if role == "forget" else "higher"
    return MetricResult(NAME, mean(values), values, len(values), direction, PAPER)


def shortest_prefix(hits: Sequence[bool]) -> int:
    """Return how many tokens must be given for all later ones to be hit: up to and with the last miss."""
    return max((i + 1 for i, hit in enumerate(hits) if not hit), default=0)
