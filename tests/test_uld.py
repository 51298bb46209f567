"""ULD's objective against arithmetic done by hand."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from unlogit.objectives import OBJECTIVES
from unlogit.objectives.uld import uld, uniform_kl
from unlogit.objectives.weights import OFFSET_OBJECTIVES, WEIGHT_OBJECTIVES


def test_uniform_kl_by_hand() -> None:
    """z = (ln 2, 0, 0, 0): logsumexp = ln 5, mean = ln 2 / 4, V = 4: ln 5 − ln 2 / 4 − ln 4 = 0.0499."""
    z = torch.tensor([[math.log(2), 0.0, 0.0, 0.0]])
    assert uniform_kl(z).item() == pytest.approx(math.log(5) - math.log(2) / 4 - math.log(4), abs=1e-6)


def test_uniform_kl_is_the_divergence_from_uniform() -> None:
    """Against Σ (1/V) log((1/V) / p), computed from probabilities."""
    z = 5 * torch.randn(20, 11, generator=torch.Generator().manual_seed(0))
    expected = (math.log(1 / 11) - z.log_softmax(-1)).mean(-1)
    torch.testing.assert_close(uniform_kl(z), expected)
    assert (uniform_kl(z) > 0).all()


def test_uniform_logits_and_constants_cost_nothing() -> None:
    torch.testing.assert_close(uniform_kl(torch.full((2, 7), 3.0)), torch.zeros(2))
    z = torch.randn(3, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(uniform_kl(z + 5), uniform_kl(z))


def test_uniform_kl_in_bfloat16_does_not_underflow() -> None:
    z = torch.tensor([[90.0, 0.0]], dtype=torch.bfloat16)
    assert uniform_kl(z).item() == pytest.approx(90 - 45 - math.log(2), abs=1e-3)


def test_uld_by_hand() -> None:
    """Forget: two tokens, p = 3/4 and 1/2 of the labels: (ln 4/3 + ln 2) / 2. Uniform: z = (ln 3, 0):
    ln 4 − ln 3 / 2 − ln 2. Weight 6.5."""
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    forget = cross_entropy(logits, torch.tensor([0, 1]))
    loss = uld(forget, uniform_kl(logits[:1]).mean(), retain_weight=6.5)
    expected_forget = (math.log(4 / 3) + math.log(2)) / 2
    expected_uniform = math.log(4) - math.log(3) / 2 - math.log(2)
    assert loss.forget.item() == pytest.approx(expected_forget, abs=1e-6)
    assert loss.uniform.item() == pytest.approx(expected_uniform, abs=1e-6)
    assert loss.total.item() == pytest.approx(expected_forget + 6.5 * expected_uniform, abs=1e-5)


def test_the_sides_pull_apart() -> None:
    """The gradient raises a forget label's logit, and on the uniform side lowers the likeliest."""
    forget = torch.zeros(1, 3, requires_grad=True)
    uniform = torch.tensor([[2.0, 0.0, 0.0]], requires_grad=True)
    loss = uld(cross_entropy(forget, torch.tensor([1])), uniform_kl(uniform).mean(), retain_weight=1.0)
    loss.total.backward()
    assert forget.grad is not None
    assert uniform.grad is not None
    assert forget.grad[0, 1] < 0 < forget.grad[0, 0]
    assert uniform.grad[0, 0] > 0 > uniform.grad[0, 1]


def test_every_objective_says_what_it_trains() -> None:
    """Each name once, under the kind of the table that it comes from; a name in two tables would hide one of them."""
    names = [*WEIGHT_OBJECTIVES, *OFFSET_OBJECTIVES]
    assert len(names) == len(set(names))
    expected = {"uld": "branches", "dual_uld": "branches", "divergence": "branches"}
    expected |= {name: "offset" if name.startswith("offset_") else "weights" for name in names}
    assert expected == OBJECTIVES
