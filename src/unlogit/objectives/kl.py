"""How far a distribution is from uniform: the one formula behind ULD's uniform term and what is measured of it.

KL(Uniform ‖ p) = logsumexp(z) − mean(z) − log V, for p = softmax(z)
"""

import math

from torch import Tensor


def uniform_kl(logits: Tensor) -> Tensor:
    """KL(Uniform ‖ softmax(logits)) for each position: [N, V] → [N]; at least 0, and 0 where the logits are equal."""
    logits = logits.float()
    return logits.logsumexp(dim=-1) - logits.mean(dim=-1) - math.log(logits.shape[-1])
