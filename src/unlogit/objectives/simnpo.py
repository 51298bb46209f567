"""SimNPO: negative preference optimisation without a reference, by likelihood a token.

Paper: Fan et al., arXiv 2410.07163.

    L = −(2/β) · mean over rows of log σ(−(β/|y|) · log π(y | x) − γ)

with |y| the tokens of the answer. The gradient is that of gradient ascent on the row's mean cross-entropy, times
2 σ((β/|y|) log π + γ): from 2 σ(γ) for an answer of probability 1 towards 0 as it forgets.

Where: whole forget answers; needs no reference. The paper adds cross-entropy on retain rows (``retain.gd``), with the
forget side weighed down: TOFU forget05 β 2.5, weight 0.1375; forget10 β 4.5, weight 0.125; γ 0 in both.

Limits: a short answer counts as much as a long one. The margin γ stands outside of β here, as in the paper; the
authors' code computes β · (CE − γ), so that its γ is ours divided by β. At γ 0 they are one.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

from unlogit.objectives.sides import Sides


def simnpo(sides: Sides, beta: float, gamma: float) -> Tensor:
    """Compute the objective in nats a token: above 0.

    Args:
        sides: forget.
        beta: β > 0, the inverse temperature (paper: 2.5 and 4.5 on TOFU).
        gamma: γ ≥ 0, the margin: an answer must be less likely by so much before it is let go (paper: 0).
    """
    mean_losses = sides.forget.nll() / sides.forget.lengths()  # [B]
    return -2 / beta * logsigmoid(beta * mean_losses - gamma).mean()
