"""Loss and greedy hit of many combinations at the same answer positions; what they share is computed once.

* A rule's difference is the same for every alpha and filter_rate, and without a filter ``tail`` is ``centred``.
* A filter leaves most tokens as the target has them. A combination with a filter is therefore applied to the tokens
  that the filter keeps, with the true token and the likeliest of those left out; the rest of the vocabulary enters the
  softmax as one number, its logsumexp under the target. The tokens are looked for once, with the smallest filter_rate,
  and stand in order, so that those of a larger one are the first of them. How many are kept differs much between
  positions (on TOFU, at a filter_rate of 0.001, 17 of 4,096 in the middle and 1,700 at most): they are taken in groups
  of like numbers.

The formula itself stands in ``logit_difference``, whose two halves are called here. The results are those of
``combine_logits`` on the whole vocabulary, up to rounding.

Shapes: C combinations, n answer positions, V vocabulary, k tokens of it.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unlogit.model.logit_difference import RULES, apply_difference, kept_tokens, weighted_difference
from unlogit.settings.options import CombinationOptions

CHUNK_LOGITS = 2**24
"""Numbers of the logits whose differences are held at once (64 MiB in float32)."""

CACHED_LOGITS = 2**18
"""Numbers of a piece of that on a CPU, which its cache can hold: a softmax is up to three times faster there."""

SURE_NATS = 0.69
"""A token with a smaller loss has more than half of the probability: none other is as likely."""

FEWEST_TOKENS = 32
"""Positions where a filter keeps fewer tokens are taken together."""


@dataclass(frozen=True)
class _Candidates:
    """Some positions, and those tokens of the vocabulary that are combined there."""

    rows: Tensor | slice  # which n of the chunk's positions
    ids: Tensor | None  # [n, k] tokens; None: the whole vocabulary in its order, k = V
    target: Tensor  # [n, k] the target's logits of them, in float32; −inf where a position has fewer
    true_index: Tensor  # [n] where the true token stands among the k
    rest: Tensor | None  # [n, 1] logsumexp of the target's logits of all other tokens; None: there are none

    def of(self, difference: Tensor) -> Tensor:
        """A chunk's difference at these positions and tokens, [n, k]."""
        return difference[self.rows] if self.ids is None else _logits_of(difference, self.rows, self.ids)

    def for_filter(self, filter_rate: float) -> "_Candidates":
        """The first of the tokens, up to the likeliest one that this filter leaves out at every position."""
        if self.ids is None or self.rest is None:
            return self
        kept_counts = kept_tokens(self.target, filter_rate)[:, 1:].sum(-1)  # [n], beside the true token
        size = min(2 + int(kept_counts.max()), self.target.shape[-1])
        rest = torch.cat([self.target[:, size:], self.rest], dim=-1).logsumexp(-1, keepdim=True)  # [n, 1]
        return _Candidates(self.rows, self.ids[:, :size], self.target[:, :size], self.true_index, rest)

    def measure(self, difference: Tensor, combination: CombinationOptions, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Loss and hit [n] under a combination that is rounded to ``dtype``, given what ``of`` returns."""
        combined = apply_difference(
            self.target,
            difference,
            rule=combination.rule,
            alpha=combination.alpha,
            filter_rate=combination.filter_rate,
        )
        if dtype != torch.float32:
            combined = combined.copy_(combined.to(dtype))  # in place: new memory would take longer than rounding
        logits = combined if self.rest is None else torch.cat([combined, self.rest], dim=-1)  # [n, k + 1]
        losses = cross_entropy(logits, self.true_index, reduction="none")
        return losses, likeliest_is(combined, self.true_index, losses, self.ids)


def likeliest_is(logits: Tensor, true_index: Tensor, losses: Tensor, ids: Tensor | None = None) -> Tensor:
    """Return whether ``argmax`` of logits [n, k] is ``true_index`` [n], in a third of the time where k is large.

    Looking for the largest value is fast and where it stands is not, which matters only where there are several of it:
    none of them has more than half of the probability, as ``losses`` [n], of ``true_index``, tell. Of those the first
    counts, or with ``ids`` [n, k] the one whose id is smallest.
    """
    largest = logits.amax(-1, keepdim=True)  # [n, 1]
    hits = (logits.gather(-1, true_index[:, None]) == largest)[:, 0]  # [n]
    unsure = (hits & ~(losses < SURE_NATS)).nonzero()[:, 0]  # [unsure]
    if len(unsure):
        token_order = torch.arange(logits.shape[-1], device=logits.device) if ids is None else ids[unsure]
        first = torch.where(logits[unsure] == largest[unsure], token_order, torch.iinfo(torch.long).max).amin(-1)
        true = true_index[unsure] if ids is None else token_order.gather(-1, true_index[unsure, None])[:, 0]  # [unsure]
        hits[unsure] = first == true
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
    losses = torch.empty(len(combinations), len(tokens), device=target.device)  # [C, n]
    hits = torch.empty(len(combinations), len(tokens), dtype=torch.bool, device=target.device)  # [C, n]
    chunk_size = max(1, CHUNK_LOGITS // target.shape[-1])
    for start in range(0, len(tokens), chunk_size):
        rows = slice(start, start + chunk_size)
        branches = [logits[rows] for logits in assistants]  # each [chunk, V]
        _measure_chunk(target[rows], branches, weights, tokens[rows], combinations, losses[:, rows], hits[:, rows])
    return losses, hits


def _measure_chunk(
    target: Tensor,
    branches: Sequence[Tensor],
    weights: Sequence[float],
    tokens: Tensor,
    combinations: Sequence[CombinationOptions],
    losses: Tensor,
    hits: Tensor,
) -> None:
    """Write losses and hits [C, chunk] of every combination at the positions of one chunk."""
    rates = sorted({combination.filter_rate for combination in combinations} - {0.0})
    groups = list(_filtered_candidates(target, tokens, rates[0])) if rates else []
    filtered = [(group, {rate: group.for_filter(rate) for rate in rates}) for group in groups]
    for rule_function in dict.fromkeys(RULES[combination.rule] for combination in combinations):
        same_rule = {i: option for i, option in enumerate(combinations) if RULES[option.rule] is rule_function}
        difference = weighted_difference(branches, weights, next(iter(same_rule.values())).rule)  # [chunk, V]
        unfiltered: Iterable[tuple[_Candidates, dict[float, _Candidates]]] = ()
        if any(combination.filter_rate == 0 for combination in same_rule.values()):
            unfiltered = ((candidates, {0.0: candidates}) for candidates in _all_candidates(target, tokens))
        for candidates, by_rate in chain(filtered, unfiltered):
            candidate_difference = candidates.of(difference)  # [n, k]
            for rate, remaining in by_rate.items():
                same_rate = {i: option for i, option in same_rule.items() if option.filter_rate == rate}
                remaining_difference = candidate_difference[:, : remaining.target.shape[-1]]
                _measure(remaining, remaining_difference, same_rate, target.dtype, losses, hits)


def _measure(
    candidates: _Candidates,
    difference: Tensor,
    combinations: Mapping[int, CombinationOptions],
    dtype: torch.dtype,
    losses: Tensor,
    hits: Tensor,
) -> None:
    """Write losses and hits [C, chunk] of combinations, by number, that have this difference and one filter_rate."""
    by_alpha: dict[float, tuple[Tensor, Tensor]] = {}
    for i, combination in combinations.items():
        # Without a filter two rules with one difference are the same.
        measured = by_alpha.get(combination.alpha) if combination.filter_rate == 0 else None
        by_alpha[combination.alpha] = measured = measured or candidates.measure(difference, combination, dtype)
        losses[i, candidates.rows], hits[i, candidates.rows] = measured


def _all_candidates(target: Tensor, tokens: Tensor) -> Iterator[_Candidates]:
    """Take the whole vocabulary, a few positions at once."""
    for rows in _pieces(target):
        yield _Candidates(rows, None, target[rows].float(), tokens[rows], None)


def _pieces(target: Tensor) -> list[slice]:
    """Positions that are taken at once where the whole vocabulary is."""
    rows = max(1, CACHED_LOGITS // target.shape[-1]) if target.device.type == "cpu" else len(target)
    return [slice(start, start + rows) for start in range(0, len(target), rows)]


def _filtered_candidates(target: Tensor, tokens: Tensor, filter_rate: float) -> Iterator[_Candidates]:
    """Group positions by how many tokens the filter keeps there."""
    pieces = [_tokens_to_combine(target[rows].float(), tokens[rows, None], filter_rate) for rows in _pieces(target)]
    # The listed tokens of all positions; how many each position has, [chunk]; and [chunk, 1].
    ids, counts, rest = (torch.cat(tensors) for tensors in zip(*pieces, strict=True))
    starts = counts.cumsum(0) - counts  # [chunk]
    sizes = (counts / FEWEST_TOKENS).log2().ceil().clamp(min=0)  # of like numbers: up to twice as many
    for size in sorted(set(sizes.tolist())):
        rows = (sizes == size).nonzero()[:, 0]  # [n]
        columns = torch.arange(int(counts[rows].max()), device=target.device)  # [k]
        exists = columns < counts[rows, None]  # [n, k]
        row_ids = ids[torch.where(exists, starts[rows, None] + columns, 0)]  # [n, k]
        logits = _logits_of(target, rows, row_ids).float().masked_fill(~exists, -math.inf)  # [n, k]
        logits, order = logits.sort(dim=-1, descending=True, stable=True)  # of equals the first id stays first
        true = tokens[rows, None]  # [n, 1]
        yield _Candidates(
            rows,
            torch.cat([true, row_ids.gather(-1, order)], dim=-1),  # [n, 1 + k]
            torch.cat([_logits_of(target, rows, true).float(), logits], dim=-1),  # [n, 1 + k]
            torch.zeros_like(rows),
            rest[rows],
        )


def _tokens_to_combine(logits: Tensor, true: Tensor, filter_rate: float) -> tuple[Tensor, Tensor, Tensor]:
    """Find what the filter keeps beside the true token, and the likeliest of the others.

    Returns:
        Their ids, position after position; how many there are at each [n]; and the logsumexp of all others [n, 1].
    """
    combined = kept_tokens(logits, filter_rate).scatter_(-1, true, True)  # [n, V] bool
    left_out = logits.masked_fill(combined, -math.inf)  # [n, V]
    likeliest = (~(left_out < left_out.amax(-1, keepdim=True))).nonzero()  # of logits that are no numbers, any
    first = torch.searchsorted(likeliest[:, 0].contiguous(), torch.arange(len(logits), device=logits.device))
    outside = likeliest[first, 1:]  # [n, 1]; where there are no others, any
    left_out.scatter_(-1, outside, -math.inf)  # [n, V]
    listed = combined.scatter_(-1, outside, True).scatter_(-1, true, False)  # [n, V]
    return listed.nonzero()[:, 1], listed.sum(-1), left_out.logsumexp(-1, keepdim=True)


def _logits_of(values: Tensor, rows: Tensor | slice, ids: Tensor) -> Tensor:
    """Return values [chunk, V] at positions [n] and tokens [n, k], without a copy of the others."""
    assert isinstance(rows, Tensor)  # a slice comes with the whole vocabulary, and so without ids
    return values.reshape(-1)[rows[:, None] * values.shape[-1] + ids]  # [n, k]
