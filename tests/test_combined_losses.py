"""Many combinations at once are what each is alone by combine_logits, over the whole vocabulary."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unlogit.evaluate.scoring import combined_losses as subject
from unlogit.evaluate.scoring.combined_losses import combined_losses, likeliest_is
from unlogit.model.logit_difference import combine_logits
from unlogit.settings.options import CombinationOptions

POSITIONS, VOCABULARY = 40, 70
COMBINATIONS = [
    CombinationOptions(rule, alpha, filter_rate)
    for rule, alpha, filter_rate in itertools.product(
        ("centred", "paper", "suppress", "tail", "rank"), (0.0, 0.3, 2.5), (0.0, 0.001, 0.3)
    )
]


def random_logits(seed: int, scale: float) -> Tensor:
    """Sharp at some positions, flat at others, so that a filter keeps from one to all tokens."""
    sharpness = torch.linspace(0.1, scale, POSITIONS)[:, None]
    return sharpness * torch.randn(POSITIONS, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def true_tokens(target: Tensor) -> Tensor:
    """The likeliest token at half of the positions, any at the others."""
    tokens = torch.randint(0, VOCABULARY, (POSITIONS,), generator=torch.Generator().manual_seed(3))
    tokens[::2] = target.argmax(-1)[::2]
    return tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("chunk", "cached", "fewest"), [(2**24, 2**18, 32), (7 * 70, 3 * 70, 2), (1, 1, 1)])
def test_each_combination_is_what_it_is_alone(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, chunk: int, cached: int, fewest: int
) -> None:
    """Two branches, one of which protects; whatever the pieces that the work is done in."""
    monkeypatch.setattr(subject, "CHUNK_LOGITS", chunk)
    monkeypatch.setattr(subject, "CACHED_LOGITS", cached)
    monkeypatch.setattr(subject, "FEWEST_TOKENS", fewest)
    target, *assistants = (random_logits(seed, scale).to(dtype) for seed, scale in ((0, 6.0), (1, 2.0), (2, 2.0)))
    weights, tokens = [1.0, -0.5], true_tokens(target)
    losses, hits = combined_losses(target, assistants, weights, tokens, COMBINATIONS)
    for i, one in enumerate(COMBINATIONS):
        alone = combine_logits(
            target, assistants, weights, rule=one.rule, alpha=one.alpha, filter_rate=one.filter_rate
        ).float()
        torch.testing.assert_close(losses[i], cross_entropy(alone, tokens, reduction="none"), atol=1e-5, rtol=1e-5)
        assert torch.equal(hits[i], alone.argmax(-1) == tokens)
    assert 0.1 < hits.float().mean() < 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_of_equally_likely_tokens_the_first_is_taken(dtype: torch.dtype) -> None:
    """Logits that are whole numbers: several are equal at every edge of every filter."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(-8, 1, (64, 300), generator=generator).to(dtype)
    assistant = (3 * target + torch.randn(64, 300, generator=generator)).to(dtype)
    tokens = target.argmax(-1)
    tokens[::2] = torch.randint(0, 300, (32,), generator=generator)
    chosen = [CombinationOptions("centred", alpha, rate) for alpha in (0.7, 3.0) for rate in (0.0, 0.01, 0.1, 0.5)]
    _, hits = combined_losses(target, [assistant], [1.0], tokens, chosen)
    for found, one in zip(hits, chosen, strict=True):
        alone = combine_logits(target, [assistant], [1.0], rule=one.rule, alpha=one.alpha, filter_rate=one.filter_rate)
        assert torch.equal(found, alone.argmax(-1) == tokens)


def test_filtered_combinations_touch_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a filter_rate of 0.3 no part takes many more tokens than are kept; without a filter all are taken."""
    monkeypatch.setattr(subject, "FEWEST_TOKENS", 2)
    target = random_logits(0, 6.0)
    (whole,) = subject._all_candidates(target, true_tokens(target))
    assert whole.target.shape == target.shape
    parts = list(subject._filtered_candidates(target, true_tokens(target), 0.1))
    rows = torch.cat([part.rows for part in parts if isinstance(part.rows, Tensor)])
    assert sorted(rows.tolist()) == list(range(POSITIONS))
    shares = target.softmax(-1)
    for rate in (0.1, 0.3):
        kept = (shares >= rate * shares.amax(-1, keepdim=True)).sum(-1)
        for part in parts:
            most = int(kept[part.rows].max())
            assert part.for_filter(rate).target.shape[1] <= most + 2  # the true one and another may be outside
            if rate == 0.1:
                assert most <= max(2 * int(kept[part.rows].min()) + 2, 2)


def test_what_is_no_number_stays_none() -> None:
    """A broken model is told by its losses, and not by an error on the way there."""
    target = random_logits(0, 6.0)
    target[[3, POSITIONS - 1]] = torch.nan
    chosen = [CombinationOptions("centred", 1.0, rate) for rate in (0.0, 0.01)]
    losses, _ = combined_losses(target, [random_logits(1, 2.0)], [1.0], true_tokens(target), chosen)
    assert losses.isnan().nonzero()[:, 1].tolist() == 2 * [3, POSITIONS - 1]


def test_the_likeliest_is_that_of_argmax() -> None:
    """Ties, too: the first of several largest values is taken."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 4, (500, 6), generator=generator).float()
    place = torch.randint(0, 6, (500,), generator=generator)
    expected = logits.argmax(-1) == place
    assert 0 < int(expected.sum()) < 500
    losses = cross_entropy(logits, place, reduction="none")
    assert torch.equal(likeliest_is(logits, place, losses), expected)
    order = torch.stack([torch.randperm(6, generator=generator) for _ in range(500)])  # as columns in any order
    shuffled, where = logits.gather(-1, order), (order == place[:, None]).int().argmax(-1)
    assert torch.equal(likeliest_is(shuffled, where, losses, order), expected)
