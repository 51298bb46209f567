"""Losses of a frozen head, from the hidden states that it reads: the logits of a batch are never held.

Positions are taken a chunk at a time; loss and gradient of a chunk are computed together, and only the gradient with
respect to the hidden states is kept for the backward pass, since a frozen head has none of its own. For a linear head,
with p = softmax(W h + b) and N positions:

    cross-entropy:          d/dh = Wᵀ (p − onehot(label)) / N
    KL(Uniform ‖ p):        d/dh = Wᵀ (p − 1/V) / N

A head that does more to its logits than this (a cap, a scale) is differentiated chunk by chunk. Values and gradients
are those of whole logits, up to rounding. Idea: chunked losses of Liger-Kernel, arXiv 2410.10989.

Shape legend: N positions, n positions of a chunk, H hidden, V vocabulary.
"""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from unlogit.model.decoder import head_logits
from unlogit.objectives.kl import uniform_kl

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
        return _mean_loss(hidden, labels, self)

    def uniform_kl(self, hidden: Tensor) -> Tensor:
        """Mean KL from uniform, KL(Uniform ‖ softmax), in nats at hidden states [N, H]; N ≥ 1."""
        return _mean_loss(hidden, None, self)


def _mean_loss(hidden: Tensor, labels: Tensor | None, head: FrozenHead) -> Tensor:
    differentiate = torch.is_grad_enabled() and hidden.requires_grad
    loss: Tensor = _HeadLoss.apply(hidden, labels, head, differentiate)  # type: ignore[no-untyped-call]
    return loss


class _HeadLoss(torch.autograd.Function):
    """Mean over positions of cross-entropy or, without labels, of the KL from uniform."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, labels: Tensor | None, head: FrozenHead, differentiate: bool) -> Tensor:
        """Compute the loss and, with ``differentiate``, its gradient."""
        gradient = torch.empty_like(hidden) if differentiate else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        compute = _by_formula if head.linear is not None else _by_autograd
        size = max(1, CHUNK_LOGITS // _vocabulary(head, hidden))
        weight = hidden.new_full((1,), 1 / len(hidden), dtype=torch.float32)  # of a position in the mean
        for start in range(0, len(hidden), size):
            chunk = slice(start, start + size)
            chunk_labels = None if labels is None else labels[chunk]
            losses, slope = compute(head, hidden[chunk], chunk_labels, differentiate)  # [n], [n, H]
            total += (losses * weight).sum()
            if gradient is not None:
                gradient[chunk] = slope * weight
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, None, None, None]:
        """Scale the gradient that ``forward`` computed."""
        (gradient,) = ctx.saved_tensors
        return gradient * slopes[0].to(gradient.dtype), None, None, None


def _by_formula(head: FrozenHead, hidden: Tensor, labels: Tensor | None, differentiate: bool) -> tuple[Tensor, Tensor]:
    """Return the losses [n] of a chunk and the gradient of their sum [n, H] (if asked for), for a linear head."""
    assert head.linear is not None  # else ``_by_autograd`` is called
    weight, bias = head.linear.weight, head.linear.bias
    logits = linear(hidden.to(weight.dtype), weight, bias)  # [n, V]
    slope = logits.softmax(dim=-1, dtype=torch.float32)  # [n, V]; p, and p − target below
    normaliser = logits.amax(dim=-1).float() - slope.amax(dim=-1).log()  # [n]; logsumexp, by the likeliest token
    if labels is None:
        means = logits.mean(dim=-1, dtype=torch.float32)  # [n, V] → [n]
        losses = normaliser - means - math.log(logits.shape[-1])
    else:
        losses = normaliser - logits.gather(-1, labels[:, None]).squeeze(-1).float()  # [n]
    if not differentiate:
        return losses, hidden
    if labels is None:
        slope -= 1 / slope.shape[-1]
    else:
        slope[torch.arange(len(labels), device=labels.device), labels] -= 1
    return losses, (slope.to(weight.dtype) @ weight).to(hidden.dtype)  # [n, V] @ [V, H] → [n, H]


def _by_autograd(head: FrozenHead, hidden: Tensor, labels: Tensor | None, differentiate: bool) -> tuple[Tensor, Tensor]:
    """The same for any head."""
    with torch.set_grad_enabled(differentiate):
        hidden = hidden.detach().requires_grad_(differentiate)
        logits = head.logits(hidden).float()  # [n, H] → [n, V]
        losses = uniform_kl(logits) if labels is None else cross_entropy(logits, labels, reduction="none")
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
