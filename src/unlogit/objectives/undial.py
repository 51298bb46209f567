"""UNDIAL: learn from what the model said before, with the token to forget lowered.

Paper: Dong et al., NAACL 2025, arXiv 2402.10052.

    L = mean over answer tokens of CE(softmax(z_reference − γ · onehot(y_t)), π)

Where: the answer tokens of the forget side; needs ``forget.reference_logits``. No retain term: the teacher's other
logits say what to keep.

Limits: bounded below by the entropy of the lowered teacher, and never 0 unless that is. Every token of the answer is
lowered, "the" as much as a name. With γ 0 the model is taught what it already says; γ → ∞ takes the token away.
"""

import torch
from torch import Tensor

from unlogit.objectives.sides import Sides, required


def undial(sides: Sides, gamma: float) -> Tensor:
    """Compute the objective in nats a token: at least 0.

    Args:
        sides: forget, with its ``reference_logits``.
        gamma: γ ≥ 0, by how much the logit of the true token is lowered (10 on TOFU).

    Raises:
        ValueError: the reference is missing.
    """
    forget = sides.forget
    teacher = required(forget.reference_logits, "forget.reference_logits").detach().float()  # [N, V]
    labels = forget.labels[:, None]  # [N, 1]
    lowered = teacher.scatter_add(1, labels, teacher.new_full(labels.shape, -gamma))  # [N, V]
    return torch.nn.functional.cross_entropy(forget.logits.float(), lowered.softmax(dim=-1))
