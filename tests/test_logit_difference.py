"""The formula, by hand on a vocabulary of four, and what each rule promises, on random logits."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from unlogit.errors import ConfigError
from unlogit.model.logit_difference import RULES, combine_logits

TARGET = torch.tensor([math.log(8), math.log(4), math.log(2), math.log(0.01)])
ASSISTANT = torch.tensor([3.0, 1.0, -1.0, 1.0])  # mean 1


def combine(target: Tensor, *assistants: Tensor, **settings: Any) -> Tensor:
    weights = settings.pop("weights", [1.0] * len(assistants))
    settings = {"rule": "centred", "alpha": 0.5, "filter_rate": 0.0, **settings}
    return combine_logits(target, assistants, weights, **settings)


def random_logits(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_centred_by_hand() -> None:
    """z − mean = [2, 0, −2, 0]; times 0.5 that is [1, 0, −1, 0]."""
    expected = TARGET - torch.tensor([1.0, 0.0, -1.0, 0.0])
    torch.testing.assert_close(combine(TARGET, ASSISTANT), expected)


def test_paper_by_hand() -> None:
    """Half of [3, 1, −1, 1] is subtracted as it is."""
    torch.testing.assert_close(combine(TARGET, ASSISTANT, rule="paper"), TARGET - 0.5 * ASSISTANT)


def test_filter_by_hand() -> None:
    """The likeliest token has weight 8; at rate 0.3 those of weight 8 and 4 are kept (2.4), 2 and 0.01 are not."""
    expected = torch.tensor([math.log(8) - 1, math.log(4), math.log(2), math.log(0.01)])
    torch.testing.assert_close(combine(TARGET, ASSISTANT, filter_rate=0.3), expected)
    expected = torch.tensor([math.log(8) - 1.5, math.log(4) - 0.5, math.log(2), math.log(0.01)])
    torch.testing.assert_close(combine(TARGET, ASSISTANT, rule="paper", filter_rate=0.3), expected)


def test_suppress_by_hand() -> None:
    """The assistant's probabilities [.5, .3, .1, .1] times 4 are [2, 1.2, .4, .4], so d = [log 2, log 1.2, 0, 0]."""
    assistant = torch.tensor([0.5, 0.3, 0.1, 0.1]).log() + 5
    expected = TARGET - 0.5 * torch.tensor([math.log(2), math.log(1.2), 0.0, 0.0])
    torch.testing.assert_close(combine(TARGET, assistant, rule="suppress"), expected)


def test_tail_by_hand() -> None:
    """Kept weights 8 and 4 are 12 together; d = [log 4, 0, …] makes them 2 and 4, which doubled are 12 again."""
    assistant = torch.tensor([math.log(4), 0.0, 0.0, -math.log(4)])
    expected = torch.tensor([4.0, 8.0, 2.0, 0.01]).log()
    torch.testing.assert_close(combine(TARGET, assistant, rule="tail", alpha=1.0, filter_rate=0.3), expected)


def test_rank_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """z − mean = [2, 0, −2, 0], of which the largest is lowered by half of 2. Of [−1, 1, 1, −1] two are, and of the
    four largest no more than these two: nothing is raised."""
    raised = torch.tensor([0.0, 2.0, 2.0, 0.0])
    for ranked, assistant, lowered in (
        (1, ASSISTANT, [1.0, 0, 0, 0]),
        (2, raised, [0, 0.5, 0.5, 0]),
        (4, raised, [0, 0.5, 0.5, 0]),
    ):
        monkeypatch.setattr("unlogit.model.logit_difference.RANKED", ranked)
        torch.testing.assert_close(combine(TARGET, assistant, rule="rank"), TARGET - torch.tensor(lowered))


def test_rank_lowers_so_many_tokens_and_no_more() -> None:
    """Also where many share the last place: of 99 equal tokens and a larger one, that one is lowered."""
    target, assistant = random_logits(2, 100), torch.zeros(2, 100)
    assistant[:, 7] = 8.0
    out = combine(target, assistant, rule="rank")
    assert (out != target).sum(-1).tolist() == [1, 1]
    many = torch.cat([torch.ones(2, 50), torch.zeros(2, 50)], dim=-1)
    assert (combine(target, many, rule="rank") != target).sum(-1).tolist() == [20, 20]


def test_rank_is_of_the_difference_of_branches() -> None:
    """The 20 tokens where z_forget − z_retain is largest, not those of either branch."""
    target, forget, retain = (random_logits(6, 90, seed=seed) for seed in range(3))
    out = combine(target, forget, retain, weights=[1.0, -1.0], rule="rank", alpha=50.0)
    for position in range(6):
        difference = forget[position] - retain[position]
        lowered = set(difference.topk(20).indices.tolist())
        assert {i for i in range(90) if out[position, i] < target[position, i] - 1} <= lowered
        untouched = [i for i in range(90) if i not in lowered]
        assert torch.equal(out[position, untouched], target[position, untouched])
        assert out[position].softmax(-1)[sorted(lowered)].sum() < 1e-6  # a large alpha is a mask


def test_two_branches_by_hand() -> None:
    """Weights 1 and −0.5, alpha 2: z − 2 · ([2, 0, −2, 0] − 0.5 · [0, 4, −4, 0]) = z − [4, −4, 0, 0]."""
    other = torch.tensor([7.0, 11.0, 3.0, 7.0])
    out = combine(TARGET, ASSISTANT, other, weights=[1.0, -0.5], alpha=2.0)
    torch.testing.assert_close(out, TARGET - torch.tensor([4.0, -4.0, 0.0, 0.0]))


