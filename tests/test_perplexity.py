"""Perplexity by hand, and of a tiny model against the product of its probabilities."""

import math

import pytest
import torch

from support.models_for_tests import EXAMPLES, tiny_llama, tiny_tokenizer
from unlogit.data.examples import Example
from unlogit.evaluate.metrics.perplexity import perplexity
from unlogit.evaluate.metrics.table import METRICS, compute_metrics
from unlogit.evaluate.results import Role
from unlogit.evaluate.scoring.score import Score, score_examples

TOKENIZER = tiny_tokenizer()
MODEL = tiny_llama(len(TOKENIZER))


def score(loss: float, tokens: int) -> Score:
    return Score(loss, tokens, (), None, (), None, "", kind="text")


@pytest.mark.parametrize(("role", "direction"), [("forget", "retain_model"), ("retain", "lower"), ("holdout", "lower")])
def test_long_rows_count_for_more(role: Role, direction: str) -> None:
    """Three tokens of log 2 and one of log 8: the mean is 6 log 2 / 4, so 2^1.5; each row's own are 2 and 8."""
    result = perplexity([score(math.log(2), 3), score(math.log(8), 1)], role)
    assert result.value == pytest.approx(2**1.5, abs=1e-12)
    assert result.per_example == pytest.approx((2.0, 8.0))
    assert (result.count, result.parts["tokens"], result.direction) == (2, 4, direction)


def test_a_ruined_model_has_a_number() -> None:
    assert math.isfinite(perplexity([score(5000.0, 1)], "retain").value)


def test_against_the_product_of_probabilities() -> None:
    """All predicted tokens of two texts (9 and 3): perplexity is the product of their p to the power of −1/12."""
    texts = [EXAMPLES[3], Example("", "Anna wrote a book", kind="text")]
    product = 1.0
    for text in texts:
        ids = TOKENIZER(text.answer).input_ids
        with torch.no_grad():
            p = MODEL(torch.tensor([ids])).logits[0].double().softmax(-1)
        for t in range(1, len(ids)):
            product *= p[t - 1, ids[t]].item()
    scores = score_examples(MODEL, TOKENIZER, texts, batch_size=2, generate=False)
    assert perplexity(scores, "retain").value == pytest.approx(product ** (-1 / 12), rel=1e-5)


def test_only_running_text_has_it() -> None:
    scores = score_examples(MODEL, TOKENIZER, EXAMPLES, batch_size=8, generate=False)
    found = compute_metrics(scores, "retain")
    assert [example.kind for example in EXAMPLES].index("text") == 3
    assert found["perplexity"].row_indices == (3,)
    assert "perplexity" in METRICS
