"""Losses of a frozen head, from the hidden states that it reads: the logits of a batch are never held.

Positions are taken a chunk at a time; loss and gradient of a chunk are computed together, and only the gradient with
respect to the hidden states is kept for the backward pass, since a frozen head has none of its own. For a linear head,
with p = softmax(W h + b) and N positions:

    cross-entropy:          d/dh = Wᵀ (p − onehot(label)) / N
    KL(Uniform ‖ p):        d/dh = Wᵀ (p − 1/V) / N
    lift², see ``kl``:      d/dh = Wᵀ 2 lift (onehot(label) − 1/V) / N

A head that does more to its logits than this (a cap, a scale) is differentiated chunk by chunk. Values and gradients
are those of whole logits, up to rounding. Idea: chunked losses of Liger-Kernel, arXiv 2410.10989.

Shape legend: N positions, n positions of a chunk, H hidden, V vocabulary.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from unlogit.model.decoder import head_logits
from unlogit.objectives.kl import lift, uniform_kl

log = logging.getLogger(__name__)

CHUNK_LOGITS = 2**24
"""Numbers of the logits that are held at once: 64 MiB in float32, and as much again for what is made of them."""

PROBE_ROWS, PROBE_LOGIT = 4, 50.0
"""The head is tried on this many rows, scaled until a logit reaches this value: far enough for a soft cap to show."""

Head = Callable[[Tensor], Tensor]
"""Hidden states [N, H] → logits [N, V]."""


class FrozenHead:
    """The head of a language model whose weights do not train; ``linear`` is None where it does more than multiply."""

    def __init__(self, lm: Any) -> None:
        self.logits: Head = partial(head_logits, lm)
        self.linear = _linear_head(lm)
        if self.linear is None:
            log.info("The head computes more than W h + b: its loss is differentiated by autograd.")

    def cross_entropy(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of ``labels`` [N] in nats, given the hidden states [N, H] that predict them; N ≥ 1."""
        return _mean_loss(hidden, labels, self, _CrossEntropy())

    def uniform_kl(self, hidden: Tensor) -> Tensor:
        """Mean KL from uniform, KL(Uniform ‖ softmax), in nats at hidden states [N, H]; N ≥ 1."""
        return self.uniform_loss(hidden, hidden.new_zeros(len(hidden), dtype=torch.long), 0.0)

    def uniform_loss(self, hidden: Tensor, labels: Tensor, lift_weight: float) -> Tensor:
        """Mean KL from uniform plus ``lift_weight`` · lift² of the labels [N] (see ``kl``), in nats; N ≥ 1."""
        return _mean_loss(hidden, labels, self, _NearUniform(lift_weight))


class _CrossEntropy:
    """The cross-entropy of each label."""

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses [n] of logits [n, V]."""
        return cross_entropy(logits, labels, reduction="none")

    def with_slope(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses [n] and the slope of their sum by the logits [n, V]."""
        normaliser, slope = _softmax(logits)
        label_logits = logits.gather(-1, labels[:, None]).squeeze(-1).float()  # [n, V] → [n]
        slope[torch.arange(len(labels), device=labels.device), labels] -= 1
        return normaliser - label_logits, slope


@dataclass(frozen=True)
class _NearUniform:
    """KL from uniform, and the square of the label's lift."""

    lift_weight: float

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses [n] of logits [n, V]."""
        losses = uniform_kl(logits)
        return losses + self.lift_weight * lift(logits, labels).square() if self.lift_weight else losses

    def with_slope(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses [n] and the slope of their sum by the logits [n, V]."""
        normaliser, slope = _softmax(logits)
        means = logits.mean(dim=-1, dtype=torch.float32)  # [n, V] → [n]
        losses = normaliser - means - math.log(logits.shape[-1])
        slope -= 1 / slope.shape[-1]
        if self.lift_weight:
            lifts = lift(logits, labels, means)  # [n]
            losses = losses + self.lift_weight * lifts.square()
            lift_slope = 2 * self.lift_weight * lifts
            slope -= lift_slope[:, None] / slope.shape[-1]  # [n] → [n, 1]
            slope[torch.arange(len(labels), device=labels.device), labels] += lift_slope
        return losses, slope


