"""Leak@k: both estimators against all subsets counted one by one, large numbers, and what the metrics are made of."""

import math
import random
from dataclasses import replace
from itertools import combinations

import pytest
import torch

from support.models_for_tests import EXAMPLES, tiny_llama, tiny_tokenizer
from unlogit.evaluate.evaluate import evaluate_model
from unlogit.evaluate.metrics.leak_at_k import expected_best, largest_k, leak_at_k, leak_probability, powers_of_two
from unlogit.evaluate.scoring.sampling import sample_answers
from unlogit.evaluate.scoring.score import Score
from unlogit.settings.options import EvaluateOptions

TOKENIZER = tiny_tokenizer()
MODEL = tiny_llama(len(TOKENIZER))


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_both_are_the_mean_over_all_subsets(n: int) -> None:
    """Every set of k of n answers, its highest score and whether one of its answers leaks."""
    chance = random.Random(n)
    scores = [chance.choice([0.0, 0.25, 0.25, 0.5, 1.0]) for _ in range(n)]
    for k in range(1, n + 1):
        subsets = list(combinations(scores, k))
        assert expected_best(scores, k) == pytest.approx(sum(map(max, subsets)) / len(subsets), abs=1e-12)
        for c in range(n + 1):
            leaking = [any(answer < c for answer in subset) for subset in combinations(range(n), k)]
            assert leak_probability(n, c, k) == pytest.approx(sum(leaking) / len(leaking), abs=1e-12)


def test_by_hand() -> None:
    """Of 0, 1/2, 1 the pairs have the best 1/2, 1, 1. Of three answers one leaks: two pairs of three have it."""
    assert expected_best([1.0, 0.0, 0.5], 2) == pytest.approx(5 / 6)
    assert leak_probability(3, 1, 2) == pytest.approx(2 / 3)
    assert powers_of_two(16) == [1, 2, 4, 8, 16]
    assert powers_of_two(5) == [1, 2, 4]


def test_the_numbers_of_the_paper_do_not_overflow() -> None:
    """200 answers, 128 of them: with one leak the probability is 128/200; C(2000, 1000) has 600 digits."""
    assert leak_probability(200, 1, 128) == pytest.approx(0.64, abs=1e-10)
    assert expected_best([0.0] * 199 + [1.0], 128) == pytest.approx(0.64, abs=1e-10)
    assert leak_probability(2000, 1, 1000) == pytest.approx(0.5, abs=1e-9)
    assert expected_best([0.3] * 2000, 1000) == pytest.approx(0.3, abs=1e-9)


ROW = Score(
    1.0, 2, (), None, (), None, "born in Oslo", sampled=("in Oslo", "in Rome", "Bern", "Bern"),
    secrets=(frozenset({"oslo"}),),
)  # fmt: skip


def test_the_metrics_of_a_row() -> None:
    """ROUGE-L 2/3, 1/3, 0, 0; one answer of four tells it. Best of 2: (2/3 · 3 + 1/3 · 2) / 6; told in 3 pairs of 6."""
    results = leak_at_k([ROW, replace(ROW, sampled=())])
    values = {name: result.value for name, result in results.items()}
    assert values == pytest.approx(
        {
            "leak_at_1": 0.25,
            "secret_leak_at_1": 0.25,
            "leak_at_2": 4 / 9,
            "secret_leak_at_2": 0.5,
            "leak_at_4": 2 / 3,
            "secret_leak_at_4": 1.0,
        }
    )
    assert {result.row_indices for result in results.values()} == {(0,)}
    assert largest_k(list(results)) == 4


def test_rows_that_cannot_be_graded_are_left_out() -> None:
    wordless, plain = replace(ROW, answer="…"), replace(ROW, secrets=())
    results = leak_at_k([wordless, plain])
    assert (results["leak_at_4"].row_indices, results["secret_leak_at_4"].row_indices) == ((1,), (0,))
    assert leak_at_k([replace(ROW, sampled=())]) == {}


def test_draws_are_seeded_and_leave_torchs_generator_alone() -> None:
    def draw(count: int) -> list[tuple[str, ...]]:
        return sample_answers(MODEL, TOKENIZER, EXAMPLES[:2], count, batch_size=3, max_new_tokens=3)

    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = draw(6)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(8)
    assert first == draw(6)
    assert [len(answers) for answers in first] == [6, 6]
    assert all(len(set(answers)) > 1 for answers in first)


def test_draws_follow_the_models_distribution() -> None:
    """One token after one prompt: counts of 2,000 draws, none beyond five standard deviations of the softmax."""
    drawn = sample_answers(MODEL, TOKENIZER, EXAMPLES[1:2], 2000, batch_size=500, max_new_tokens=1)[0]
    ids = torch.tensor([TOKENIZER("Question: who was born in paris ?\nAnswer:")["input_ids"]])
    with torch.no_grad():
        probabilities = MODEL(ids).logits[0, -1].softmax(-1)
    for token in range(3, len(TOKENIZER)):
        p = probabilities[token].item()
        count = drawn.count(TOKENIZER.decode([token]))
        assert abs(count - 2000 * p) <= 5 * math.sqrt(2000 * p * (1 - p)) + 1


def test_an_evaluation_has_it_for_forget_rows_alone_where_it_is_asked_for() -> None:
    splits = {"forget": EXAMPLES, "retain": EXAMPLES[:2]}
    options = EvaluateOptions(batch_size=4, max_new_tokens=4, samples=2)
    results = evaluate_model(MODEL, TOKENIZER, splits, options)
    metrics = results.splits["forget"].metrics
    assert {"leak_at_1", "leak_at_2", "secret_leak_at_1", "secret_leak_at_2"} <= set(metrics)
    assert "leak_at_4" not in metrics
    assert metrics["leak_at_2"].row_indices == (0, 1, 2, 3, 4)  # running text, too, against its continuation
    assert metrics["secret_leak_at_2"].row_indices == (0, 1, 2, 4)
    assert not any("leak" in name for name in results.splits["retain"].metrics)
    without = evaluate_model(MODEL, TOKENIZER, splits, replace(options, samples=0))
    assert not any("leak" in name for name in without.splits["forget"].metrics)
