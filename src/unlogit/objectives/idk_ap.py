"""Refuse on the forget questions, and prefer the true answer over a refusal everywhere else.

Papers: IDK is the "preference optimisation" baseline of TOFU, arXiv 2401.06121; answer preservation (AP) is of Yuan et
al., ICLR 2025, arXiv 2410.08109.

    IDK: L = CE(refusal | x_f),  the mean over all tokens of the refusals
    AP:  L = −(1/β) · mean over rows of log σ(β · (NLL(refusal | x_r) − NLL(y_r | x_r)))

with NLL = −log π of a whole answer, summed over its tokens.

Where: IDK on ``refusal``; AP, its retain term, on ``retain`` and ``retain_refusal``. Neither needs a reference.

Limits: IDK teaches the refusal and lowers the true answer only in passing, so that the answer can be drawn out of it
by other means. AP keeps the order of the two, not the words: it stops caring once an answer is far likelier than its
refusal.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

from unlogit.objectives.sides import Sides, required, row_difference


def idk(sides: Sides) -> Tensor:
    """Return the cross-entropy of the refusals of the forget questions, in nats a token: at least 0.

    Raises:
        ValueError: ``refusal`` is missing.
    """
    return required(sides.refusal, "refusal").token_losses().mean()


def answer_preservation(sides: Sides, beta: float) -> Tensor:
    """Compute the retain term in nats an answer: above 0.

    Args:
        sides: retain and retain_refusal, row i beside row i.
        beta: β > 0, the inverse temperature (paper: 0.1).

    Raises:
        ValueError: a side is missing, or they have different numbers of rows.
    """
    answer = required(sides.retain, "retain").nll()  # [B]
    refusal = required(sides.retain_refusal, "retain_refusal").nll()  # [B]
    return -logsigmoid(beta * row_difference(refusal, answer)).mean() / beta
