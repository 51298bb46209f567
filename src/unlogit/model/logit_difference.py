"""The logit difference: the only place where the formula of the unlearned model stands.

Paper: Ji et al., "Reversing the Forget-Retain Objectives: An Efficient LLM Unlearning Framework from Logit
Difference", NeurIPS 2024, arXiv 2406.08607, equation 2:

    z_unlearned = z_target − alpha · d        on the tokens that the filter keeps, z_target on all others

where the filter keeps a token if its target probability is at least ``filter_rate`` times the likeliest token's (all
at 0), and the rule says what ``d`` is. With several branches ``d`` is the weighted sum of the branches' ``d``: a
positive weight forgets, a negative one protects. A branch that refuses has to say what the target would never say, and
so what the filter would not let through: such *additions* come first, on all tokens, and the sum is what is filtered:

    z_added = z_target − alpha · d of the additions        z_unlearned = z_added − alpha · d of the others, filtered

Scoring, generation, serving and export all call this function, so that they are one distribution. It reads and writes
nothing, and does no training.
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from unlogit.errors import ConfigError
from unlogit.settings.options import CombinationOptions, Rule


def centred(assistant_logits: Tensor) -> Tensor:
    """d = z − mean over the vocabulary: a constant added to z changes nothing, and a uniform assistant gives 0."""
    return assistant_logits - assistant_logits.mean(dim=-1, keepdim=True)


def paper(assistant_logits: Tensor) -> Tensor:
    """d = z, as in the paper. With a filter, a constant added to z changes the result."""
    return assistant_logits


def suppress(assistant_logits: Tensor) -> Tensor:
    """d = relu(log p + log V): lowers tokens that the assistant holds likelier than chance, raises none."""
    vocabulary = assistant_logits.shape[-1]
    return (assistant_logits.log_softmax(dim=-1) + math.log(vocabulary)).relu()


def rank(assistant_logits: Tensor) -> Tensor:
    """d = z − mean, of which only the ``RANKED`` largest of the weighted sum count, where they are above 0.

    After divergence decoding by rank, arXiv 2605.31293, which gives these tokens no probability at all: a large alpha
    comes near to that, and leaves losses finite.
    """
    return centred(assistant_logits)


RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "centred": centred,
    "paper": paper,
    "suppress": suppress,
    "tail": centred,  # and the kept tokens together keep the probability that the target gave them
    "rank": rank,
}
"""What each rule subtracts, by name."""

RANKED = 20
"""Tokens at each position that the rule ``rank`` lowers."""


def combine_logits(
    target_logits: Tensor,
    assistant_logits: Sequence[Tensor],
    weights: Sequence[float],
    *,
    rule: str,
    alpha: float,
    filter_rate: float,
    additions: Sequence[bool] = (),
) -> Tensor:
    """Return the logits of the unlearned model, computed in float32.

    Args:
        target_logits: [..., V].
        assistant_logits: one [..., V] for each branch.
        weights: one number for each branch; 1 for a single assistant.
        rule: one of ``RULES``. Under ``tail`` the tokens outside the filter keep their
            logits to the bit and their probabilities up to rounding; the kept ones share what they had together.
        alpha: weight of the difference; 0 gives the target's logits exactly.
        filter_rate: between 0 and 1, see above.
        additions: whether each branch is an addition, see above; none is where this is empty.

    Returns:
        Logits [..., V] in the target's type.

    Raises:
        ConfigError: see ``CombinationOptions``; or as many weights as branches not given.
    """
    combination = CombinationOptions(cast("Rule", rule), alpha, filter_rate)
    if len(weights) != len(assistant_logits):
        raise ConfigError(f"{len(weights)} weights for {len(assistant_logits)} branches; expected one for each")
    return combined(target_logits, assistant_logits, weights, combination, additions)


def combined(
    target_logits: Tensor,
    assistant_logits: Sequence[Tensor],
    weights: Sequence[float],
    combination: CombinationOptions,
    additions: Sequence[bool] = (),
) -> Tensor:
    """Return what ``combine_logits`` does, for a combination that was checked where it came in."""
    if combination.alpha == 0:
        return target_logits
    rule, alpha, filter_rate = combination.rule, combination.alpha, combination.filter_rate
    branches = list(zip(weights, assistant_logits, additions or [False] * len(weights), strict=True))
    logits = target_logits
    for is_addition, rate in ((True, 0.0), (False, filter_rate)):
        stage = [(weight, branch) for weight, branch, added in branches if added == is_addition]
        if stage:
            stage_weights, stage_logits = zip(*stage, strict=True)
            difference = weighted_difference(stage_logits, stage_weights, rule)
            logits = apply_difference(logits.float(), difference, rule=rule, alpha=alpha, filter_rate=rate)
    return logits.to(target_logits.dtype)


def weighted_difference(assistant_logits: Sequence[Tensor], weights: Sequence[float], rule: str) -> Tensor:
    """Return the ``d`` of the formula in float32: the first half of ``combine_logits``, alike for all alphas."""
    difference: Tensor | None = None
    for weight, logits in zip(weights, assistant_logits, strict=True):
        subtracted = RULES[rule](logits.float())
        weighted = subtracted if weight == 1 else weight * subtracted
        difference = weighted if difference is None else difference + weighted
    assert difference is not None  # a model without a branch is refused where it is built
    if rule == "rank":
        largest = difference.topk(min(RANKED, difference.shape[-1]), dim=-1)
        difference = torch.zeros_like(difference).scatter(-1, largest.indices, largest.values.relu())
    return difference


def apply_difference(
    target_logits: Tensor, difference: Tensor, *, rule: str, alpha: float, filter_rate: float
) -> Tensor:
    """Return the target's logits less alpha times the difference: the second half of ``combine_logits``.

    Both may be those of a part of the vocabulary [..., k] that holds the likeliest token and every token that the
    filter keeps: the result is then that of the whole vocabulary at these tokens.
    """
    if alpha == 0:
        return target_logits
    target = target_logits.float()
    logits = torch.sub(target, difference, alpha=alpha)
    if filter_rate > 0:
        mask = kept_tokens(target, filter_rate)
        if rule == "tail":
            nothing = torch.full_like(target, -math.inf)
            target_mass = torch.where(mask, target, nothing).logsumexp(dim=-1, keepdim=True)  # [..., V] → [..., 1]
            mass = torch.where(mask, logits, nothing).logsumexp(dim=-1, keepdim=True)  # [..., V] → [..., 1]
            logits = logits + (target_mass - mass)
        logits = torch.where(mask, logits, target)
    return logits.to(target_logits.dtype)


def kept_tokens(target_logits: Tensor, filter_rate: float) -> Tensor:
    """Return which tokens [..., V] a filter_rate above 0 keeps."""
    target = target_logits.float()
    return target >= target.amax(dim=-1, keepdim=True) + math.log(filter_rate)
