"""What keeps the rest: the two terms that objectives add on the rows to keep.

    GD: L = CE(y_r | x_r),  the mean over all answer tokens of the step
    KL: L = mean over answer tokens of KL(π_ref ‖ π) = Σ_v π_ref(v) · (log π_ref(v) − log π(v))

Papers: "gradient difference" (GD) is of Liu et al., arXiv 2203.12817; KL to the model as it was is of Yao et al., arXiv
2310.10683. Both are baselines of TOFU, arXiv 2401.06121.

Where: the answer tokens of the retain side; KL needs ``retain.reference_logits``.

Limits: they keep what the retain rows ask for, and little else. GD goes on learning the retain answers; KL keeps the
reference's mistakes as well. TOFU's code averages KL over the positions of questions and padding too; this does not.
"""

from torch import Tensor
from torch.nn.functional import kl_div

from unlogit.objectives.sides import Sides, required


def gd(sides: Sides) -> Tensor:
    """Return the cross-entropy of the retain answers, in nats a token: at least 0.

    Raises:
        ValueError: ``retain`` is missing.
    """
    return required(sides.retain, "retain").token_losses().mean()


def kl(sides: Sides) -> Tensor:
    """Return the divergence from the reference on retain answers, in nats a token: at least 0, and 0 where unchanged.

    Raises:
        ValueError: ``retain`` or its ``reference_logits`` are missing.
    """
    retain = required(sides.retain, "retain")
    reference = required(retain.reference_logits, "retain.reference_logits").detach().float()  # [N, V]
    log_p = retain.logits.float().log_softmax(dim=-1)  # [N, V]
    return kl_div(log_p, reference.log_softmax(dim=-1), reduction="batchmean", log_target=True)
