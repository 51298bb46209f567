"""The unlearning objectives against arithmetic done by hand, references written another way, and their limits."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from support.answers import everything, made_up, odds
from unlogit.objectives.dpo import dpo
from unlogit.objectives.ga import ga
from unlogit.objectives.idk_ap import answer_preservation, idk
from unlogit.objectives.kl import uniform_kl
from unlogit.objectives.me import me
from unlogit.objectives.npo import npo
from unlogit.objectives.retain import gd, kl
from unlogit.objectives.sides import Answers, Sides, log_ratio, row_difference
from unlogit.objectives.simnpo import simnpo
from unlogit.objectives.undial import undial

LOG = math.log


def probability(answers: Answers, row: int) -> float:
    """π(y | x) of a row as a product of plain probabilities, in double precision."""
    product = 1.0
    for z, label, number in zip(answers.logits.tolist(), answers.labels.tolist(), answers.rows.tolist(), strict=True):
        if number == row:
            product *= math.exp(z[label]) / sum(math.exp(value) for value in z)
    return product


def reference_probability(answers: Answers, row: int) -> float:
    assert answers.reference_nll is not None
    return math.exp(-answers.reference_nll[row].item())


def distribution(z: Sequence[float]) -> list[float]:
    total = sum(math.exp(value) for value in z)
    return [math.exp(value) / total for value in z]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def gradient(loss: Tensor, of: Answers) -> Tensor:
    """The gradient for a side's logits: [N, V]."""
    return torch.autograd.grad(loss, of.logits)[0]


# --------------------------------------------------------------------------------------------------------------- sides


def test_whole_answers_by_hand() -> None:
    """Row 0 has the tokens of probability 3/4 and 1/2, row 1 that of 1/4, between them: −log 3/8 and −log 1/4."""
    side = replace(odds([3, 1 / 3, 1]), rows=torch.tensor([0, 1, 0]))
    torch.testing.assert_close(side.nll(), torch.tensor([-LOG(3 / 8), -LOG(1 / 4)]))
    assert side.lengths().tolist() == [2, 1]


def test_log_ratio_by_hand() -> None:
    """π = 3/8 and π_ref = 1/8: log 3."""
    assert log_ratio(odds([3, 1], reference_nll=[LOG(8)]), "forget").item() == pytest.approx(LOG(3), abs=1e-6)


def test_a_single_row_is_not_spread_over_others() -> None:
    with pytest.raises(ValueError, match=r"\b1\b.*\b3\b"):
        row_difference(torch.zeros(1), torch.zeros(3))
    with pytest.raises(ValueError, match=r"\b1\b.*\b2\b"):
        npo(Sides(odds([1], [1], reference_nll=[0.5])), 0.1)
    forget = odds([1], [1], reference_nll=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"\b1\b.*\b2\b"):
        dpo(Sides(forget, odds([1], reference_nll=[0.5])), 0.1)
    with pytest.raises(ValueError, match=r"\b1\b.*\b2\b"):
        answer_preservation(Sides(forget, retain=forget, retain_refusal=odds([1])), 0.1)


# ------------------------------------------------------------------------------------------------------------- by hand


def test_ga_by_hand() -> None:
    """Tokens of probability 3/4, 1/2 and 1/4: the mean over the three tokens, not over the two rows."""
    expected = -(LOG(4 / 3) + LOG(2) + LOG(4)) / 3
    assert ga(Sides(odds([3, 1], [1 / 3]))).item() == pytest.approx(expected, abs=1e-6)


def test_npo_by_hand() -> None:
    """β = 1. Row 0: π = 3/4 · 1/2 = 3/8, π_ref = 9/8 (any number will do), ratio 1/3, σ(ln 3) = 3/4. Row 1: π = 3/4,
    π_ref = 1/4, ratio 3, σ(−ln 3) = 1/4. L = −2 · (ln 3/4 + ln 1/4) / 2 = ln 16/3."""
    forget = odds([3, 1], [3], reference_nll=[-LOG(9 / 8), LOG(4)])
    assert npo(Sides(forget), 1.0).item() == pytest.approx(LOG(16 / 3), abs=1e-6)


