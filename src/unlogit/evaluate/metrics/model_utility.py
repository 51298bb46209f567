"""Model utility: harmonic mean of nine numbers that tell how much of what must stay has stayed.

{retain, real_authors, world_facts} × {probability, rouge_l_recall, truth_ratio}.

TOFU, arXiv 2401.06121, section 2.2.1; higher is better, and one number at zero makes it zero. Data of one's
own has fewer numbers: the mean is over those there are, ``count`` says how many and ``parts`` which. Values
over different parts do not compare.
"""

from collections.abc import Mapping

from unlogit.errors import DataError
from unlogit.evaluate.results import MetricResult, SplitResult

NAME = "model_utility"
PAPER = "TOFU, arXiv 2401.06121"
UTILITY_SPLITS = ("retain", "real_authors", "world_facts")
METRICS_OF_EACH = ("probability", "rouge_l_recall", "truth_ratio")


def utility_parts(splits: Mapping[str, SplitResult]) -> dict[str, float]:
    """Return the numbers that model utility is made of, by name ``split.metric``; empty if there are none."""
    return {
        f"{split}.{metric}": splits[split].metrics[metric].value
        for split in UTILITY_SPLITS
        if split in splits
        for metric in METRICS_OF_EACH
        if metric in splits[split].metrics
    }


def model_utility(splits: Mapping[str, SplitResult]) -> MetricResult:
    """Return the harmonic mean of ``utility_parts``.

    Raises:
        DataError: there is no part.
    """
    components = utility_parts(splits)
    if not components:
        raise DataError(
            f"model utility needs a split that must stay: got {', '.join(splits) or 'none'}; expected at least "
            f"one of {', '.join(UTILITY_SPLITS)}: give retain rows"
        )
    values = tuple(components.values())
    return MetricResult(NAME, harmonic_mean(values), values, len(values), "higher", PAPER, parts=components)


def harmonic_mean(values: tuple[float, ...]) -> float:
    """Return ``n / Σ 1/x`` of numbers of at least 0; 0 if one is 0."""
    if min(values) <= 0:
        return 0.0
    return len(values) / sum(1 / value for value in values)
