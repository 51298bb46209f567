"""Losses of a frozen head, from the hidden states that it reads: the logits of a batch are never held.

Positions are taken a chunk at a time; loss and gradient of a chunk are computed together, and only the gradient with
respect to the hidden states is kept for the backward pass, since a frozen head has none of its own. For a linear head,
with p = softmax(W h + b) and N positions:

    cross-entropy:          d/dh = Wᵀ (p − onehot(label)) / N
    KL(Uniform ‖ p):        d/dh = Wᵀ (p − 1/V) / N

A head that does more to its logits than this (a cap, a scale) is differentiated chunk by chunk. Values and gradients
are those of ``objectives.uld`` on whole logits, up to rounding; at a share of the positions, on average. Idea: chunked
losses of Liger-Kernel, arXiv 2410.10989.

Shape legend: N positions, H hidden, V vocabulary.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from unlogit.model.decoder import head_logits
from unlogit.objectives.uld import uniform_excess

CHUNK_LOGITS = 2**24
"""Numbers of the logits that are held at once: 64 MiB in float32, and as much again for what is made of them."""

PROBE_ROWS, PROBE_LOGIT = 4, 50.0
"""A head is tried on so many rows, scaled so that a logit reaches this: far enough out for a soft cap to show."""

DIRECTIONS = 64
"""Random directions that a slope's norm is estimated from, with a deviation of 1 / √(2 · 64)."""

Head = Callable[[Tensor], Tensor]
"""Hidden states [N, H] → logits [N, V]."""


