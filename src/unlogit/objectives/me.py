"""Maximum entropy: be unsure of every next token of the forget rows.

Paper: Yuan et al., ICLR 2025, arXiv 2410.08109.

    L = mean over positions of KL(π ‖ Uniform) = log V − H(π)

Where: the question and the answer of forget rows. The mean is over the positions that are given: the caller gives
those of the question as well (``Objective.with_questions``). Needs no reference, and does not look at the labels.

Limits: says nothing on what to keep; the paper adds cross-entropy on retain rows and weighs this term with 0.1. The
paper writes this divergence, between 0 and log V; the authors' code computes the other, KL(Uniform ‖ π), unbounded and
far stronger where the model is sure. That one is ``kl.uniform_kl``. Where the model is all but sure of a token
the gradient of this one vanishes, as that of entropy does.
"""

import math

from torch import Tensor

from unlogit.objectives.sides import Sides


def me(sides: Sides) -> Tensor:
    """Return the mean divergence from uniform in nats a position: 0 (uniform) to log V (sure of one token)."""
    log_p = sides.forget.logits.float().log_softmax(dim=-1)  # [N, V]
    return math.log(log_p.shape[-1]) + (log_p.exp() * log_p).sum(dim=-1).mean()
