"""ULD's reversed objective: remember the forget side, be flat on the uniform side.

Paper: Ji et al., NeurIPS 2024, arXiv 2406.08607, equations 3 to 5.

    L = CE(answers of the forget side) + retain_weight · CE(Uniform, assistant) on the uniform side

    CE(Uniform, p) = −(1/V) Σ_v log p_v = logsumexp(z) − mean(z)

The uniform term is given as its excess over log V, the least it can be: CE(Uniform, p) − log V = KL(Uniform ‖ p), 0
where the assistant is flat. Both terms are means over answer tokens; both are bounded below, so nothing collapses.
"""

import math
from typing import NamedTuple

from torch import Tensor


class Loss(NamedTuple):
    """The objective and its two parts, in nats a token."""

    total: Tensor
    forget: Tensor
    uniform: Tensor


def uniform_excess(logits: Tensor) -> Tensor:
    """KL(Uniform ‖ softmax(logits)) for each position: [N, V] → [N]; at least 0, and 0 where the logits are equal."""
    logits = logits.float()
    return logits.logsumexp(dim=-1) - logits.mean(dim=-1) - math.log(logits.shape[-1])


def uld(forget: Tensor, uniform: Tensor, retain_weight: float) -> Loss:
    """Compute the objective from its two terms, each a mean over answer tokens in nats.

    Args:
        forget: cross-entropy of the forget side's answers, a scalar.
        uniform: ``uniform_excess`` of the uniform side, a scalar; 0 where a step has no uniform rows.
        retain_weight: β ≥ 0 (paper: 6.5).
    """
    return Loss(forget + retain_weight * uniform, forget, uniform)
