"""Verbatim completion: how much of a text's continuation the model writes down, given its beginning, in [0, 1].

MUSE (Shi et al. 2024, arXiv 2407.06460, section 3.1, VerbMem): ROUGE-L between the greedy continuation of a text's
first tokens and the true one. As in its published code: the F measure, no stemmer, both texts equally long in tokens.
A piece of running text begins with its first half, at most ``generation.TEXT_PROMPT_TOKENS`` tokens; the continuation
is the rest, at most ``max_new_tokens``. Words are those of every script (``rouge_words``). ``parts`` has the recall. On
forget rows the retain model's value is the aim: common words in common order give every model something.
"""

from collections.abc import Sequence

from unlogit.evaluate.metrics.rouge_words import all_scripts_scorer
from unlogit.evaluate.results import Direction, MetricResult, Role, mean
from unlogit.evaluate.scoring.score import Score

NAME = "verbatim_completion"
PAPER = "MUSE, arXiv 2407.06460; ROUGE: Lin 2004"


def verbatim_completion(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the mean ROUGE-L F measure of generated against true continuations. Every score needs both."""
    scorer = all_scripts_scorer(use_stemmer=False)
    rouge_l = [scorer.score(score.continuation, score.generated)["rougeL"] for score in scores]
    values = tuple(float(row.fmeasure) for row in rouge_l)
    recall = mean([float(row.recall) for row in rouge_l])
    direction: Direction = "retain_model" if role == "forget" else "higher"
    return MetricResult(NAME, mean(values), values, len(values), direction, PAPER, parts={"recall": recall})
