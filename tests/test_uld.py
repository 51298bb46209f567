"""ULD's objective against arithmetic done by hand."""

import math

import pytest
import torch

from unlogit.objectives import OBJECTIVES
from unlogit.objectives.uld import uld, uniform_excess


def test_uniform_excess_by_hand() -> None:
    """z = (ln 2, 0, 0, 0): logsumexp = ln 5, mean = ln 2 / 4, V = 4: ln 5 − ln 2 / 4 − ln 4 = 0.0499."""
    z = torch.tensor([[math.log(2), 0.0, 0.0, 0.0]])
    assert uniform_excess(z).item() == pytest.approx(math.log(5) - math.log(2) / 4 - math.log(4), abs=1e-6)


def test_uniform_excess_is_the_divergence_from_uniform() -> None:
    """An independent way: Σ_v (1/V) (log(1/V) − log p_v)."""
    z = torch.randn(5, 11, generator=torch.Generator().manual_seed(0)) * 3
    expected = (math.log(1 / 11) - z.log_softmax(-1)).mean(-1)
    torch.testing.assert_close(uniform_excess(z), expected)
    assert (uniform_excess(z) > 0).all()


def test_flat_logits_and_constants_cost_nothing() -> None:
    torch.testing.assert_close(uniform_excess(torch.full((2, 7), 3.0)), torch.zeros(2))
    z = torch.randn(3, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(uniform_excess(z + 5), uniform_excess(z))


def test_uniform_excess_in_bfloat16_does_not_underflow() -> None:
    z = torch.tensor([[90.0, 0.0]], dtype=torch.bfloat16)
    assert uniform_excess(z).item() == pytest.approx(90 - 45 - math.log(2), abs=1e-3)


def test_uld_by_hand() -> None:
    """Forget: two tokens, p = 3/4 and 1/2 of the labels: (ln 4/3 + ln 2) / 2. Uniform: z = (ln 3, 0):
    ln 4 − ln 3 / 2 − ln 2. Weight 6.5."""
    forget = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    loss = uld(forget, torch.tensor([0, 1]), torch.tensor([[math.log(3), 0.0]]), retain_weight=6.5)
    first = (math.log(4 / 3) + math.log(2)) / 2
    second = math.log(4) - math.log(3) / 2 - math.log(2)
    assert loss.forget.item() == pytest.approx(first, abs=1e-6)
    assert loss.uniform.item() == pytest.approx(second, abs=1e-6)
    assert loss.total.item() == pytest.approx(first + 6.5 * second, abs=1e-5)


@pytest.mark.parametrize(("raised", "grown"), [(0.0, 1.0), (-1.0, 1.0), (3.0, math.log(2) / math.log1p(math.exp(-3)))])
def test_a_growing_retain_weight_by_hand(raised: float, grown: float) -> None:
    """Forget term ln(1 + e^−r) at logits (r, 0): ln 2 = log V at r = 0, more at −1 (the weight stays), less at 3."""
    forget = torch.tensor([[raised, 0.0]], requires_grad=True)
    uniform = torch.tensor([[math.log(3), 0.0]])
    loss = uld(forget, torch.tensor([0]), uniform, retain_weight=2.0, growing=True)
    second = math.log(4) - math.log(3) / 2 - math.log(2)
    first = math.log1p(math.exp(-raised))
    assert loss.total.item() == pytest.approx(first + 2.0 * grown * second, abs=1e-5)
    loss.total.backward()
    assert forget.grad is not None
    expected = 1 / (1 + math.exp(-raised)) - 1  # of the forget term alone: none comes through the weight
    assert forget.grad[0, 0].item() == pytest.approx(expected, abs=1e-6)


def test_a_growing_retain_weight_stays_finite() -> None:
    forget, uniform = torch.tensor([[200.0, 0.0]]), torch.zeros(1, 2)
    loss = uld(forget, torch.tensor([0]), uniform, retain_weight=1.0, growing=True)
    assert math.isfinite(loss.total.item())


def test_the_sides_pull_apart() -> None:
    """The gradient raises a forget label's logit, and on the uniform side lowers the likeliest."""
    forget = torch.zeros(1, 3, requires_grad=True)
    uniform = torch.tensor([[2.0, 0.0, 0.0]], requires_grad=True)
    uld(forget, torch.tensor([1]), uniform, retain_weight=1.0).total.backward()
    assert forget.grad is not None
    assert uniform.grad is not None
    assert forget.grad[0, 1] < 0 < forget.grad[0, 0]
    assert uniform.grad[0, 0] > 0 > uniform.grad[0, 1]


def test_by_name() -> None:
    assert OBJECTIVES["uld"] == "branches"
