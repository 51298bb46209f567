"""Whose protocol results follow, chosen by name: tokens, formulas and which numbers make model utility.

``unlogit`` is what the files of the metrics say; ``open_unlearning`` reproduces that project's numbers (see
``open_unlearning_tokens`` and ``open_unlearning_metrics``). Results say which they followed, and those of different
protocol are never compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unlogit.evaluate.metrics.membership_inference import membership_scores
from unlogit.evaluate.metrics.model_utility import model_utility, utility_parts
from unlogit.evaluate.metrics.table import METRICS, Metric
from unlogit.evaluate.metrics.truth_ratio import aggregate
from unlogit.evaluate.open_unlearning import metrics as theirs
from unlogit.evaluate.open_unlearning import tokens as open_unlearning_tokens
from unlogit.evaluate.results import MetricResult, Role, SplitResult
from unlogit.evaluate.scoring.prompt_format import PLAIN, PromptFormat
from unlogit.evaluate.scoring.score import Score


@dataclass(frozen=True)
class EvaluationProtocol:
    """``prompt_format`` makes tokens of rows, ``metrics`` numbers of scores, ``truth_ratio`` one number of a split's
    truth ratios, ``membership_scores`` what membership inference compares; ``model_utility`` gives None where it
    has no meaning."""

    prompt_format: PromptFormat
    metrics: Mapping[str, Metric]
    truth_ratio: Callable[[Sequence[float], Role], float]
    membership_scores: Callable[[Sequence[Score]], dict[str, tuple[float, ...]]]
    model_utility: Callable[[Mapping[str, SplitResult]], MetricResult | None]


def _utility_of_what_there_is(splits: Mapping[str, SplitResult]) -> MetricResult | None:
    return model_utility(splits) if utility_parts(splits) else None


PROTOCOLS: dict[str, EvaluationProtocol] = {
    "unlogit": EvaluationProtocol(PLAIN, METRICS, aggregate, membership_scores, _utility_of_what_there_is),
    "open_unlearning": EvaluationProtocol(
        open_unlearning_tokens.PROMPT_FORMAT,
        theirs.METRICS_OF_OPEN_UNLEARNING,
        theirs.aggregate_truth_ratios,
        theirs.membership_scores,
        theirs.utility_of_nine,
    ),
}
"""The names are those of ``EvaluateOptions.protocol``."""
