"""Exact memorisation: share of the answer's tokens, the end included, that are the likeliest at their place.

Tirumala et al. 2022, arXiv 2205.10770, as OpenUnlearning (arXiv 2506.12618) measures it: with the true answer
up to there given. Rows count alike, whatever their length.
"""

from collections.abc import Sequence

from unlogit.evaluate.results import Direction, MetricResult, Role, mean
from unlogit.evaluate.scoring.score import Score

NAME = "exact_memorisation"
PAPER = "OpenUnlearning, arXiv 2506.12618; Tirumala et al., arXiv 2205.10770"


def exact_memorisation(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the mean share of hits. Every score needs ``hits``."""
    values = tuple(sum(score.hits) / len(score.hits) for score in scores)
    direction: Direction = "lower" if role == "forget" else "higher"
    return MetricResult(NAME, mean(values), values, len(values), direction, PAPER)