def test_npo_with_another_beta_by_hand() -> None:
    """β = 2, ratio 1/3: σ(2 ln 3) = 9/10, L = −ln 9/10."""
    assert npo(Sides(odds([1], reference_nll=[LOG(2 / 3)])), 2.0).item() == pytest.approx(LOG(10 / 9), abs=1e-6)


def test_simnpo_by_hand() -> None:
    """β = 2, γ = ln 2. Row 0: two tokens of 3/4, so −2 ln 3/4 − ln 2 = ln 8/9 and σ = 8/17. Row 1: one of 1/4, so
    2 ln 4 − ln 2 = ln 8 and σ = 8/9. L = −(2/2) · (ln 8/17 + ln 8/9) / 2."""
    expected = -(LOG(8 / 17) + LOG(8 / 9)) / 2
    assert simnpo(Sides(odds([3, 3], [1 / 3])), 2.0, LOG(2)).item() == pytest.approx(expected, abs=1e-6)


def test_dpo_by_hand() -> None:
    """β = 1. Refusal: π = 1/4, π_ref = 1/8, ratio 2. Answer: π = 3/4, π_ref = 1/2, ratio 3/2. σ(ln 4/3) = 4/7,
    L = −2 ln 4/7."""
    sides = Sides(odds([3], reference_nll=[LOG(2)]), odds([1 / 3], reference_nll=[LOG(8)]))
    assert dpo(sides, 1.0).item() == pytest.approx(-2 * LOG(4 / 7), abs=1e-6)


def test_undial_by_hand() -> None:
    """Teacher z = (ln 4, 0), y = 0, γ = ln 2: (2/3, 1/3). Student (3/4, 1/4): −2/3 ln 3/4 − 1/3 ln 1/4."""
    forget = replace(odds([3]), reference_logits=torch.tensor([[LOG(4), 0.0]]))
    expected = -2 / 3 * LOG(3 / 4) - 1 / 3 * LOG(1 / 4)
    assert undial(Sides(forget), LOG(2)).item() == pytest.approx(expected, abs=1e-6)


def test_me_by_hand() -> None:
    """(3/4, 1/4) and (1/2, 1/2): the mean of ln 2 + 3/4 ln 3/4 + 1/4 ln 1/4 and 0."""
    expected = (LOG(2) + 3 / 4 * LOG(3 / 4) + 1 / 4 * LOG(1 / 4)) / 2
    assert me(Sides(odds([3, 1]))).item() == pytest.approx(expected, abs=1e-6)


def test_idk_by_hand() -> None:
    """Refusal tokens of 3/4, 1/2, 1/4; the true answers do not count."""
    expected = (LOG(4 / 3) + LOG(2) + LOG(4)) / 3
    assert idk(Sides(odds([5], [7]), odds([3, 1], [1 / 3]))).item() == pytest.approx(expected, abs=1e-6)


def test_answer_preservation_by_hand() -> None:
    """β = 2. π(y) = 3/4, π(idk) = 1/4: σ(2 ln 3) = 9/10, L = −½ ln 9/10."""
    sides = Sides(odds([1]), retain=odds([3]), retain_refusal=odds([1 / 3]))
    assert answer_preservation(sides, 2.0).item() == pytest.approx(LOG(10 / 9) / 2, abs=1e-6)


def test_gd_by_hand() -> None:
    """Retain tokens of 3/4, 1/2, 1/4; the forget side does not count."""
    expected = (LOG(4 / 3) + LOG(2) + LOG(4)) / 3
    assert gd(Sides(odds([9]), retain=odds([3, 1], [1 / 3]))).item() == pytest.approx(expected, abs=1e-6)


