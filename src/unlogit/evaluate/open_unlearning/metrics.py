"""OpenUnlearning's formulas (arXiv 2506.12618), each a pure function of scores, as ours are: that project's numbers.

With ℓ the mean loss per answer token of the answer y, its paraphrase y', the wrong answers w, and ε = 1e-10:

    probability            exp(−ℓ_y); on real authors and world facts p_y / (p_y + Σ p_w + ε)
    truth ratio            TR = exp(−mean ℓ_w) / (exp(−ℓ_y') + ε), with y for y' where there is no paraphrase;
                           forget: mean min(TR, 1/(TR + ε)); else: mean max(0, 1 − TR)
    exact memorisation     share of hits; the last token, the end of the answer, does not count
    extraction strength    1 − k/T over the same T tokens, k < T the first place from where all are hit, else T − 1:
                           1/T where the last is missed, so 1 for answers of one token; 0 where there is none
    membership inference   min-k and min-k++ over the same T tokens, loss and zlib over all; the rest as ours
    ROUGE                  rougeL recall with the stemmer, greedy, 200 tokens (max_new_tokens): as ours, but by runs of
                           a–z and 0–9 alone, and 0 of an answer that has none
    model utility          harmonic mean of the nine of TOFU, or nothing
    forget quality         p-value of ks_2samp on TR as it stands: the same function as ours

From src/evals/metrics/memorization.py, utils.py and privacy.py of github.com/locuslab/open-unlearning. Not here: that
project computes in the model's type and float32, we in float32 and 64-bit sums (differences of 1e-7 relative); its
releases before the middle of 2025 left the last token out of a batch's longest row only; its paper's "truth ratio"
of memorisation, mean p_y'/(p_y' + p_w), is another number than the one its TOFU files hold.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from unlogit.evaluate.metrics.extraction_strength import shortest_prefix
from unlogit.evaluate.metrics.membership_inference import membership_scores as ours_membership_scores
from unlogit.evaluate.metrics.model_utility import METRICS_OF_EACH, UTILITY_SPLITS, model_utility, utility_parts
from unlogit.evaluate.metrics.probability import answer_probability
from unlogit.evaluate.metrics.rouge_l_recall import english_rouge_l_recall
from unlogit.evaluate.metrics.table import METRICS, Metric, is_answered
from unlogit.evaluate.results import Direction, MetricResult, Role, SplitResult, mean
from unlogit.evaluate.scoring.score import Score

EPSILON = 1e-10
PAPER = "OpenUnlearning, arXiv 2506.12618"


def probability(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the mean probability of the true answer, among the choices where ``role`` is knowledge."""
    row_probability = choice_probability if role == "knowledge" else answer_probability
    values = tuple(row_probability(score) for score in scores)
    direction: Direction = "retain_model" if role == "forget" else "higher"
    return MetricResult("probability", mean(values), values, len(values), direction, PAPER)


def choice_probability(score: Score) -> float:
    """Return ``p_y / (p_y + Σ p_w + ε)``: 0 where all of them are far below ε."""
    true = math.exp(-score.answer_loss)
    return true / (true + math.fsum(math.exp(-loss) for loss in score.perturbed_loss) + EPSILON)


def truth_ratio(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the aggregate for the split's role; ``per_example`` is TR. Every score needs wrong answers."""
    ratios = tuple(row_truth_ratio(score) for score in scores)
    direction: Direction = "retain_model" if role == "forget" else "higher"
    value = aggregate_truth_ratios(ratios, role)
    return MetricResult("truth_ratio", value, ratios, len(ratios), direction, PAPER)


def row_truth_ratio(score: Score) -> float:
    """Return TR of one row, in [0, 1e10]."""
    true = score.answer_loss if score.paraphrased_loss is None else score.paraphrased_loss
    return math.exp(-mean(score.perturbed_loss)) / (math.exp(-true) + EPSILON)


def aggregate_truth_ratios(ratios: Sequence[float], role: Role) -> float:
    """Return the mean of ``min(TR, 1/(TR + ε))`` on forget rows, elsewhere of ``max(0, 1 − TR)``."""
    if role == "forget":
        return mean([min(ratio, 1 / (ratio + EPSILON)) for ratio in ratios])
    return mean([max(0.0, 1 - ratio) for ratio in ratios])


def exact_memorisation(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the mean share of hits before the last token. Every score needs two or more ``hits``."""
    values = tuple(sum(score.hits[:-1]) / len(score.hits[:-1]) for score in scores)
    direction: Direction = "lower" if role == "forget" else "higher"
    return MetricResult("exact_memorisation", mean(values), values, len(values), direction, PAPER)


def extraction_strength(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the mean of ``row_extraction_strength``. Every score needs ``hits``."""
    values = tuple(row_extraction_strength(score.hits[:-1]) for score in scores)
    direction: Direction = "lower" if role == "forget" else "higher"
    return MetricResult("extraction_strength", mean(values), values, len(values), direction, PAPER)


def row_extraction_strength(hits: Sequence[bool]) -> float:
    """Return ``1 − k/T`` of T hits with k at most T − 1; 0 of none."""
    if not hits:
        return 0.0
    return 1 - min(shortest_prefix(hits), len(hits) - 1) / len(hits)


def membership_scores(rows: Sequence[Score]) -> dict[str, tuple[float, ...]]:
    """Return every score of every row by tokens before the last; an answer of one token scores 0 by its tokens."""
    return ours_membership_scores([_without_end(row) for row in rows])


def _without_end(score: Score) -> Score:
    return replace(
        score,
        token_log_probs=score.token_log_probs[:-1] or (0.0,),
        token_z_scores=score.token_z_scores[:-1] or (0.0,),
    )


METRICS_OF_OPEN_UNLEARNING: dict[str, Metric] = {
    **METRICS,
    "probability": replace(METRICS["probability"], compute=probability),
    "rouge_l_recall": Metric(english_rouge_l_recall, is_answered),
    "truth_ratio": replace(METRICS["truth_ratio"], compute=truth_ratio),
    "extraction_strength": replace(METRICS["extraction_strength"], compute=extraction_strength),
    "exact_memorisation": Metric(exact_memorisation, lambda score, role: len(score.hits) > 1),
}


def utility_of_nine(splits: Mapping[str, SplitResult]) -> MetricResult | None:
    """Return the harmonic mean of the nine numbers, or None where one is missing: fewer are another number."""
    if len(utility_parts(splits)) < len(UTILITY_SPLITS) * len(METRICS_OF_EACH):
        return None
    return model_utility(splits)