TokenLoss = _CrossEntropy | _NearUniform


def _softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return logsumexp [n] and softmax [n, V] of logits [n, V], in float32."""
    p = logits.softmax(dim=-1, dtype=torch.float32)
    return logits.amax(dim=-1).float() - p.amax(dim=-1).log(), p  # logsumexp by the likeliest token


def _mean_loss(hidden: Tensor, labels: Tensor, head: FrozenHead, loss: TokenLoss) -> Tensor:
    differentiate = torch.is_grad_enabled() and hidden.requires_grad
    mean: Tensor = _HeadLoss.apply(hidden, labels, head, loss, differentiate)  # type: ignore[no-untyped-call]
    return mean


class _HeadLoss(torch.autograd.Function):
    """Mean over positions of a loss."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, labels: Tensor, head: FrozenHead, loss: TokenLoss, differentiate: bool
    ) -> Tensor:
        """Compute the loss and, with ``differentiate``, its gradient."""
        gradient = torch.empty_like(hidden) if differentiate else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        compute = _by_formula if head.linear is not None else _by_autograd
        size = max(1, CHUNK_LOGITS // _vocabulary(head, hidden))
        weight = hidden.new_full((1,), 1 / len(hidden), dtype=torch.float32)  # of a position in the mean
        for start in range(0, len(hidden), size):
            chunk = slice(start, start + size)
            losses, slope = compute(head, hidden[chunk], labels[chunk], loss, differentiate)  # [n], [n, H]
            total += (losses * weight).sum()
            if gradient is not None:
                gradient[chunk] = slope * weight
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        """Scale the gradient that ``forward`` computed."""
        (gradient,) = ctx.saved_tensors
        return gradient * slopes[0].to(gradient.dtype), None, None, None, None


def _by_formula(
    head: FrozenHead, hidden: Tensor, labels: Tensor, loss: TokenLoss, differentiate: bool
) -> tuple[Tensor, Tensor]:
    """Return the losses [n] of a chunk and the gradient of their sum [n, H] (if asked for), for a linear head."""
    assert head.linear is not None  # ``_HeadLoss.forward`` takes this way only then
    weight, bias = head.linear.weight, head.linear.bias
    losses, slope = loss.with_slope(linear(hidden.to(weight.dtype), weight, bias), labels)  # [n], [n, V]
    if not differentiate:
        return losses, hidden
    return losses, (slope.to(weight.dtype) @ weight).to(hidden.dtype)  # [n, V] @ [V, H] → [n, H]


def _by_autograd(
    head: FrozenHead, hidden: Tensor, labels: Tensor, loss: TokenLoss, differentiate: bool
) -> tuple[Tensor, Tensor]:
    """The same for any head."""
    with torch.set_grad_enabled(differentiate):
        hidden = hidden.detach().requires_grad_(differentiate)
        losses = loss.losses(head.logits(hidden).float(), labels)  # [n, H] → [n, V] → [n]
        if not differentiate:
            return losses, hidden
        (slope,) = torch.autograd.grad(losses.sum(), hidden)
    return losses.detach(), slope


def _vocabulary(head: FrozenHead, hidden: Tensor) -> int:
    return head.linear.out_features if head.linear is not None else head.logits(hidden[:1]).shape[-1]


@torch.no_grad()
def _linear_head(lm: Any) -> nn.Linear | None:
    """Return the model's head if its logits are W h + b and nothing else, to the last bit on a few hidden states."""
    layer = lm.get_output_embeddings()
    if type(layer) is not nn.Linear or not layer.weight.is_floating_point() or layer.weight.is_meta:
        return None
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(PROBE_ROWS, layer.in_features, generator=generator).to(layer.weight.device, layer.weight.dtype)
    probe = probe * (PROBE_LOGIT / layer(probe).abs().max().clamp(min=torch.finfo(torch.float32).tiny))
    expected = layer(probe)
    logits = head_logits(lm, probe)
    return layer if logits.shape == expected.shape and torch.equal(logits, expected) else None
