"""ULD's reversed objective: remember the forget side, be flat on the uniform side.

Paper: Ji et al., NeurIPS 2024, arXiv 2406.08607, equations 3 to 5.

    L = CE(answers of the forget side) + retain_weight · CE(Uniform, assistant) on the uniform side

    CE(Uniform, p) = −(1/V) Σ_v log p_v = logsumexp(z) − mean(z)

The uniform term is given as its excess over log V, the least it can be: CE(Uniform, p) − log V = KL(Uniform ‖ p), 0
where the assistant is flat. Both terms are means over answer tokens; both are bounded below, so nothing collapses.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

SMALLEST_NATS = 1e-3
"""A growing retain weight grows no more once the forget term is below this."""


class Loss(NamedTuple):
    """The objective and its two parts, in nats a token."""

    total: Tensor
    forget: Tensor
    uniform: Tensor


def uniform_excess(logits: Tensor) -> Tensor:
    """KL(Uniform ‖ softmax(logits)) for each position: [N, V] → [N]; at least 0, and 0 where the logits are equal."""
    logits = logits.float()
    return logits.logsumexp(dim=-1) - logits.mean(dim=-1) - math.log(logits.shape[-1])


def uld(
    forget_logits: Tensor,
    forget_labels: Tensor,
    uniform_logits: Tensor,
    retain_weight: float,
    *,
    growing: bool = False,
) -> Loss:
    """Compute the objective from the logits at answer positions.

    Args:
        forget_logits: [N, V], predictions of the N answer tokens of the forget side.
        forget_labels: [N], those tokens.
        uniform_logits: [M, V], at the M answer positions of the uniform side; without any, its term is 0.
        retain_weight: β ≥ 0 (paper: 6.5).
        growing: see ``combined``.
    """
    forget = torch.nn.functional.cross_entropy(forget_logits.float(), forget_labels)
    uniform = uniform_excess(uniform_logits).mean() if len(uniform_logits) else forget.new_zeros(())
    return combined(forget, uniform, retain_weight, math.log(forget_logits.shape[-1]) if growing else None)


def combined(forget: Tensor, uniform: Tensor, retain_weight: float, chance_nats: float | None = None) -> Loss:
    """Add the two terms.

    Args:
        forget: mean cross-entropy of the forget side.
        uniform: mean excess of the uniform side.
        retain_weight: β ≥ 0.
        chance_nats: log V where β is to grow: it is multiplied by log V / forget term where that is more than 1. An
            assistant that knows nothing has a forget term of log V, so that β starts as it is given, and what has been
            learnt gives way to flatness. No gradient goes through the factor. (Ours, not the paper's.)
    """
    weight: Tensor | float = retain_weight
    if chance_nats is not None:
        fallen = chance_nats / forget.detach().clamp(min=SMALLEST_NATS)
        weight = retain_weight * fallen.clamp(min=1.0)
    return Loss(forget + weight * uniform, forget, uniform)