def test_kl_by_hand() -> None:
    """Reference (1/2, 1/2), model (3/4, 1/4): ½ ln 2/3 + ½ ln 2 = ½ ln 4/3; the other way round it were
    3/4 ln 3/2 + 1/4 ln 1/2. A second token, where both agree, halves the mean."""
    retain = replace(odds([3, 1]), reference_logits=torch.zeros(2, 2))
    assert kl(Sides(odds([1]), retain=retain)).item() == pytest.approx(LOG(4 / 3) / 4, abs=1e-6)


# ------------------------------------------------------------------------------------------- references, another way


def test_preferences_against_explicit_probabilities() -> None:
    """−log σ(log a − log b) = log(1 + b / a): powers of plain probabilities, no logarithm of a model anywhere."""
    sides, beta, gamma = everything(), 0.7, 0.4
    forget, refusal, retain, retain_refusal = sides.forget, sides.refusal, sides.retain, sides.retain_refusal
    assert refusal is not None
    assert retain is not None
    assert retain_refusal is not None
    lengths = (3, 1, 2)
    ratios = [probability(forget, row) / reference_probability(forget, row) for row in range(3)]
    preferred = [probability(refusal, row) / reference_probability(refusal, row) for row in range(3)]
    kept = [probability(retain_refusal, row) / probability(retain, row) for row in range(2)]
    expected = {
        "npo": mean([2 / beta * LOG(1 + ratio**beta) for ratio in ratios]),
        "dpo": mean([2 / beta * LOG(1 + (a / b) ** beta) for a, b in zip(ratios, preferred, strict=True)]),
        "simnpo": mean(
            [
                2 / beta * LOG(1 + math.exp(gamma) * probability(forget, row) ** (beta / lengths[row]))
                for row in range(3)
            ]
        ),
        "answer_preservation": mean([1 / beta * LOG(1 + ratio**beta) for ratio in kept]),
    }
    found = {
        "npo": npo(sides, beta),
        "dpo": dpo(sides, beta),
        "simnpo": simnpo(sides, beta, gamma),
        "answer_preservation": answer_preservation(sides, beta),
    }
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-5), name


def test_token_means_against_loops() -> None:
    sides = everything(5)
    for side, value in ((sides.forget, -ga(sides)), (sides.refusal, idk(sides)), (sides.retain, gd(sides))):
        assert side is not None
        tokens = zip(side.logits.tolist(), side.labels.tolist(), strict=True)
        losses = [-LOG(distribution(z)[label]) for z, label in tokens]
        assert value.item() == pytest.approx(mean(losses), rel=1e-5)


def test_divergences_against_loops() -> None:
    sides, gamma = everything(9), 1.3
    forget, retain = sides.forget, sides.retain
    assert retain is not None
    assert retain.reference_logits is not None
    assert forget.reference_logits is not None
    divergences = []
    for before, after in zip(retain.reference_logits.tolist(), retain.logits.tolist(), strict=True):
        pairs = zip(distribution(before), distribution(after), strict=True)
        divergences.append(sum(p * LOG(p / q) for p, q in pairs))
    assert kl(sides).item() == pytest.approx(mean(divergences), rel=1e-5)

    crosses = []
    for before, after, label in zip(
        forget.reference_logits.tolist(), forget.logits.tolist(), forget.labels.tolist(), strict=True
    ):
        lowered = [value - gamma if token == label else value for token, value in enumerate(before)]
        crosses.append(-sum(p * LOG(q) for p, q in zip(distribution(lowered), distribution(after), strict=True)))
    assert undial(sides, gamma).item() == pytest.approx(mean(crosses), rel=1e-5)

    excesses = [sum(p * LOG(4 * p) for p in distribution(z)) for z in forget.logits.tolist()]
    assert me(sides).item() == pytest.approx(mean(excesses), rel=1e-5)


# -------------------------------------------------------------------------------------------------------------- limits


