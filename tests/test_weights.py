"""The table of objectives: each is its terms, asks for what it needs, and has its paper's settings."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from support.answers import everything, made_up
from unlogit.objectives.dpo import dpo
from unlogit.objectives.ga import ga
from unlogit.objectives.idk_ap import answer_preservation, idk
from unlogit.objectives.me import me
from unlogit.objectives.npo import npo
from unlogit.objectives.retain import gd, kl
from unlogit.objectives.sides import SIDES, Answers, Sides
from unlogit.objectives.simnpo import simnpo
from unlogit.objectives.terms import Term, Terms
from unlogit.objectives.undial import undial
from unlogit.objectives.weights import OFFSET_OBJECTIVES, WEIGHT_OBJECTIVES, Objective

EXPECTED: dict[str, tuple[Callable[[Sides], Tensor], Callable[[Sides], Tensor] | None]] = {
    "ga": (ga, None),
    "grad_diff": (ga, gd),
    "ga_kl": (ga, kl),
    "dpo": (lambda s: dpo(s, 0.3), None),
    "dpo_gd": (lambda s: dpo(s, 0.3), gd),
    "dpo_kl": (lambda s: dpo(s, 0.3), kl),
    "npo": (lambda s: npo(s, 0.3), None),
    "npo_gd": (lambda s: npo(s, 0.3), gd),
    "npo_kl": (lambda s: npo(s, 0.3), kl),
    "simnpo": (lambda s: simnpo(s, 0.3, 0.7), gd),
    "undial": (lambda s: undial(s, 0.7), None),
    "me_gd": (me, gd),
    "idk_ap": (idk, lambda s: answer_preservation(s, 0.3)),
    "offset_ga_kl": (ga, kl),
    "offset_dpo_kl": (lambda s: dpo(s, 0.3), kl),
    "offset_npo_kl": (lambda s: npo(s, 0.3), kl),
}
"""Every objective as its terms, at β 0.3 and γ 0.7."""

ALL = {**WEIGHT_OBJECTIVES, **OFFSET_OBJECTIVES}


def only(needs: frozenset[str], seed: int = 0) -> Sides:
    """Sides with what is named, and the forget rows with their answers."""

    def side(name: str, lengths: Sequence[int], number: int) -> Answers | None:
        if name != "forget" and name not in needs:
            return None
        full = made_up(seed + number, lengths)
        return replace(
            full,
            reference_logits=full.reference_logits if f"{name}_reference_logits" in needs else None,
            reference_nll=full.reference_nll if f"{name}_reference_nll" in needs else None,
        )

    forget = side("forget", (3, 1, 2), 0)
    assert forget is not None
    return Sides(
        forget,
        refusal=side("refusal", (1, 2, 2), 1),
        retain=side("retain", (2, 3), 2),
        retain_refusal=side("retain_refusal", (1, 1), 3),
    )


def own_options(objective: Objective, **values: float) -> Any:
    """The objective's options, with those of ``values`` that it has."""
    names = {field.name for field in fields(objective.options)}
    return objective.options(**{name: value for name, value in values.items() if name in names})


def test_the_table_is_complete() -> None:
    assert set(EXPECTED) == set(ALL)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_objective_is_its_terms(name: str) -> None:
    """On sides that hold what ``needs`` names and no more; weights 0.5 and 2."""
    objective = ALL[name]
    sides = only(objective.needs)
    forget, retain = EXPECTED[name]
    terms = objective.loss(sides, own_options(objective, forget_weight=0.5, retain_weight=2.0, beta=0.3, gamma=0.7))
    kept = retain(sides) if retain else torch.tensor(0.0)
    torch.testing.assert_close(terms["forget"].mean, forget(sides))
    assert ("retain" in terms) == (retain is not None)
    torch.testing.assert_close(total(terms), 0.5 * forget(sides) + 2 * kept)
    assert total(terms).dtype == torch.float32


@pytest.mark.parametrize("name", EXPECTED)
def test_a_term_is_a_mean_over_what_it_says(name: str) -> None:
    """Twice the step, its rows repeated, has the same means; a part's mean counts by the items that the term names."""
    objective = ALL[name]
    first, second = only(objective.needs), only(objective.needs, seed=20)
    both = Sides(**{side: joined(getattr(first, side), getattr(second, side)) for side in SIDES})
    own = own_options(objective, beta=0.3, gamma=0.7)
    parts, whole = (
        [(sides, objective.loss(sides, own)) for sides in (first, second)],
        objective.loss(both, own),
    )
    for name_, term in whole.items():
        if getattr(both, term.side) is None:
            continue

        def items(sides: Sides, term: Term = term) -> int:
            side = getattr(sides, term.side)
            return len(side.labels) if term.per == "token" else len(side.lengths())

        weighted = sum(items(sides) * terms[name_].mean for sides, terms in parts) / items(both)
        torch.testing.assert_close(weighted, term.mean)


