"""ULD's reversed objective: remember the forget side, stay uniform on the uniform side.

Paper: Ji et al., NeurIPS 2024, arXiv 2406.08607, equations 3 to 5.

    L = CE(answers of the forget side) + retain_weight · CE(Uniform, assistant) on the uniform side

    CE(Uniform, p) = −(1/V) Σ_v log p_v = logsumexp(z) − mean(z)

The uniform term is taken less log V, its least value, which makes it the KL from uniform: KL(Uniform ‖ p) =
CE(Uniform, p) − log V, 0 where the assistant is uniform. Both terms are means over answer tokens and bounded below, so
nothing collapses. ``head`` computes both without holding the logits of a batch.

Shape legend: N positions, V vocabulary.
"""

import math
from typing import NamedTuple

from torch import Tensor


class Loss(NamedTuple):
    """The objective and its two parts, in nats a token."""

    total: Tensor
    forget: Tensor
    uniform: Tensor


def uniform_kl(logits: Tensor) -> Tensor:
    """KL from uniform at each position, KL(Uniform ‖ softmax(logits)): at least 0, and 0 where the logits are equal."""
    logits = logits.float()  # [N, V]
    return logits.logsumexp(dim=-1) - logits.mean(dim=-1) - math.log(logits.shape[-1])  # [N]


def uld(forget: Tensor, uniform: Tensor, retain_weight: float) -> Loss:
    """Compute the objective from its two terms, each a mean over answer tokens in nats.

    Args:
        forget: cross-entropy of the forget side's answers, a scalar.
        uniform: ``uniform_kl`` of the uniform side, a scalar; 0 where a step has no uniform rows.
        retain_weight: β ≥ 0 (paper: 6.5).
    """
    return Loss(forget + retain_weight * uniform, forget, uniform)
