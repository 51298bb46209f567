"""Forget quality: are the truth ratios on forget rows distinguishable from those of a model that never saw them?

p-value of the two-sided two-sample Kolmogorov–Smirnov test; higher is better, and above 0.05 they are
indistinguishable at the usual level. TOFU, arXiv 2401.06121, section 2.2.2. It falls with the number of rows (at 400
a full difference gives 1e-239), and over-suppression fails it as surely as none. ``parts`` has the statistic.
"""

from collections.abc import Sequence

from scipy.stats import ks_2samp

from unlogit.errors import ConfigError
from unlogit.evaluate.results import MetricResult

NAME = "forget_quality"
PAPER = "TOFU, arXiv 2401.06121"


def forget_quality(truth_ratios: Sequence[float], retain: Sequence[float] | None) -> MetricResult:
    """Return the p-value for two models' truth ratios on the same forget rows; ``count`` is that of rows.

    Raises:
        ConfigError: there is no retain model.
    """
    if not retain:
        raise ConfigError(
            "forget quality needs a retain model: got none; expected a model trained without the forget rows "
            "(folder or hub id), its results.json, or a published log: give it as evaluate.retain_model"
        )
    statistic, p_value = ks_two_sided(truth_ratios, retain)
    return MetricResult(NAME, p_value, (), len(truth_ratios), "higher", PAPER, parts={"ks_statistic": statistic})


def ks_two_sided(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return (statistic, p-value); exact up to 10,000 values each, as scipy chooses by default."""
    test = ks_2samp(first, second)
    return float(test.statistic), float(test.pvalue)
