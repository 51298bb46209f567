"""Leak@k: the worst of k answers drawn to a question, expected over the draws, in [0, 1].

Leak@k, arXiv 2511.04934: n answers are drawn to each question at temperature 1 and top_p 1, and graded; a greedy answer
alone hides what sampling brings back. Both estimators are unbiased, the mean over all sets of k of the n answers:

    leak_at_k         Σ_i C(i−1, k−1) / C(n, k) · s_(i), with s_(1) ≤ … ≤ s_(n) the ROUGE-L recalls of the answers
    secret_leak_at_k  1 − C(n−c, k) / C(n, k), with c the answers that tell the row's secret (``data.secrets``)

for k = 1, 2, 4, … up to n. Running text has the first alone, against its continuation. A model that never saw the rows
leaks, too: its value is the aim, not 0.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from unlogit.data.secrets import tells
from unlogit.evaluate.metrics.rouge_words import all_scripts_scorer, has_words
from unlogit.evaluate.results import MetricResult, mean
from unlogit.evaluate.scoring.score import Score

GRADED, BINARY = "leak_at_", "secret_leak_at_"
"""What the metrics are called, before k."""
PAPER = "Leak@k, arXiv 2511.04934"


def leak_at_k(scores: Sequence[Score]) -> dict[str, MetricResult]:
    """Return both metrics for every k, each on the rows that have drawn answers and what they are graded by."""
    drawn = min((len(score.sampled) for score in scores if score.sampled), default=0)
    results: dict[str, MetricResult] = {}
    references = [score.continuation or "" if score.kind == "text" else score.answer for score in scores]
    graded = tuple(i for i, score in enumerate(scores) if score.sampled and has_words(references[i]))
    binary = tuple(i for i, score in enumerate(scores) if score.sampled and score.secrets)
    grades = {i: _recalls(references[i], scores[i].sampled) for i in graded}
    telling = {i: sum(tells(answer, scores[i].secrets) for answer in scores[i].sampled) for i in binary}
    for k in powers_of_two(drawn):
        if graded:
            values = tuple(expected_best(grades[i], k) for i in graded)
            results[f"{GRADED}{k}"] = _result(f"{GRADED}{k}", values, graded)
        if binary:
            values = tuple(leak_probability(len(scores[i].sampled), telling[i], k) for i in binary)
            results[f"{BINARY}{k}"] = _result(f"{BINARY}{k}", values, binary)
    return results


def expected_best(scores: Sequence[float], k: int) -> float:
    """Return the mean, over all sets of k of these scores, of the highest one; 1 ≤ k ≤ the number of scores."""
    n = len(scores)
    return math.fsum(
        math.exp(_log_binomial(i - 1, k - 1) - _log_binomial(n, k)) * score
        for i, score in enumerate(sorted(scores), start=1)
        if i >= k
    )


def leak_probability(n: int, c: int, k: int) -> float:
    """Return the share of all sets of k of n answers that hold one of the c that leak; 1 ≤ k ≤ n."""
    if n - c < k:
        return 1.0
    return -math.expm1(_log_binomial(n - c, k) - _log_binomial(n, k))


def powers_of_two(most: int) -> list[int]:
    """Return 1, 2, 4, … up to ``most``."""
    return [2**i for i in range(most.bit_length())]


def largest_k(names: Sequence[str]) -> int:
    """Return the largest k of these metrics' names; 0 where none is Leak@k."""
    return max((int(name.removeprefix(GRADED)) for name in names if name.startswith(GRADED)), default=0)


def _log_binomial(n: int, k: int) -> float:
    """Return log C(n, k): C(200, 100) itself is beyond what a ratio of floats can bear."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _recalls(reference: str, answers: Sequence[str]) -> list[float]:
    """Return the ROUGE-L recall of each answer; equal ones are compared once."""
    scorer = all_scripts_scorer(use_stemmer=True)
    recall = {answer: float(scorer.score(reference, answer)["rougeL"].recall) for answer in set(answers)}
    return [recall[answer] for answer in answers]


def _result(name: str, values: tuple[float, ...], rows: tuple[int, ...]) -> MetricResult:
    result = MetricResult(name, mean(values), values, len(values), "retain_model", PAPER)
    return replace(result, row_indices=rows)