def test_npo_with_a_small_beta_is_gradient_ascent() -> None:
    """NPO is a mean over B = 3 rows of sums, GA a mean over N = 6 tokens: ∇NPO → N/B · ∇GA = 2 ∇GA."""
    sides = everything(2)
    ascent = gradient(ga(sides), sides.forget)
    torch.testing.assert_close(gradient(npo(sides, 1e-5), sides.forget), 2 * ascent, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(gradient(npo(sides, 1.0), sides.forget), 2 * ascent, rtol=1e-2)


def test_at_the_reference_npo_is_gradient_ascent_and_dpo_as_fast() -> None:
    """There every weight is 1, whatever β; the value is (2/β) ln 2, and DPO's pull on the answer is NPO's."""
    sides = everything(4)
    assert sides.refusal is not None
    sides = replace(
        sides,
        forget=replace(sides.forget, reference_nll=sides.forget.nll().detach()),
        refusal=replace(sides.refusal, reference_nll=sides.refusal.nll().detach()),
    )
    ascent = 2 * gradient(ga(sides), sides.forget)
    for objective in (npo, dpo):
        for beta in (0.1, 3.0):
            assert objective(sides, beta).item() == pytest.approx(2 / beta * LOG(2), rel=1e-5)
            torch.testing.assert_close(gradient(objective(sides, beta), sides.forget), ascent)


def test_npo_lets_go_of_what_is_forgotten() -> None:
    """The weight 2 π^β / (π^β + π_ref^β): for ratios of e^-40 and e^40 at β = 1, 0 and 2."""
    for reference_nll, weight in ((LOG(2) - 40, 0.0), (LOG(2) + 40, 2.0)):
        forget = odds([1], reference_nll=[reference_nll])
        forget.logits.requires_grad_()
        slope = gradient(npo(Sides(forget), 1.0), forget)
        torch.testing.assert_close(slope, weight * torch.tensor([[0.5, -0.5]]))


def test_simnpo_with_a_small_beta_ascends_each_rows_mean() -> None:
    """γ = 0: the gradient of −mean over rows of (CE of the row, a token)."""
    sides = everything(3)
    rows = sides.forget.nll() / torch.tensor([3, 1, 2])
    expected = gradient(-rows.mean(), sides.forget)
    torch.testing.assert_close(gradient(simnpo(sides, 1e-5, 0.0), sides.forget), expected, rtol=1e-4, atol=1e-6)


def test_simnpos_margin_shifts() -> None:
    """−(β/|y|) log π − γ: tokens of probability 1/4 and γ = β ln 2 are as tokens of 1/2 without a margin."""
    beta = 2.5
    unlikely, likely = Sides(odds([1 / 3, 1 / 3])), Sides(odds([1, 1]))
    assert simnpo(unlikely, beta, beta * LOG(2)).item() == pytest.approx(simnpo(likely, beta, 0).item(), rel=1e-5)
    assert simnpo(unlikely, beta, 1.0) > simnpo(unlikely, beta, 0.0)


def test_simnpo_does_not_count_length() -> None:
    """Twice the same token is one row like another; under NPO it is not."""
    short, long = Sides(odds([3], reference_nll=[0.0])), Sides(odds([3, 3], reference_nll=[0.0]))
    assert simnpo(short, 2.0, 0.0).item() == pytest.approx(simnpo(long, 2.0, 0.0).item(), rel=1e-5)
    assert npo(long, 2.0) < npo(short, 2.0)


def test_undial_without_lowering_is_cross_entropy_to_the_teacher() -> None:
    """Its least, the teacher's entropy, is reached by the teacher itself, with no gradient left."""
    sides = everything(6)
    teacher = sides.forget.reference_logits
    assert teacher is not None
    expected = -(teacher.softmax(-1) * sides.forget.logits.log_softmax(-1)).sum(-1).mean()
    torch.testing.assert_close(undial(sides, 0.0), expected)
    itself = replace(sides.forget, outputs=teacher.detach().clone().requires_grad_())
    slope = gradient(undial(Sides(itself), 0.0), itself)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-6, rtol=0)


