"""Gradient ascent: make the forget answers less likely, without end.

Papers: Jang et al., arXiv 2210.01504; the simplest baseline of TOFU, arXiv 2401.06121.

    L = −CE(y | x),  the mean over all answer tokens of the step

Where: the answer tokens of the forget side. Needs no reference and no other side.

Limits: unbounded below, so a model trained long enough collapses; nothing says what to keep, which is what a retain
term is added for (``retain``). A token that is already unlikely is pushed as hard as any other.
"""

from torch import Tensor

from unlogit.objectives.sides import Sides


def ga(sides: Sides) -> Tensor:
    """Return minus the cross-entropy of the forget answers, in nats a token: at most 0."""
    return -sides.forget.token_losses().mean()
