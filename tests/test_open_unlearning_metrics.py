"""OpenUnlearning's formulas: by hand, and by an independent reference."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import hmean

from test_metrics import score, split
from unlogit.evaluate.metrics.membership_inference import membership_inference
from unlogit.evaluate.metrics.table import compute_metrics
from unlogit.evaluate.open_unlearning.metrics import row_extraction_strength, row_truth_ratio
from unlogit.evaluate.protocol import PROTOCOLS, EvaluationProtocol
from unlogit.evaluate.results import Role
from unlogit.evaluate.scoring.score import Score

THEIRS = PROTOCOLS["open_unlearning"]


def theirs(name: str, scores: list[Score], role: Role) -> float:
    return compute_metrics(scores, role, THEIRS.metrics)[name].value


# Formulas


def test_truth_ratio_has_their_epsilon() -> None:
    """Row 1: p_wrong = √(0.1 · 0.4) = 0.2, p_true = 0.5. Row 2: p_wrong = 2e-10 and p_true = 1e-10 give 2e-10 / 2e-10.

    Forget: (min(0.4, 2.5) + min(1, 1)) / 2 = 0.7; else: (0.6 + 0) / 2 = 0.3. Ours has 2 for row 2: 0.45.
    """
    scores = [score(0.9, paraphrased=0.5, wrong=(0.1, 0.4)), score(1e-10, wrong=(2e-10,))]
    assert [row_truth_ratio(one) for one in scores] == pytest.approx([0.4, 1.0])
    assert theirs("truth_ratio", scores, "forget") == pytest.approx(0.7, abs=1e-9)
    assert theirs("truth_ratio", scores, "retain") == pytest.approx(0.3, abs=1e-9)
    assert compute_metrics(scores, "forget")["truth_ratio"].value == pytest.approx(0.45, abs=1e-9)


def test_truth_ratio_of_a_row_that_they_published() -> None:
    """Row 0 of their log of Llama-3.2-1B trained without forget10: the losses in it, and the score in it."""
    wrong = (3.285900115966797, 3.334685802459717, 3.9678597450256348, 3.725228786468506, 3.471944808959961)
    row = Score(1.0, 5, (), 4.264481067657471, wrong, None, "")
    assert row_truth_ratio(row) == pytest.approx(2.0286229411792283, rel=1e-12)


def test_probability_among_choices_has_their_epsilon() -> None:
    """0.2 / (0.2 + 0.1 + 0.1 + 1e-10) is 0.5 less 1.25e-10; 1e-10 / (1e-10 + 1e-10 + 1e-10) is a third, not a half."""
    scores = [score(0.2, wrong=(0.1, 0.1)), score(1e-10, wrong=(1e-10,))]
    found = compute_metrics(scores, "knowledge", THEIRS.metrics)["probability"].per_example
    assert found[0] == pytest.approx(0.5 - 1.25e-10, abs=1e-13)
    assert found[1] == pytest.approx(1 / 3)


def test_probability_of_answers_is_as_ours() -> None:
    """(0.5 + 0.25) / 2."""
    assert theirs("probability", [score(0.5), score(0.25, wrong=(0.9,))], "forget") == pytest.approx(0.375, abs=1e-12)


@pytest.mark.parametrize(
    ("hits", "wanted"),
    [("1111", 1), ("0111", 3 / 4), ("1011", 2 / 4), ("1110", 1 / 4), ("0000", 1 / 4), ("0", 1), ("1", 1), ("", 0)],
)
def test_extraction_strength_of_a_row(hits: str, wanted: float) -> None:
    """k stops at T − 1, so that nothing but misses is 1/T, and one token is always 1; ours is 0 in these cases."""
    assert row_extraction_strength([hit == "1" for hit in hits]) == pytest.approx(wanted)


def test_the_last_token_does_not_count() -> None:
    """Hits 1010|1 and 1|0, before the bar: extraction 1 − 3/4 and 1; memorisation 2/4 and 1.

    The third row is its end alone: extraction 0, no memorisation.
    """
    scores = [score(hits=(True, False, True, False, True)), score(hits=(True, False)), score(hits=(True,))]
    assert theirs("extraction_strength", scores, "forget") == pytest.approx((1 / 4 + 1 + 0) / 3)
    memorised = compute_metrics(scores, "forget", THEIRS.metrics)["exact_memorisation"]
    assert memorised.per_example == pytest.approx((0.5, 1.0))
    assert memorised.row_indices == (0, 1)


def test_membership_is_told_by_tokens_before_the_last() -> None:
    """By min-k, the lowest 40 % of a row: forget rows have −1 before their end and held-out rows −2: AUC 1.

    With the end, −9 for forget rows and 0 for the others, the lowest are −9 and −2: AUC 0.
    """

    def row(*log_probs: float) -> Score:
        return replace(score(answer="a"), token_log_probs=log_probs, token_z_scores=log_probs)

    def auc_by(protocol: EvaluationProtocol, forget: list[Score], holdout: list[Score]) -> float:
        result = membership_inference(protocol.membership_scores(forget), protocol.membership_scores(holdout))
        assert result is not None
        return result.value

    forget, holdout = [row(-1, -1, -9)] * 3, [row(-2, -2, 0)] * 3
    assert auc_by(THEIRS, forget, holdout) == 1
    assert auc_by(PROTOCOLS["unlogit"], forget, holdout) == 0
    assert auc_by(THEIRS, [row(-9)], [row(-2)]) == 0.5  # nothing but an end: 0, both


def test_model_utility_is_of_nine_or_none() -> None:
    """Eight of 1 and one of 0.5: 9 / (8 + 2). Ours takes the numbers that there are."""
    one = {"probability": 1.0, "rouge_l_recall": 1.0, "truth_ratio": 1.0}
    splits = {name: split(name, **one) for name in ("retain", "real_authors")}
    assert THEIRS.model_utility(splits) is None
    ours = PROTOCOLS["unlogit"].model_utility(splits)
    assert ours is not None
    assert ours.value == 1
    whole = splits | {"world_facts": split("world_facts", **{**one, "truth_ratio": 0.5})}
    found = THEIRS.model_utility(whole)
    assert found is not None
    assert found.value == pytest.approx(hmean([1.0] * 8 + [0.5]), abs=1e-12) == pytest.approx(0.9)


def reference(true: Any, wrong: Any, hits: list[list[bool]]) -> dict[str, float]:
    """Their numbers on whole arrays: true [N] and wrong [N, W] are losses, hits with the last token."""
    p_true, p_wrong = np.exp(-true), np.exp(-wrong.mean(1))
    ratios = p_wrong / (p_true + 1e-10)
    found = {
        "forget": np.minimum(ratios, 1 / (ratios + 1e-10)).mean(),
        "retain": np.maximum(0, 1 - ratios).mean(),
        "choice": (p_true / (p_true + np.exp(-wrong).sum(1) + 1e-10)).mean(),
        "memorised": np.mean([np.array(row[:-1]).mean() for row in hits]),
    }
    extracted = []
    for row in hits:
        kept = row[:-1]
        for k in range(len(kept)):
            if all(kept[k:]):
                break
        extracted.append(1 - k / len(kept))
    return found | {"extracted": np.mean(extracted)}


def test_formulas_agree_with_an_independent_reference() -> None:
    chance = random.Random(0)
    true = np.array([chance.expovariate(0.1) for _ in range(40)])
    wrong = np.array([[chance.expovariate(0.1) for _ in range(5)] for _ in range(40)])
    hits = [[chance.random() < 0.7 for _ in range(chance.randrange(2, 9))] for _ in range(40)]
    scores = [
        Score(float(t), len(h), tuple(h), None, tuple(map(float, w)), None, "")
        for t, w, h in zip(true, wrong, hits, strict=True)
    ]
    wanted = reference(true, wrong, hits)
    assert theirs("truth_ratio", scores, "forget") == pytest.approx(wanted["forget"], abs=1e-12)
    assert theirs("truth_ratio", scores, "retain") == pytest.approx(wanted["retain"], abs=1e-12)
    assert theirs("probability", scores, "knowledge") == pytest.approx(wanted["choice"], abs=1e-12)
    assert theirs("exact_memorisation", scores, "forget") == pytest.approx(wanted["memorised"], abs=1e-12)
    assert theirs("extraction_strength", scores, "forget") == pytest.approx(wanted["extracted"], abs=1e-12)