def test_undial_with_a_large_gamma_takes_the_token_away() -> None:
    """Teacher uniform over three: what is left is ½ each for the others, and the gradient pulls towards that."""
    forget = Answers(torch.zeros(1, 3, requires_grad=True), torch.tensor([1]), torch.tensor([0]), torch.zeros(1, 3))
    slope = gradient(undial(Sides(forget), 1e4), forget)
    torch.testing.assert_close(slope, torch.tensor([[1 / 3 - 1 / 2, 1 / 3, 1 / 3 - 1 / 2]]))


def test_me_between_uniform_and_sure() -> None:
    """0 where the logits are equal, whatever they are; log V where one token has everything; in between, it and
    ``uniform_kl`` are the two directions of one divergence."""

    def of(logits: Tensor) -> float:
        zeros = torch.zeros(len(logits), dtype=torch.long)
        return me(Sides(Answers(logits, zeros, zeros))).item()

    assert of(torch.full((3, 4), 7.0)) == pytest.approx(0, abs=1e-6)
    assert of(torch.tensor([[100.0, 0.0, 0.0, 0.0]])) == pytest.approx(LOG(4), abs=1e-5)
    z = torch.tensor([[2.0, 0.0, -1.0]])
    p, uniform = z.softmax(-1), torch.full((1, 3), 1 / 3)
    assert of(z) == pytest.approx((p * (p / uniform).log()).sum().item(), rel=1e-5)
    assert uniform_kl(z).item() == pytest.approx((uniform * (uniform / p).log()).sum().item(), rel=1e-5)


def test_kl_is_0_and_still_where_nothing_changed() -> None:
    retain = made_up(8)
    assert retain.reference_logits is not None
    retain = replace(retain, outputs=(retain.reference_logits.detach() + 3).requires_grad_())
    loss = kl(Sides(made_up(0), retain=retain))
    assert loss.item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(gradient(loss, retain), torch.zeros_like(retain.logits), atol=1e-6, rtol=0)


# ----------------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(
    ("loss", "side", "direction"),
    [
        (ga, "forget", -1),
        (lambda sides: npo(sides, 0.1), "forget", -1),
        (lambda sides: simnpo(sides, 2.5, 0.0), "forget", -1),
        (lambda sides: dpo(sides, 0.1), "forget", -1),
        (lambda sides: dpo(sides, 0.1), "refusal", 1),
        (idk, "refusal", 1),
        (lambda sides: answer_preservation(sides, 0.1), "retain", 1),
        (lambda sides: answer_preservation(sides, 0.1), "retain_refusal", -1),
        (gd, "retain", 1),
    ],
)
def test_which_way_a_step_goes(loss: Callable[[Sides], Tensor], side: str, direction: int) -> None:
    """A step against the gradient raises (1) or lowers (−1) the logit of every label."""
    sides = everything(1)
    answers = {"forget": sides.forget, "refusal": sides.refusal, "retain": sides.retain}.get(side, sides.retain_refusal)
    assert answers is not None
    slope = gradient(loss(sides), answers).gather(1, answers.labels[:, None])
    assert (slope * direction < 0).all()


def test_which_way_distributions_go() -> None:
    """Maximum entropy lowers the likeliest token and raises the least likely; KL leads back to the reference."""
    forget = Answers(torch.tensor([[2.0, 0.0, -1.0]], requires_grad=True), torch.tensor([2]), torch.tensor([0]))
    slope = gradient(me(Sides(forget)), forget)[0]
    assert slope[0] > 0 > slope[2]
    retain = replace(forget, reference_logits=torch.tensor([[-1.0, 0.0, 2.0]]))
    slope = gradient(kl(Sides(forget, retain=retain)), retain)[0]
    assert slope[0] > 0 > slope[2]