@pytest.mark.parametrize("filter_rate", [0.0, 0.05])
@pytest.mark.parametrize("rule", list(RULES))
def test_a_constant_added_to_the_assistant(rule: str, filter_rate: float) -> None:
    """Changes no probability, but for the paper's rule with a filter, where it moves mass between kept and others."""
    target, assistant = random_logits(5, 50), random_logits(5, 50, seed=1)
    before = combine(target, assistant, rule=rule, filter_rate=filter_rate).softmax(-1)
    after = combine(target, assistant + 9.0, rule=rule, filter_rate=filter_rate).softmax(-1)
    same = torch.allclose(before, after, atol=1e-5)
    assert same != (rule == "paper" and filter_rate > 0)


@pytest.mark.parametrize("filter_rate", [0.0, 0.05])
@pytest.mark.parametrize("rule", list(RULES))
def test_a_uniform_assistant_changes_nothing(rule: str, filter_rate: float) -> None:
    target = random_logits(5, 50)
    uniform = torch.zeros_like(target) if rule == "paper" else torch.full_like(target, -4.25)
    out = combine(target, uniform, rule=rule, filter_rate=filter_rate)
    torch.testing.assert_close(out, target, atol=1e-5, rtol=0)


@pytest.mark.parametrize("filter_rate", [0.0, 0.05])
def test_suppress_raises_no_logit(filter_rate: float) -> None:
    target, assistant = random_logits(20, 50), random_logits(20, 50, seed=1)
    out = combine(target, assistant, rule="suppress", alpha=1.5, filter_rate=filter_rate)
    assert bool((out <= target).all())
    assert bool((out < target).any())


def test_tail_is_untouched() -> None:
    """Bit for bit in logits; and the kept tokens keep together the probability that the target gave them."""
    target, assistant = random_logits(20, 50), random_logits(20, 50, seed=1)
    out = combine(target, assistant, rule="tail", alpha=1.5, filter_rate=0.05)
    probabilities = target.softmax(-1)
    kept = probabilities >= 0.05 * probabilities.amax(-1, keepdim=True)
    assert torch.equal(out[~kept], target[~kept])
    assert not torch.allclose(out[kept], target[kept], atol=0.1)
    masses = [torch.where(kept, logits.softmax(-1), 0).sum(-1) for logits in (target, out)]
    torch.testing.assert_close(masses[0], masses[1])
    torch.testing.assert_close(out.softmax(-1)[~kept], probabilities[~kept])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rule", list(RULES))
def test_alpha_zero_is_the_target(rule: str, dtype: torch.dtype) -> None:
    """To the bit, even where a head masks tokens of its vocabulary with −infinity."""
    target = random_logits(5, 50).to(dtype)
    target[:, 40:] = -math.inf
    assistant = target + random_logits(5, 50, seed=1).to(dtype)
    assert torch.equal(combine(target, assistant, rule=rule, alpha=0.0, filter_rate=0.01), target)


@pytest.mark.parametrize("rule", list(RULES))
def test_bfloat16(rule: str) -> None:
    """Computed in float32, given back in the target's type, and probabilities sum to one."""
    target, assistant = random_logits(5, 50).bfloat16(), random_logits(5, 50, seed=1).bfloat16()
    out = combine(target, assistant, rule=rule, filter_rate=0.001)
    assert out.dtype == torch.bfloat16
    exact = combine(target.float(), assistant.float(), rule=rule, filter_rate=0.001)
    assert torch.equal(out, exact.bfloat16())
    torch.testing.assert_close(out.float().softmax(-1).sum(-1), torch.ones(5))


def test_a_likely_token_is_never_filtered() -> None:
    """Whatever the rate, the likeliest token is kept: its logit changes."""
    out = combine(TARGET, ASSISTANT, filter_rate=0.999)
    assert (out != TARGET).tolist() == [True, False, False, False]


def test_additions_come_before_the_filter() -> None:
    """The target would never say the second token: a filter of .5 keeps the first alone, and 1.5 · d is added to it.

    As an addition, −1 · −1.5 · [−4, 4] lifts the second to −4 above the first's −6, so that it alone is kept and
    loses the other branch's −3.
    """
    target, memory, refusal = torch.tensor([0.0, -10.0]), torch.tensor([3.0, -3.0]), torch.tensor([-4.0, 4.0])
    settings = {"weights": [1.0, -1.5], "alpha": 1.0, "filter_rate": 0.5}
    assert combine(target, memory, refusal, **settings).tolist() == [-9.0, -10.0]
    assert combine(target, memory, refusal, **settings, additions=[False, True]).tolist() == [-6.0, -1.0]


def test_additions_without_a_filter_are_branches_as_all_others() -> None:
    target, *branches = random_logits(3, 5, 50)
    settings = {"weights": [1.0, -1.5], "filter_rate": 0.0}
    together = combine(target, *branches, **settings)
    torch.testing.assert_close(combine(target, *branches, **settings, additions=[False, True]), together)
    only = combine(target, branches[1], weights=[-1.5], filter_rate=0.5, additions=[True])
    torch.testing.assert_close(only, combine(target, branches[1], weights=[-1.5]))


@pytest.mark.parametrize(
    ("settings", "facts"),
    [
        ({"rule": "centered"}, ["rule 'centered'", "'centred'"]),
        ({"filter_rate": 1.0}, ["filter_rate is 1.0", "below 1"]),
        ({"filter_rate": -0.1}, ["filter_rate is -0.1", "at least 0"]),
        ({"alpha": math.nan}, ["alpha is nan", "finite"]),
        ({"alpha": -0.5}, ["alpha is -0.5", "at least 0"]),
        ({"alpha": "much"}, ["alpha is 'much'", "number"]),
        ({"weights": [1.0, 2.0]}, ["2 weights", "1 branch"]),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, Any], facts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        combine(TARGET, ASSISTANT, **settings)
    assert [fact for fact in facts if fact not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
