"""How far a distribution is from uniform: the one formula behind ULD's uniform term and what is measured of it.

KL(Uniform ‖ p) = logsumexp(z) − mean(z) − log V, for p = softmax(z)
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def uniform_kl(logits: Tensor) -> Tensor:
    """KL(Uniform ‖ softmax(logits)) for each position: [N, V] → [N]; at least 0, and 0 where the logits are equal."""
    logits = logits.float()
    return logits.logsumexp(dim=-1) - logits.mean(dim=-1) - math.log(logits.shape[-1])


def gain_kl(logits: Tensor, labels: Tensor, gains: Tensor) -> Tensor:
    """KL(q ‖ softmax(logits)) for each position, where q holds the label ``gains`` nats above all other tokens, alike.

    0 where the label's logit stands ``gains`` above the others and these are equal.

    Args:
        logits: [N, V].
        labels: [N].
        gains: [N], in nats, at least 0; 0 gives KL(Uniform ‖ softmax), infinity the cross-entropy of the label.

    Returns:
        [N], in nats.
    """
    logits = logits.float()
    share = label_share(gains, logits.shape[-1])
    uniform = logits.logsumexp(dim=-1) - logits.mean(dim=-1)
    label = cross_entropy(logits, labels, reduction="none")
    return share * label + (1 - share) * uniform - gain_entropy(gains, logits.shape[-1])


def label_share(gains: Tensor, size: int) -> Tensor:
    """Return s [N] for which s · one label + (1 − s) · uniform over ``size`` tokens has the label ``gains`` above."""
    probability = torch.sigmoid(gains.float() - math.log(size - 1))
    return (probability - 1 / size) / (1 - 1 / size)


def gain_entropy(gains: Tensor, size: int) -> Tensor:
    """Return the entropy [N] in nats of that distribution."""
    log_odds = gains.float() - math.log(size - 1)
    log_label, log_rest = torch.nn.functional.logsigmoid(log_odds), torch.nn.functional.logsigmoid(-log_odds)
    rest = log_rest.exp()
    return -(log_label.exp() * log_label) - torch.where(rest > 0, rest * (log_rest - math.log(size - 1)), rest)
