"""ULD's objective against arithmetic done by hand."""

import math

import pytest
import torch

from unlogit.objectives.kl import lift, uniform_kl
from unlogit.objectives.sides import Answers, Sides
from unlogit.objectives.uld import uld


def test_uniform_kl_by_hand() -> None:
    """z = (ln 2, 0, 0, 0): logsumexp = ln 5, mean = ln 2 / 4, V = 4: ln 5 − ln 2 / 4 − ln 4 = 0.0499."""
    z = torch.tensor([[math.log(2), 0.0, 0.0, 0.0]])
    assert uniform_kl(z).item() == pytest.approx(math.log(5) - math.log(2) / 4 - math.log(4), abs=1e-6)


def test_uniform_kl_is_the_divergence_from_uniform() -> None:
    """An independent way: Σ_v (1/V) (log(1/V) − log p_v)."""
    z = torch.randn(5, 11, generator=torch.Generator().manual_seed(0)) * 3
    expected = (math.log(1 / 11) - z.log_softmax(-1)).mean(-1)
    torch.testing.assert_close(uniform_kl(z), expected)
    assert (uniform_kl(z) > 0).all()


def test_flat_logits_and_constants_cost_nothing() -> None:
    torch.testing.assert_close(uniform_kl(torch.full((2, 7), 3.0)), torch.zeros(2))
    z = torch.randn(3, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(uniform_kl(z + 5), uniform_kl(z))


def test_uniform_kl_in_bfloat16_does_not_underflow() -> None:
    z = torch.tensor([[90.0, 0.0]], dtype=torch.bfloat16)
    assert uniform_kl(z).item() == pytest.approx(90 - 45 - math.log(2), abs=1e-3)


def side(logits: torch.Tensor, labels: list[int] | None = None) -> Answers:
    """One row, each of whose positions has these logits."""
    zeros = torch.zeros(len(logits), dtype=torch.long)
    return Answers(logits, zeros if labels is None else torch.tensor(labels), zeros)


def total(forget: Answers, uniform: Answers | None, retain_weight: float) -> torch.Tensor:
    """The weighted sum of the objective's terms."""
    terms = uld(Sides(forget, uniform=uniform), retain_weight)
    return torch.stack([term.weight * term.mean for term in terms.values()]).sum()


def test_uld_by_hand() -> None:
    """Forget: two tokens, p = 3/4 and 1/2 of the labels: (ln 4/3 + ln 2) / 2. Uniform: z = (ln 3, 0):
    ln 4 − ln 3 / 2 − ln 2. Weight 6.5."""
    forget, uniform = (
        side(torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]), [0, 1]),
        side(torch.tensor([[math.log(3), 0.0]])),
    )
    terms = uld(Sides(forget, uniform=uniform), 6.5)
    first = (math.log(4 / 3) + math.log(2)) / 2
    second = math.log(4) - math.log(3) / 2 - math.log(2)
    assert terms["forget"].mean.item() == pytest.approx(first, abs=1e-6)
    assert terms["uniform"].mean.item() == pytest.approx(second, abs=1e-6)
    assert [(term.weight, term.side, term.per) for term in terms.values()] == [
        (1.0, "forget", "token"),
        (6.5, "uniform", "token"),
    ]
    assert total(forget, uniform, 6.5).item() == pytest.approx(first + 6.5 * second, abs=1e-5)


def test_without_a_uniform_side_its_term_is_nothing() -> None:
    forget = side(torch.tensor([[math.log(3), 0.0]]))
    assert total(forget, None, 6.5).item() == pytest.approx(math.log(4 / 3), abs=1e-6)


def test_the_sides_pull_apart() -> None:
    """The gradient raises a forget label's logit, and on the uniform side lowers the likeliest."""
    forget = torch.zeros(1, 3, requires_grad=True)
    uniform = torch.tensor([[2.0, 0.0, 0.0]], requires_grad=True)
    total(side(forget, [1]), side(uniform), 1.0).backward()
    assert forget.grad is not None
    assert uniform.grad is not None
    assert forget.grad[0, 1] < 0 < forget.grad[0, 0]
    assert uniform.grad[0, 0] > 0 > uniform.grad[0, 1]


def test_lift_by_hand() -> None:
    """Above the mean of 1 a label counts, below it does not."""
    z = torch.tensor([[4.0, 0.0, 0.0, 0.0], [4.0, 0.0, 0.0, 0.0]], requires_grad=True)
    found = lift(z, torch.tensor([0, 1]))
    torch.testing.assert_close(found, torch.tensor([3.0, 0.0]))
    none = torch.zeros(2, dtype=torch.long)
    sides = Sides(Answers(z, torch.tensor([0, 1]), none), uniform=Answers(z, torch.tensor([0, 1]), none))
    plain, lifted = (uld(sides, 1.0, weight)["uniform"].mean for weight in (0.0, 0.1))
    assert lifted.item() == pytest.approx(plain.item() + 0.1 * 9 / 2)


def test_the_paper_s_term_hardly_sees_one_token_of_many() -> None:
    z = torch.zeros(1, 49152)
    z[0, 5] = 6.9
    assert uniform_kl(z).item() < 0.02
    assert lift(z, torch.tensor([5])).item() > 6.8