def joined(first: Answers | None, second: Answers | None) -> Answers | None:
    """The rows of one side after those of another."""
    if first is None or second is None:
        return None

    def cat(a: Tensor | None, b: Tensor | None) -> Tensor | None:
        return None if a is None or b is None else torch.cat([a, b])

    return Answers(
        torch.cat([first.outputs, second.outputs]),
        torch.cat([first.labels, second.labels]),
        torch.cat([first.rows, second.rows + len(first.lengths())]),
        cat(first.reference_logits, second.reference_logits),
        cat(first.reference_nll, second.reference_nll),
    )


def total(terms: Terms) -> Tensor:
    """The weighted sum of terms."""
    return torch.stack([term.weight * term.mean for term in terms.values()]).sum()


@pytest.mark.parametrize(("name", "missing"), [(name, need) for name in ALL for need in sorted(ALL[name].needs)])
def test_what_is_needed_is_missed(name: str, missing: str) -> None:
    objective = ALL[name]
    sides = only(objective.needs - {missing})
    with pytest.raises(ValueError, match=missing.replace("_reference", r"\.reference")):
        defaults_of(objective, sides)


def defaults_of(objective: Objective, sides: Sides) -> Tensor:
    """The objective with its own settings."""
    return total(objective.loss(sides, objective.options()))


@pytest.mark.parametrize("name", ALL)
def test_gradients_reach_the_model_alone(name: str) -> None:
    sides = everything()
    defaults_of(ALL[name], sides).backward()
    used = [side for side in (sides.forget, sides.refusal, sides.retain, sides.retain_refusal) if side is not None]
    assert any(side.logits.grad is not None for side in used)
    for side in used:
        assert side.reference_logits is not None
        assert side.reference_nll is not None
        assert side.reference_logits.grad is None
        assert side.reference_nll.grad is None
        assert side.logits.grad is None or side.logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_bfloat16_and_extreme_logits(name: str) -> None:
    """Computed in float32 from logits in bfloat16, and finite where exp() of anything would not be."""
    objective, sides = ALL[name], everything()

    def changed(change: Callable[[Tensor], Tensor]) -> Sides:
        def of(side: Answers | None) -> Answers:
            assert side is not None
            assert side.reference_logits is not None
            reference = change(side.reference_logits.detach())
            logits = change(side.logits.detach()).requires_grad_()
            return replace(side, outputs=logits, reference_logits=reference)

        return Sides(
            of(sides.forget),
            refusal=of(sides.refusal),
            retain=of(sides.retain),
            retain_refusal=of(sides.retain_refusal),
        )

    low = changed(lambda z: z.bfloat16())
    same = changed(lambda z: z.bfloat16().float())
    assert defaults_of(objective, low).dtype == torch.float32
    torch.testing.assert_close(defaults_of(objective, low), defaults_of(objective, same))
    extreme = changed(lambda z: z * 1000)
    loss = defaults_of(objective, extreme)
    loss.backward()
    assert loss.isfinite()
    assert extreme.forget.logits.grad is None or extreme.forget.logits.grad.isfinite().all()


def test_terms_are_shared_not_copied() -> None:
    table = WEIGHT_OBJECTIVES
    for family in ("dpo", "npo"):
        assert table[family].forget is table[f"{family}_gd"].forget is table[f"{family}_kl"].forget
    assert table["grad_diff"].retain is table["npo_gd"].retain is table["simnpo"].retain is table["me_gd"].retain
    assert table["ga_kl"].retain is table["npo_kl"].retain is table["dpo_kl"].retain
    for name, objective in OFFSET_OBJECTIVES.items():
        assert objective == replace(table[name.removeprefix("offset_")], paper="2404.11045")


def test_the_papers_settings() -> None:
    """A weight for each term, β where the loss has one; only maximum entropy takes in the questions."""
    expected: dict[str, dict[str, float]] = {name: {"forget_weight": 1.0} for name in ALL}
    for name, objective in ALL.items():
        expected[name] |= {"retain_weight": 1.0} if objective.retain else {}
        expected[name] |= {"beta": 0.1} if "npo" in name or "dpo" in name or name == "idk_ap" else {}
    expected["simnpo"] |= {"forget_weight": 0.125, "beta": 4.5, "gamma": 0.0}
    expected["undial"] |= {"gamma": 10.0}
    expected["me_gd"] |= {"forget_weight": 0.1}
    assert {name: asdict(objective.options()) for name, objective in ALL.items()} == expected
    assert [name for name, objective in ALL.items() if objective.with_questions] == ["me_gd"]
