"""Loss and greedy hit of many combinations at the same answer positions; what they share is computed once.

* A rule's difference is the same for every alpha and filter_rate, and without a filter ``tail`` is ``centred``.
* A filter leaves most tokens as the target has them. A combination with a filter is therefore applied to the tokens
  that the filter keeps, with the true token and the likeliest of the others; the rest of the vocabulary enters the
  softmax as one number, its logsumexp under the target. How many are kept differs much between positions (on TOFU,
  at a filter_rate of 0.001, 17 of 4,096 in the middle and 1,700 at most): they are taken in groups of like numbers.

The formula itself stands in ``logit_difference``, whose two halves are called here. The results are those of
``combine_logits`` on the whole vocabulary, up to rounding; only where two tokens outside the filter are equally
likely to the bit, and likelier than all others, may the greedy one be the other of the two.

Shapes: C combinations, n answer positions, V vocabulary, k tokens of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unlogit.logit_difference import RULES, apply_difference, kept_tokens, weighted_difference
from unlogit.options import CombinationOptions

CHUNK_LOGITS = 2**24
"""Numbers of the logits whose differences are held at once (64 MiB in float32)."""

CACHED_LOGITS = 2**18
"""Numbers of a piece of that on a processor, which its cache can hold: a softmax is up to three times faster there."""

FEWEST_TOKENS = 32
"""Positions where a filter keeps fewer tokens are taken together."""


@dataclass(frozen=True)
class _Part:
    """Some positions, and those tokens of the vocabulary that are combined there."""

    rows: Tensor | slice  # which n of the chunk's positions
    ids: Tensor | None  # [n, k] tokens, ascending; None: the whole vocabulary, k = V
    target: Tensor  # [n, k] the target's logits of them
    place: Tensor  # [n] where the true token stands among the k
    rest: Tensor | None  # [n, 1] logsumexp of the target's logits of all other tokens; None: there are none

    def of(self, difference: Tensor) -> Tensor:
        """A chunk's difference at these positions and tokens, [n, k]."""
        here = difference[self.rows]
        return here if self.ids is None else here.gather(-1, self.ids)

    def measure(self, difference: Tensor, chosen: CombinationOptions) -> tuple[Tensor, Tensor]:
        """Loss and hit [n] under a combination, given what ``of`` returns."""
        combined = apply_difference(
            self.target, difference, rule=chosen.rule, alpha=chosen.alpha, filter_rate=chosen.filter_rate
        ).float()
        hits = likeliest_is(combined, self.place)
        if self.rest is not None:
            combined = torch.cat([combined, self.rest], dim=-1)  # [n, k + 1]
        return cross_entropy(combined, self.place, reduction="none"), hits


def likeliest_is(logits: Tensor, place: Tensor) -> Tensor:
    """Return whether ``argmax`` of logits [n, k] is ``place`` [n], in a third of the time where k is large.

    Looking for the largest value is fast and where it stands is not, which matters only where there are several of it.
    """
    largest = logits.amax(-1, keepdim=True)
    hits = (logits.gather(-1, place[:, None]) == largest)[:, 0]
    several = torch.ge(logits, largest, out=torch.empty_like(logits)).sum(-1) > 1
    unsure = (hits & several).nonzero()[:, 0]
    if len(unsure):
        hits[unsure] = logits[unsure].argmax(-1) == place[unsure]
    return hits


def combined_losses(
    target: Tensor,
    assistants: Sequence[Tensor],
    weights: Sequence[float],
    tokens: Tensor,
    combinations: Sequence[CombinationOptions],
) -> tuple[Tensor, Tensor]:
    """Return each combination's cross-entropy [C, n] at the true ``tokens`` [n], and whether it would be taken.

    Args:
        target: logits [n, V] in any float type; the combination is rounded to it, as ``combine_logits`` does.
        assistants: logits [n, V] of each branch.
        weights: a number for each branch.
        tokens: what should come at each position.
        combinations: rule, alpha and filter_rate of each.
    """
    losses = torch.empty(len(combinations), len(tokens), device=target.device)
    hits = torch.empty(len(combinations), len(tokens), dtype=torch.bool, device=target.device)
    chunk = max(1, CHUNK_LOGITS // target.shape[-1])
    for start in range(0, len(tokens), chunk):
        here = slice(start, start + chunk)
        branches = [logits[here] for logits in assistants]
        rates = {chosen.filter_rate for chosen in combinations}
        parts = {rate: list(_parts(target[here], tokens[here], rate)) for rate in sorted(rates)}
        for function in dict.fromkeys(RULES[chosen.rule] for chosen in combinations):
            own = {i: chosen for i, chosen in enumerate(combinations) if RULES[chosen.rule] is function}
            difference = weighted_difference(branches, weights, next(iter(own.values())).rule)  # [chunk, V]
            for rate, pieces in parts.items():
                asked = {i: chosen for i, chosen in own.items() if chosen.filter_rate == rate}
                for part in pieces:
                    _measure(part, part.of(difference), asked, losses[:, here], hits[:, here])
    return losses, hits


def _measure(
    part: _Part, difference: Tensor, combinations: Mapping[int, CombinationOptions], losses: Tensor, hits: Tensor
) -> None:
    """Write losses and hits [C, chunk] of combinations, by number, that have this difference and one filter_rate."""
    known: dict[float, tuple[Tensor, Tensor]] = {}
    for i, chosen in combinations.items():
        found = known.get(chosen.alpha) if chosen.filter_rate == 0 else None  # then two rules with one d are the same
        known[chosen.alpha] = found = found or part.measure(difference, chosen)
        losses[i, part.rows], hits[i, part.rows] = found


def _parts(target: Tensor, tokens: Tensor, filter_rate: float) -> Iterator[_Part]:
    """Part positions so that each part takes the tokens that the filter keeps, and few others."""
    if filter_rate == 0:
        rows = max(1, CACHED_LOGITS // target.shape[-1]) if target.device.type == "cpu" else len(tokens)
        for start in range(0, len(tokens), rows):
            here = slice(start, start + rows)
            yield _Part(here, None, target[here], tokens[here], None)
        return
    kept = kept_tokens(target, filter_rate).sum(-1, dtype=torch.int32)
    needed = kept + 2  # the true token and the likeliest other may be outside
    size, smaller = FEWEST_TOKENS, torch.zeros_like(needed, dtype=torch.bool)
    while not bool(smaller.all()):
        chosen = (needed <= size) & ~smaller if size < target.shape[-1] else ~smaller
        if bool(chosen.any()):
            yield _kept(chosen.nonzero()[:, 0], target[chosen], tokens[chosen], min(size, target.shape[-1]))
        smaller |= chosen
        size *= 2


def _kept(rows: Tensor, target: Tensor, tokens: Tensor, size: int) -> _Part:
    """Take the true token and the likeliest others, ``size`` in all."""
    ids = target.scatter(-1, tokens[:, None], torch.inf).topk(size, dim=-1).indices.sort(dim=-1).values  # [n, k]
    rest = target.float().scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    return _Part(rows, ids, target.gather(-1, ids), (ids == tokens[:, None]).int().argmax(-1), rest)
