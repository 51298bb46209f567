"""ROUGE-L recall: share of the reference's words that the greedy answer has, in order, in [0, 1].

TOFU, arXiv 2401.06121, with the package ``rouge_score`` and its stemmer, as there. That package counts runs
of a–z and 0–9 only: words of other alphabets do not count, and an answer with none of these scores 0. On
forget rows the retain model's value is the aim.
"""

from collections.abc import Sequence

from rouge_score.rouge_scorer import RougeScorer

from unlogit.evaluate.results import Direction, MetricResult, Role, mean
from unlogit.evaluate.scoring.score import Score

NAME = "rouge_l_recall"
PAPER = "TOFU, arXiv 2401.06121; ROUGE: Lin 2004"


def rouge_l_recall(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the mean ROUGE-L recall of generated against true answers. Every score needs ``generated``."""
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    values = tuple(float(scorer.score(score.answer, score.generated)["rougeL"].recall) for score in scores)
    direction: Direction = "retain_model" if role == "forget" else "higher"
    return MetricResult(NAME, mean(values), values, len(values), direction, PAPER)
