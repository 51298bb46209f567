"""Loss and greedy hit of many combinations at the same answer positions; what they share is computed once.

* A rule's difference is the same for every alpha and filter_rate.
* A filter leaves all but a few tokens as the target has them. Combinations with a filter are therefore applied to the
  tokens that the smallest filter_rate keeps, with the true token and the likeliest of the others; the rest of the
  vocabulary enters the softmax as one number, its logsumexp under the target.

The formula itself stands in ``logit_difference``, whose two halves are called here. The results are those of
``combine_logits`` on the whole vocabulary, up to rounding; only where two tokens outside the filter are equally
likely to the bit, and likelier than all others, may the greedy one be another of the two.

Shapes: C combinations, n answer positions, V vocabulary, k tokens that a filter may change (and two more).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unlogit.logit_difference import apply_difference, kept_tokens, weighted_difference
from unlogit.options import CombinationOptions

_CHUNK = 256  # positions at once, for the differences and the tokens that a filter may change
_CACHED_LOGITS = 2**18  # numbers of a piece of a chunk: on a processor, what its cache holds is three times faster


@dataclass(frozen=True)
class _Tokens:
    """The tokens that are combined: the whole vocabulary, or a part of it and what the rest amounts to."""

    target: Tensor  # [n, k] logits
    ids: Tensor | None  # [n, k] ascending; None: all, k = V
    place: Tensor  # [n] where the true token stands among the k
    rest: Tensor | None  # [n, 1] logsumexp of the tokens that are not here; None: there are none

    @classmethod
    def kept(cls, target: Tensor, tokens: Tensor, filter_rate: float) -> "_Tokens":
        """Those that the filter keeps somewhere in these positions, the true one, and the likeliest other."""
        most = int(kept_tokens(target, filter_rate).sum(-1).max())
        forced = target.scatter(-1, tokens[:, None], torch.inf)  # the true token comes first
        ids = forced.topk(min(most + 2, target.shape[-1]), dim=-1).indices.sort(dim=-1).values  # [n, k]
        place = (ids == tokens[:, None]).int().argmax(-1)
        rest = target.float().scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
        return cls(target.gather(-1, ids), ids, place, rest)

    def of(self, difference: Tensor) -> Tensor:
        """A difference [n, V] at these tokens, [n, k]."""
        return difference if self.ids is None else difference.gather(-1, self.ids)

    def measure(self, difference: Tensor, chosen: CombinationOptions) -> tuple[Tensor, Tensor]:
        """Loss and hit [n] under a combination, given its difference at these tokens."""
        combined = apply_difference(
            self.target, difference, rule=chosen.rule, alpha=chosen.alpha, filter_rate=chosen.filter_rate
        ).float()
        hits = combined.argmax(-1) == self.place
        if self.rest is not None:
            combined = torch.cat([combined, self.rest], dim=-1)  # [n, k + 1]
        return cross_entropy(combined, self.place, reduction="none"), hits


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
    for start in range(0, len(tokens), _CHUNK):
        here = slice(start, start + _CHUNK)
        parts = [logits[here] for logits in assistants]
        _measure_chunk(target[here], parts, weights, tokens[here], combinations, losses[:, here], hits[:, here])
    return losses, hits


def _measure_chunk(
    target: Tensor,
    assistants: Sequence[Tensor],
    weights: Sequence[float],
    tokens: Tensor,
    combinations: Sequence[CombinationOptions],
    losses: Tensor,
    hits: Tensor,
) -> None:
    """Write losses and hits [C, n] of one chunk, a rule at a time."""
    rates = [chosen.filter_rate for chosen in combinations if chosen.filter_rate > 0]
    few = _Tokens.kept(target, tokens, min(rates)) if rates else None
    rows = max(1, _CACHED_LOGITS // target.shape[-1]) if target.device.type == "cpu" else _CHUNK
    for rule in dict.fromkeys(chosen.rule for chosen in combinations):
        difference = weighted_difference(assistants, weights, rule)  # [n, V]
        numbers = [i for i, chosen in enumerate(combinations) if chosen.rule == rule]
        if few is not None:
            part = few.of(difference)  # [n, k]
            for i in numbers:
                if combinations[i].filter_rate > 0:
                    losses[i], hits[i] = few.measure(part, combinations[i])
        for start in range(0, len(tokens), rows):  # a piece stays in the cache while all alphas pass over it
            here = slice(start, start + rows)
            whole = _Tokens(target[here], None, tokens[here], None)
            for i in numbers:
                if combinations[i].filter_rate == 0:
                    losses[i, here], hits[i, here] = whole.measure(difference[here], combinations[i])