class FrozenHead:
    """The head of a language model whose weights do not train; ``linear`` is None where it does more than multiply."""

    def __init__(self, lm: Any) -> None:
        self.logits: Head = partial(head_logits, lm)
        self.linear = _linear_head(lm)
        self.layer = lm.get_output_embeddings()
        self.directions: tuple[Tensor, Tensor] | Literal[False] | None = None

    def cross_entropy(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of ``labels`` [N] in nats, given the hidden states [N, H] that predict them; N ≥ 1."""
        return _loss(hidden, labels, self)

    def uniform_excess(self, hidden: Tensor, share: float = 1.0) -> Tensor:
        """Mean KL(Uniform ‖ softmax) in nats at hidden states [N, H]; N ≥ 1.

        Given a ``share`` below 1 the head is run on about so many of them (see ``drawn_positions``): on average the
        same.
        """
        if share == 1:
            return _loss(hidden, None, self)
        taken, weights = drawn_positions(self.slopes(hidden), share)
        return _loss(hidden[taken], None, self, weights / len(hidden))

    @torch.no_grad()
    def slopes(self, hidden: Tensor) -> Tensor:
        """About how steep the uniform term is at hidden states [N, H], up to a factor, without computing their logits.

        Near flat, where all logits are nearly equal, p − 1/V = (z − mean z) / V, so that the gradient Wᵀ (p − 1/V) is
        C h + c, with the covariances C [H, H] of the rows of W and c [H] of W and b. Its norm is taken from its
        products with a few random directions, to about a tenth. What a head does to its logits after that is left out;
        where its weights cannot be read, all are 1.
        """
        with torch.autocast(hidden.device.type, enabled=False):  # flat means that large terms cancel
            if self.directions is None:
                self.directions = _directions(self.layer)
            if self.directions is False:
                return hidden.new_ones(len(hidden), dtype=torch.float32)
            products, offsets = self.directions
            slopes: Tensor = (hidden.float() @ products + offsets).square().sum(dim=-1).sqrt()
        return slopes


def drawn_positions(slopes: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Draw positions at random, the steeper ones more often, each with a weight that makes up for it.

    Half of a position's chance is the same for all, half goes with its slope [N]. What is drawn lies evenly along the
    positions (systematic sampling), and Σ weight · value over it is on average Σ value over all (Horvitz and Thompson,
    1952).

    Returns:
        Positions [n], about share · N of them, fewer where a chance is cut off at 1, perhaps none; and their weights
        [n], at most 2 / share.
    """
    slopes = slopes.clamp(min=torch.finfo(slopes.dtype).tiny)
    chance = (share * (0.5 + 0.5 * slopes / slopes.mean())).clamp(max=1)
    passed = (chance.cpu().double().cumsum(dim=0) + torch.rand(())).floor()
    taken = passed.diff(prepend=passed.new_zeros(1)).nonzero().squeeze(-1).to(slopes.device)
    return taken, 1 / chance[taken]


def _directions(layer: Any) -> tuple[Tensor, Tensor] | Literal[False]:
    """Return C R [H, R] and cᵀ R [R] for random directions R, see ``FrozenHead.slopes``; False where the weights of a
    head cannot be read. C itself, with H² V products, is not computed."""
    if not isinstance(layer, nn.Linear) or not layer.weight.is_floating_point() or layer.weight.is_meta:
        return False
    weight, bias = layer.weight, layer.bias
    size = max(1, CHUNK_LOGITS // weight.shape[1])
    mean = weight.mean(dim=0, dtype=torch.float32)
    directions = torch.randn(len(mean), DIRECTIONS, generator=torch.Generator().manual_seed(0)).to(weight.device)
    products, offsets = torch.zeros_like(directions), directions.new_zeros(DIRECTIONS)
    for begin in range(0, len(weight), size):
        centred = weight[begin : begin + size].float() - mean
        along = centred @ directions  # [rows, R]
        products += centred.T @ along
        if bias is not None:
            offsets += bias[begin : begin + size].float() @ along
    return products / len(weight), offsets / len(weight)


def _loss(hidden: Tensor, labels: Tensor | None, head: FrozenHead, weights: Tensor | None = None) -> Tensor:
    wanted = torch.is_grad_enabled() and hidden.requires_grad
    if weights is None:
        weights = hidden.new_full((len(hidden),), 1 / len(hidden), dtype=torch.float32)
    loss: Tensor = _HeadLoss.apply(hidden, labels, head, weights, wanted)  # type: ignore[no-untyped-call]
    return loss


class _HeadLoss(torch.autograd.Function):
    """Weighted sum of the losses at positions; without labels those of the uniform term."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, labels: Tensor | None, head: FrozenHead, weights: Tensor, wanted: bool
    ) -> Tensor:
        """Compute the loss and, where it is wanted, its gradient."""
        gradient = torch.empty_like(hidden) if wanted else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        compute = _by_formula if head.linear is not None else _by_autograd
        size = max(1, CHUNK_LOGITS // _vocabulary(head, hidden))
        for begin in range(0, len(hidden), size):
            here = slice(begin, begin + size)
            losses, slope = compute(head, hidden[here], None if labels is None else labels[here], wanted)
            total += (losses * weights[here]).sum()
            if gradient is not None:
                gradient[here] = slope * weights[here, None]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, None, None, None, None]:
        """Scale what was kept."""
        (gradient,) = ctx.saved_tensors
        return gradient * slopes[0].to(gradient.dtype), None, None, None, None


def _by_formula(head: FrozenHead, hidden: Tensor, labels: Tensor | None, wanted: bool) -> tuple[Tensor, Tensor]:
    """Return the losses [n] of a chunk and, if it is wanted, the gradient of their sum [n, H], for a linear head."""
    assert head.linear is not None
    weight, bias = head.linear.weight, head.linear.bias
    logits = linear(hidden.to(weight.dtype), weight, bias)  # [n, V]
    slope = logits.softmax(dim=-1, dtype=torch.float32)  # less what it should be, below: the loss's slope at the logits
    normaliser = logits.amax(dim=-1).float() - slope.amax(dim=-1).log()  # logsumexp, by the likeliest token
    if labels is None:
        means = logits.mean(dim=-1, dtype=torch.float32)
        losses = normaliser - means - math.log(logits.shape[-1])
    else:
        losses = normaliser - logits.gather(-1, labels[:, None]).squeeze(-1).float()
    if not wanted:
        return losses, hidden
    if labels is None:
        slope -= 1 / slope.shape[-1]
    else:
        slope[torch.arange(len(labels), device=labels.device), labels] -= 1
    return losses, (slope.to(weight.dtype) @ weight).to(hidden.dtype)


def _by_autograd(head: FrozenHead, hidden: Tensor, labels: Tensor | None, wanted: bool) -> tuple[Tensor, Tensor]:
    """The same for any head."""
    with torch.set_grad_enabled(wanted):
        hidden = hidden.detach().requires_grad_(wanted)
        logits = head.logits(hidden).float()
        losses = uniform_excess(logits) if labels is None else cross_entropy(logits, labels, reduction="none")
        if not wanted:
            return losses, hidden
        (slope,) = torch.autograd.grad(losses.sum(), hidden)
    return losses.detach(), slope


def _vocabulary(head: FrozenHead, hidden: Tensor) -> int:
    return head.linear.out_features if head.linear is not None else head.logits(hidden[:1]).shape[-1]


@torch.no_grad()
def _linear_head(lm: Any) -> nn.Linear | None:
    """Return the model's head if its logits are W h + b and nothing else, tried on a few hidden states."""
    layer = lm.get_output_embeddings()
    if type(layer) is not nn.Linear or not layer.weight.is_floating_point() or layer.weight.is_meta:
        return None
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(PROBE_ROWS, layer.in_features, generator=generator).to(layer.weight.device, layer.weight.dtype)
    probe = probe * (PROBE_LOGIT / layer(probe).abs().max().clamp(min=torch.finfo(torch.float32).tiny))
    expected = layer(probe)
    found = head_logits(lm, probe)
    return layer if found.shape == expected.shape and torch.equal(found, expected) else None
