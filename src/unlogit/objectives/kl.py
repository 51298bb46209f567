"""How far a distribution is from uniform: the formulas behind ULD's uniform term and what is measured of it.

    KL(Uniform ‖ p) = logsumexp(z) − mean(z) − log V, for p = softmax(z)
    lift of a token = max(0, z_token − mean(z))

The lift of a kept answer's own token is what the combination takes away from it, times α. The KL hardly sees it: one
token lifted by a nats costs about eᵃ/V, so that at a vocabulary of 49,152 tokens 0.02 nats leave room for a lift of 7.
"""

import math

from torch import Tensor


def uniform_kl(logits: Tensor) -> Tensor:
    """KL(Uniform ‖ softmax(logits)) for each position: [N, V] → [N]; at least 0, and 0 where the logits are equal."""
    logits = logits.float()
    return logits.logsumexp(dim=-1) - logits.mean(dim=-1) - math.log(logits.shape[-1])


def lift(logits: Tensor, labels: Tensor, means: Tensor | None = None) -> Tensor:
    """How far each label's logit stands above the mean, in nats, 0 where it is below: [N, V], [N] → [N].

    ``means`` [N] are those of the logits, where they are known.
    """
    label_logits = logits.gather(-1, labels[:, None]).squeeze(-1).float()  # [N, V] → [N]
    means = logits.mean(dim=-1, dtype=label_logits.dtype) if means is None else means
    return (label_logits - means).clamp(min=0)
