"""What can be measured of memory where there is no retain model: the rank of a row among made-up ones.

The same answer is scored about somebody who exists and about many who do not. A model that never saw the row cannot
tell them apart but by what the name itself says. Exposure is Carlini et al.'s (The Secret Sharer, USENIX Security 2019,
section 4.2), with made-up people in the place of made-up secrets:

    exposure = log2(ghosts + 1) − log2(rank)        in bits, 0 to log2(ghosts + 1)

where rank 1 is the likeliest. The p-value is how often the ranks of all rows together would be as high by chance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_P = 0.05
"""Rows are over-suppressed where ranks as low as theirs have a p-value below this."""


@dataclass(frozen=True)
class Exposure:
    """How far rows stand out among their ghosts under one model."""

    bits: float
    """Mean over rows."""
    most_bits: float
    """What it is where every row is likelier than all of its ghosts."""
    p_value: float
    """One-sided: small where rows are likelier than their ghosts."""
    rows: int


def rank(loss: float, ghosts: Sequence[float]) -> int:
    """Return the place of a row among its ghosts, 1 for the likeliest; ghosts as likely stand behind it."""
    return 1 + sum(ghost < loss for ghost in ghosts)


def exposure(losses: Sequence[tuple[float, Sequence[float]]]) -> Exposure:
    """Return the exposure of rows.

    Args:
        losses: of each row its own loss and those of its ghosts (one at least), in nats a token.

    Raises:
        ValueError: there are no rows.
    """
    if not losses:
        raise ValueError("no losses; expected one row at least")
    ranks = [rank(loss, ghosts) for loss, ghosts in losses]
    counts = [len(ghosts) + 1 for _, ghosts in losses]
    bits = [math.log2(count / rank_) for rank_, count in zip(ranks, counts, strict=True)]
    most = [math.log2(count) for count in counts]
    return Exposure(sum(bits) / len(bits), sum(most) / len(most), rank_sum_p_value(ranks, counts), len(losses))


def rank_sum_p_value(ranks: Sequence[int], counts: Sequence[int]) -> float:
    """Return the exact probability of a sum of ranks as small as this, each uniform on 1 … its count."""
    distribution = np.ones(1)  # of the sum of (rank − 1)
    for count in counts:
        distribution = np.convolve(distribution, np.full(count, 1 / count))
    return float(min(1.0, distribution[: sum(ranks) - len(ranks) + 1].sum()))


def over_suppressed(losses: Sequence[tuple[float, Sequence[float]]]) -> bool:
    """Whether rows are less likely than their ghosts, by the ranks of all together, than chance would have."""
    if not losses:
        return False
    ranks_from_below = [1 + sum(ghost >= loss for ghost in ghosts) for loss, ghosts in losses]  # ties stand before it
    return rank_sum_p_value(ranks_from_below, [len(ghosts) + 1 for _, ghosts in losses]) < LEAST_P


def unknown_rows(losses: Sequence[tuple[float, Sequence[float]]]) -> list[int]:
    """Return the positions of rows that are no likelier than half of their ghosts: perhaps never seen by the model."""
    return [i for i, (loss, ghosts) in enumerate(losses) if rank(loss, ghosts) > (len(ghosts) + 1) / 2]
