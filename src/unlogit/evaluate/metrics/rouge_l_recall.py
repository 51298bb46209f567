"""ROUGE-L recall: share of the reference's words that the greedy answer has, in order, in [0, 1].

TOFU, arXiv 2401.06121, with the package ``rouge_score`` and its stemmer, as there, but by words of every script
(``rouge_words``). ``english_rouge_l_recall`` counts runs of a–z and 0–9 alone, as published figures do. On forget rows
the retain model's value is the aim. A row whose true answer has no words has no ROUGE-L.
"""

from collections.abc import Sequence
from typing import Any

from unlogit.evaluate.metrics.rouge_words import all_scripts_scorer, english_scorer
from unlogit.evaluate.results import Direction, MetricResult, Role, mean
from unlogit.evaluate.scoring.score import Score

NAME = "rouge_l_recall"
PAPER = "TOFU, arXiv 2401.06121; ROUGE: Lin 2004"


def rouge_l_recall(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the mean ROUGE-L recall of generated against true answers. Every score needs ``generated``."""
    return _mean_recall(all_scripts_scorer(use_stemmer=True), scores, role)


def english_rouge_l_recall(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the same by runs of a–z and 0–9; 0 of a reference that has none."""
    return _mean_recall(english_scorer(use_stemmer=True), scores, role)


def _mean_recall(scorer: Any, scores: Sequence[Score], role: Role) -> MetricResult:
    values = tuple(float(scorer.score(score.answer, score.generated)["rougeL"].recall) for score in scores)
    direction: Direction = "retain_model" if role == "forget" else "higher"
    return MetricResult(NAME, mean(values), values, len(values), direction, PAPER)
