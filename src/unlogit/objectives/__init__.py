"""Training objectives, one a file: paper, formula, pure function; and which of them is trained in which way."""

from typing import Literal

from unlogit.objectives.weights import OFFSET_OBJECTIVES, WEIGHT_OBJECTIVES

Kind = Literal["branches", "weights", "offset"]
"""``branches``: assistants beside a frozen target; ``weights``: the target's own are rewritten; ``offset``: a model
whose change is added to a frozen target's logits."""

OBJECTIVES: dict[str, Kind] = {
    **dict.fromkeys(("uld", "dual_uld", "divergence"), "branches"),
    **dict.fromkeys(WEIGHT_OBJECTIVES, "weights"),
    **dict.fromkeys(OFFSET_OBJECTIVES, "offset"),
}
"""The kind of every objective, by name."""
