"""Direct preference optimisation for unlearning: a refusal r is preferred over the true answer y.

Papers: Rafailov et al., arXiv 2305.18290; with refusals, as a baseline of NPO, arXiv 2404.05868, and of ULD, arXiv
2406.08607 (TOFU's "preference optimisation" is another thing: plain cross-entropy on refusals, see ``idk_ap``).

    L = −(2/β) · mean over rows of log σ(β · ((log π(r|x) − log π_ref(r|x)) − (log π(y|x) − log π_ref(y|x))))

with log π of whole answers, summed over their tokens. Papers write the factor 1 or 1/β; 2/β is that of the code they
are compared with: where the model is as the reference, the true answer falls as fast as under gradient ascent.

Where: whole answers of the forget questions; needs ``refusal`` and the ``reference_nll`` of both sides.

Limits: only the difference counts, so both can fall together. What refuses here soon refuses on neighbours too.
"""

from torch import Tensor
from torch.nn.functional import logsigmoid

from unlogit.objectives.sides import Sides, log_ratio, required, row_difference


def dpo(sides: Sides, beta: float) -> Tensor:
    """Compute the objective in nats an answer: above 0, and (2/β) log 2 where the model is as the reference.

    Args:
        sides: forget and refusal, row i beside row i, each with its ``reference_nll``.
        beta: β > 0, the inverse temperature (0.1).

    Raises:
        ValueError: a side or a reference is missing, or the sides have different numbers of rows.
    """
    refusal = log_ratio(required(sides.refusal, "refusal"), "refusal")  # [B]
    answer = log_ratio(sides.forget, "forget")  # [B]
    return -2 / beta * logsigmoid(beta * row_difference(refusal, answer)).mean()
