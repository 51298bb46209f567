"""The table of objectives that train weights: those of the target itself, or of an offset model beside it.

An objective is a forget term and, in most, a retain term; "+GD" and "+KL" are the same forget term with one retain
term or the other. Each term has its formula, paper and limits in the file of its name; this one only puts them
together, with the class of its options, whose defaults are those that the papers give for TOFU. The learning rates are
not here, nor ULD's own objective, which trains an assistant (``uld``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

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
from unlogit.settings.objective_options import (
    ForgetTermOptions,
    MeOptions,
    ObjectiveOptions,
    PreferenceOptions,
    PreferenceRetainOptions,
    SimNpoOptions,
    TwoTermOptions,
    UndialOptions,
)

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

Loss = Callable[[Sides, Any], Tensor]
"""Of the sides of a step and the objective's options."""


@dataclass(frozen=True)
class RetainTerm:
    """A loss on rows to keep, and what it needs."""

    loss: Loss
    needs: frozenset[Need]
    per: Per = "token"


@dataclass(frozen=True)
class Objective:
    """A forget term, perhaps a retain term, and the paper's settings."""

    forget: Loss
    per: Per
    """Whether the forget term is a mean over tokens or over rows."""
    paper: str
    """arXiv id of the paper that this combination is known from."""
    options: type[ObjectiveOptions] = ForgetTermOptions
    """What can be set, with the paper's values."""
    retain: RetainTerm | None = None
    """None: nothing is kept on purpose."""
    forget_needs: frozenset[Need] = frozenset()
    """What a step must have for the forget term."""
    forget_side: str = "forget"
    """The side whose tokens or rows these are."""
    with_questions: bool = False
    """The forget side has the positions of the question as well as those of the answer."""

    def plus(self, retain: RetainTerm, options: type[ObjectiveOptions]) -> "Objective":
        """Return this objective with a retain term."""
        return replace(self, retain=retain, options=options)

    @property
    def needs(self) -> frozenset[Need]:
        """What a step must have for both terms."""
        return self.forget_needs | (self.retain.needs if self.retain else frozenset())

    def loss(self, sides: Sides, own: Any) -> Terms:
        """Compute the objective's terms on one step.

        Args:
            sides: forget, and what ``needs`` names.
            own: an instance of ``options``: weights and γ from 0 on, β above 0.

        Raises:
            ValueError: a side or reference that ``needs`` names is missing.
        """
        terms = {"forget": Term(self.forget(sides, own), own.forget_weight, self.forget_side, self.per)}
        if self.retain:
            terms["retain"] = Term(self.retain.loss(sides, own), own.retain_weight, "retain", self.retain.per)
        return terms


GD = RetainTerm(lambda sides, own: gd(sides), frozenset({"retain"}))
KL = RetainTerm(lambda sides, own: kl(sides), frozenset({"retain", "retain_reference_logits"}))
AP = RetainTerm(lambda sides, own: answer_preservation(sides, own.beta), frozenset({"retain", "retain_refusal"}), "row")

_GA = Objective(lambda sides, own: ga(sides), "token", "2401.06121")
_DPO = Objective(
    lambda sides, own: dpo(sides, own.beta),
    "row",
    "2404.05868",
    PreferenceOptions,
    forget_needs=frozenset({"refusal", "forget_reference_nll", "refusal_reference_nll"}),
)
_NPO = Objective(
    lambda sides, own: npo(sides, own.beta),
    "row",
    "2404.05868",
    PreferenceOptions,
    forget_needs=frozenset({"forget_reference_nll"}),
)
_SIMNPO = Objective(lambda sides, own: simnpo(sides, own.beta, own.gamma), "row", "2410.07163", SimNpoOptions)
_UNDIAL = Objective(
    lambda sides, own: undial(sides, own.gamma),
    "token",
    "2402.10052",
    UndialOptions,
    forget_needs=frozenset({"forget_reference_logits"}),
)
_ME = Objective(lambda sides, own: me(sides), "token", "2410.08109", MeOptions, with_questions=True)
_IDK = Objective(
    lambda sides, own: idk(sides),
    "token",
    "2410.08109",
    forget_needs=frozenset({"refusal"}),
    forget_side="refusal",
)

WEIGHT_OBJECTIVES: dict[str, Objective] = {
    "ga": _GA,
    "grad_diff": _GA.plus(GD, TwoTermOptions),
    "ga_kl": _GA.plus(KL, TwoTermOptions),
    "dpo": _DPO,
    "dpo_gd": _DPO.plus(GD, PreferenceRetainOptions),
    "dpo_kl": _DPO.plus(KL, PreferenceRetainOptions),
    "npo": _NPO,
    "npo_gd": _NPO.plus(GD, PreferenceRetainOptions),
    "npo_kl": _NPO.plus(KL, PreferenceRetainOptions),
    "simnpo": _SIMNPO.plus(GD, SimNpoOptions),
    "undial": _UNDIAL,
    "me_gd": _ME.plus(GD, MeOptions),
    "idk_ap": _IDK.plus(AP, PreferenceRetainOptions),
}
"""Objectives that train the target's own weights, by name."""

_OFFSET_PAPER = "2404.11045"

OFFSET_OBJECTIVES: dict[str, Objective] = {
    f"offset_{name}": replace(WEIGHT_OBJECTIVES[name], paper=_OFFSET_PAPER) for name in ("ga_kl", "dpo_kl", "npo_kl")
}
"""The same losses for offset unlearning, by name. Every logit of ``Sides`` is then of the combined distribution,
log p ∝ log p_target + α · (log p_offset − log p_offset at its start), so that gradients can reach the offset model
alone. The reference is the target: what the combination is before training."""
