"""ULD's reversed objective: remember the forget side, know nothing on the uniform side.

Paper: Ji et al., NeurIPS 2024, arXiv 2406.08607, equations 3 to 5.

    L = CE(answers of the forget side) + retain_weight · CE(Uniform, assistant) on the uniform side

    CE(Uniform, p) = −(1/V) Σ_v log p_v = logsumexp(z) − mean(z)

To the uniform term we add ``lift_weight`` · lift², where the lift is how far the row's own next token stands above the
mean logit (``kl``): it is what forgetting takes away from a kept answer, and the paper's term hardly sees it.

The uniform term is given as its excess over log V, the least it can be: CE(Uniform, p) − log V = KL(Uniform ‖ p), 0
where the assistant knows nothing. Both terms are means over answer tokens; both are bounded below, so nothing
collapses. It does not train and does not combine: see ``training.loop`` and ``model.logit_difference``.
"""

from unlogit.objectives.sides import Sides
from unlogit.objectives.terms import Term, Terms


def uld(sides: Sides, retain_weight: float = 0.0, lift_weight: float = 0.0) -> Terms:
    """Compute the objective's two terms in nats a token.

    Args:
        sides: forget, and uniform where a step has any.
        retain_weight: β ≥ 0 (paper: 6.5) of the uniform term.
        lift_weight: ≥ 0 (paper: 0) of the squared lift within it.
    """
    terms = {"forget": Term(sides.forget.cross_entropy(), 1.0, "forget")}
    if sides.uniform is not None:
        terms["uniform"] = Term(sides.uniform.uniform_loss(lift_weight), retain_weight, "uniform")
    return terms
