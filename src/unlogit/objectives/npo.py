"""Negative preference optimisation: gradient ascent that lets go of an answer once it has become unlikely.

Paper: Zhang et al., COLM 2024, arXiv 2404.05868.

    L = −(2/β) · mean over rows of log σ(−β · (log π(y | x) − log π_ref(y | x)))

with log π of the whole answer, summed over its tokens. The gradient is that of gradient ascent on the summed answer,
times a weight for each row, 2 π^β / (π^β + π_ref^β): 1 where the model is as the reference, towards 0 as it forgets.

Where: whole forget answers; needs ``forget.reference_nll``.

Limits: bounded below by 0, but still without a word on what to keep. With β → 0 it is gradient ascent. The sum makes
long answers count more than short ones, and the weight falls sooner for them; ``simnpo`` divides by the length.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

from unlogit.objectives.sides import Sides, log_ratio


def npo(sides: Sides, beta: float) -> Tensor:
    """Compute the objective in nats an answer: above 0, and (2/β) log 2 where the model is as the reference.

    Args:
        sides: forget, with its ``reference_nll``.
        beta: β > 0, the inverse temperature (paper: 0.1).

    Raises:
        ValueError: the reference is missing.
    """
    return -2 / beta * logsigmoid(-beta * log_ratio(sides.forget, "forget")).mean()
