"""The metrics of a split by name, and what a row must have for each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from unlogit.evaluate.metrics.exact_memorisation import exact_memorisation
from unlogit.evaluate.metrics.extraction_strength import extraction_strength
from unlogit.evaluate.metrics.paraphrase_probability import paraphrase_probability
from unlogit.evaluate.metrics.perplexity import perplexity
from unlogit.evaluate.metrics.probability import probability
from unlogit.evaluate.metrics.repetition import repetition
from unlogit.evaluate.metrics.rouge_l_recall import rouge_l_recall
from unlogit.evaluate.metrics.rouge_words import has_words
from unlogit.evaluate.metrics.truth_ratio import truth_ratio
from unlogit.evaluate.metrics.verbatim_completion import verbatim_completion
from unlogit.evaluate.results import AnswerLosses, MetricResult, Role
from unlogit.evaluate.scoring.score import Score


@dataclass(frozen=True)
class Metric:
    """``compute`` is a pure function of the scores for which ``applies``."""

    compute: Callable[[Sequence[Score], Role], MetricResult]
    applies: Callable[[Score, Role], bool]


def is_answered(score: Score, role: Role) -> bool:
    """Whether a question was answered."""
    return score.generated is not None and score.kind != "text"


METRICS: dict[str, Metric] = {
    "probability": Metric(probability, lambda score, role: role != "knowledge" or bool(score.perturbed_loss)),
    "paraphrase_probability": Metric(
        paraphrase_probability, lambda score, role: role == "forget" and score.paraphrased_loss is not None
    ),
    "rouge_l_recall": Metric(rouge_l_recall, lambda score, role: is_answered(score, role) and has_words(score.answer)),
    "repetition": Metric(repetition, is_answered),
    "verbatim_completion": Metric(
        verbatim_completion, lambda score, role: score.generated is not None and score.kind == "text"
    ),
    "perplexity": Metric(perplexity, lambda score, role: score.kind == "text"),
    "truth_ratio": Metric(truth_ratio, lambda score, role: bool(score.perturbed_loss)),
    "extraction_strength": Metric(extraction_strength, lambda score, role: bool(score.hits)),
    "exact_memorisation": Metric(exact_memorisation, lambda score, role: bool(score.hits)),
}


def compute_metrics(
    scores: Sequence[Score], role: Role, metrics: Mapping[str, Metric] = METRICS
) -> dict[str, MetricResult]:
    """Return every metric that at least one row can be measured by, with the positions of those rows."""
    results = {}
    for name, metric in metrics.items():
        rows = tuple(i for i, score in enumerate(scores) if metric.applies(score, role))
        if rows:
            result = metric.compute([scores[i] for i in rows], role)
            results[name] = replace(result, row_indices=rows)
    return results


def answer_losses(scores: Sequence[Score]) -> tuple[AnswerLosses, ...]:
    """Return the losses that the metrics were computed from."""
    return tuple(AnswerLosses(score.answer_loss, score.paraphrased_loss, score.perturbed_loss) for score in scores)
