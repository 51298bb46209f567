"""What an objective returns: its terms, each a mean with its weight and what it is a mean over.

The loop needs to know what a mean was taken over: where a step is split between processes or accumulated in pieces, a
piece's mean counts by its share of the step's tokens or rows, so that the sum is the mean over the whole step.
"""

from typing import Literal, NamedTuple

from torch import Tensor


class Term(NamedTuple):
    """One term of an objective, in nats."""

    mean: Tensor
    """Mean over the items of ``side``; unweighted, a scalar."""
    weight: float
    side: str
    """The side that it is a mean over, see ``sides``."""
    per: Literal["token", "row"] = "token"


Terms = dict[str, Term]
"""The terms of an objective by the name that the log gives them."""
