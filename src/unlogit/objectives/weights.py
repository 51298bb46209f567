"""The table of objectives that train weights: those of the target itself, or of an offset model beside it.

An objective is a forget term and, in most, a retain term; "+GD" and "+KL" are the same forget term with one retain
term or the other. Each term has its formula, paper and limits in the file of its name; this one only puts them
together, with the settings that the papers give for TOFU (``beta``, ``gamma``, weights). The learning rates are not
here, nor ULD's own objective, which trains an assistant (``uld``).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from unlogit.errors import ConfigError
from unlogit.objectives.dpo import dpo
from unlogit.objectives.ga import ga
from unlogit.objectives.idk_ap import answer_preservation, idk
from unlogit.objectives.me import me
from unlogit.objectives.npo import npo
from unlogit.objectives.retain import gd, kl
from unlogit.objectives.sides import Sides
from unlogit.objectives.simnpo import simnpo
from unlogit.objectives.terms import Term, Terms
from unlogit.objectives.undial import undial

Need = Literal[
    "refusal",
    "retain",
    "retain_refusal",
    "forget_reference_nll",
    "refusal_reference_nll",
    "forget_reference_logits",
    "retain_reference_logits",
]
"""What a step must have beside the forget rows and their answers (``SIDE`` or ``SIDE_FIELD`` of ``Sides``)."""


Per = Literal["token", "row"]


@dataclass(frozen=True)
class RetainTerm:
    """A loss on rows to keep, of ``(sides, beta)``, and what it needs."""

    loss: Callable[[Sides, float], Tensor]
    needs: frozenset[Need]
    per: Per = "token"


@dataclass(frozen=True)
class Objective:
    """A forget term, perhaps a retain term, and the paper's settings."""

    forget: Callable[[Sides, float, float], Tensor]
    """Of (sides, beta, gamma); a term without β or γ does not look at them."""
    per: Per
    """What the forget term is a mean over."""
    paper: str
    """arXiv id of the paper that this combination is known from."""
    retain: Callable[[Sides, float], Tensor] | None = None
    """Of (sides, beta); None: nothing is kept on purpose."""
    needs: frozenset[Need] = frozenset()
    """What a step must have for both terms."""
    beta: float = 0.0
    """The paper's β; 0 where the objective has none."""
    gamma: float = 0.0
    """The paper's γ: simnpo's margin, undial's lowering."""
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    """Not looked at without a retain term."""
    forget_side: str = "forget"
    """The side that the forget term is a mean over."""
    retain_per: Per = "token"
    """What the retain term is a mean over."""
    with_questions: bool = False
    """The forget side has the positions of the question as well as those of the answer."""

    def plus(self, term: RetainTerm) -> "Objective":
        """Return this objective with a retain term."""
        return replace(self, retain=term.loss, needs=self.needs | term.needs, retain_per=term.per)

    def loss(self, sides: Sides, *, forget_weight: float, retain_weight: float, beta: float, gamma: float) -> Terms:
        """Compute the objective's terms on one step.

        Args:
            sides: forget, and what ``needs`` names.
            forget_weight: of the forget term, ≥ 0.
            retain_weight: of the retain term, ≥ 0.
            beta: β > 0 where the objective has one (its own ``beta`` is not 0).
            gamma: γ ≥ 0.

        Raises:
            ConfigError: β is not above 0.
            ValueError: a side or reference that ``needs`` names is missing.
        """
        if self.beta and not 0 < beta < math.inf:
            raise ConfigError(
                f"beta is {beta:g}; expected a number above 0: change it, or leave it out for {self.beta:g}"
            )
        forget = self.forget(sides, beta, gamma)
        retain = self.retain(sides, beta) if self.retain else forget.new_zeros(())
        return {
            "forget": Term(forget, forget_weight, self.forget_side, self.per),
            "retain": Term(retain, retain_weight, "retain", self.retain_per),
        }


GD = RetainTerm(lambda sides, beta: gd(sides), frozenset({"retain"}))
KL = RetainTerm(lambda sides, beta: kl(sides), frozenset({"retain", "retain_reference_logits"}))
AP = RetainTerm(answer_preservation, frozenset({"retain", "retain_refusal"}), "row")

_GA = Objective(lambda sides, beta, gamma: ga(sides), "token", paper="2401.06121")
_DPO = Objective(
    lambda sides, beta, gamma: dpo(sides, beta),
    "row",
    paper="2404.05868",
    needs=frozenset({"refusal", "forget_reference_nll", "refusal_reference_nll"}),
    beta=0.1,
)
_NPO = Objective(
    lambda sides, beta, gamma: npo(sides, beta),
    "row",
    paper="2404.05868",
    needs=frozenset({"forget_reference_nll"}),
    beta=0.1,
)
_SIMNPO = Objective(simnpo, "row", paper="2410.07163", beta=4.5, forget_weight=0.125)  # as for forget10
_UNDIAL = Objective(
    lambda sides, beta, gamma: undial(sides, gamma),
    "token",
    paper="2402.10052",
    needs=frozenset({"forget_reference_logits"}),
    gamma=10.0,
)
_ME = Objective(
    lambda sides, beta, gamma: me(sides), "token", paper="2410.08109", forget_weight=0.1, with_questions=True
)
_IDK = Objective(
    lambda sides, beta, gamma: idk(sides),
    "token",
    forget_side="refusal",
    paper="2410.08109",
    needs=frozenset({"refusal"}),
    beta=0.1,  # of its retain term
)

WEIGHT_OBJECTIVES: dict[str, Objective] = {
    "ga": _GA,
    "grad_diff": _GA.plus(GD),
    "ga_kl": _GA.plus(KL),
    "dpo": _DPO,
    "dpo_gd": _DPO.plus(GD),
    "dpo_kl": _DPO.plus(KL),
    "npo": _NPO,
    "npo_gd": _NPO.plus(GD),
    "npo_kl": _NPO.plus(KL),
    "simnpo": _SIMNPO.plus(GD),
    "undial": _UNDIAL,
    "me_gd": _ME.plus(GD),
    "idk_ap": _IDK.plus(AP),
}
"""Objectives that train the target's own weights, by name."""

_OFFSET_PAPER = "2404.11045"

OFFSET_OBJECTIVES: dict[str, Objective] = {
    f"offset_{name}": replace(WEIGHT_OBJECTIVES[name], paper=_OFFSET_PAPER) for name in ("ga_kl", "dpo_kl", "npo_kl")
}
"""The same losses for offset unlearning, by name. Every logit of ``Sides`` is then of the combined distribution,
log p ∝ log p_target + α · (log p_offset − log p_offset at its start), so that gradients can reach the offset model
alone. The reference is the target: what the combination is before training."""
