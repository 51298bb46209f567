"""The input of an unlearning objective: the model's predictions on each side of one training step.

Shape legend: B rows of a side, N predicted tokens of all of them together, V vocabulary.
"""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from unlogit.objectives.head import FrozenHead
from unlogit.objectives.kl import lift, uniform_kl

T = TypeVar("T")


SIDES = ("forget", "refusal", "uniform", "retain", "retain_refusal")
"""Every side that a step can have, in the order of its rows."""


@dataclass(frozen=True)
class Answers:
    """Predictions on the rows of one side: hidden states and the frozen head that reads them, or logits.

    The reference is the model as it was before it was trained.
    """

    outputs: Tensor
    """[N, H] hidden states where there is a ``head``, else [N, V] logits; row after row."""
    labels: Tensor
    """[N], the tokens that should follow."""
    rows: Tensor
    """[N], the index (0 to B − 1) of each position's row; every row has at least one position."""
    reference_logits: Tensor | None = None
    """[N, V]; None where the objective does not need them."""
    reference_nll: Tensor | None = None
    """[B], −log of the reference's probability of each whole answer, where the objective asks for it."""
    head: FrozenHead | None = None
    """Computes losses in chunks, so that the logits of a side are never held."""

    @property
    def logits(self) -> Tensor:
        """[N, V]."""
        return self.outputs if self.head is None else self.head.logits(self.outputs)

    def cross_entropy(self) -> Tensor:
        """Mean cross-entropy over all tokens in nats, a scalar."""
        return self.token_losses().mean() if self.head is None else self.head.cross_entropy(self.outputs, self.labels)

    def uniform_loss(self, lift_weight: float = 0.0) -> Tensor:
        """Mean over all positions of KL(Uniform ‖ model) + ``lift_weight`` · lift², in nats, a scalar; see ``kl``."""
        if self.head is not None:
            return self.head.uniform_loss(self.outputs, self.labels, lift_weight)
        return (uniform_kl(self.outputs) + lift_weight * lift(self.outputs, self.labels).square()).mean()

    def token_losses(self) -> Tensor:
        """Return the cross-entropy of each token in nats: [N], in float32."""
        return torch.nn.functional.cross_entropy(self.logits.float(), self.labels, reduction="none")

    def lengths(self) -> Tensor:
        """Return the number of tokens in each row: [B]."""
        return torch.bincount(self.rows)

    def nll(self) -> Tensor:
        """Return −log of the model's probability of each answer, summed over its tokens, in nats: [B]."""
        losses = self.token_losses()
        return losses.new_zeros(len(self.lengths())).index_add(0, self.rows, losses)  # [N] → [B]


@dataclass(frozen=True)
class Sides:
    """The sides of one training step; a side that the objective does not need is None."""

    forget: Answers
    """The rows to forget (to ULD's assistant: to remember), with their true answers."""
    refusal: Answers | None = None
    """The same questions, answered by a refusal ("I don't know."); row i belongs to row i of ``forget``."""
    uniform: Answers | None = None
    """What ULD's assistant must know nothing about: retain and neutral rows, wrong answers."""
    retain: Answers | None = None
    """Rows to keep, with their true answers."""
    retain_refusal: Answers | None = None
    """The retain questions answered by a refusal; row i answers the question of ``retain`` row i."""


def required(value: T | None, name: str) -> T:
    """Return a value that the objective needs, as in ``required(sides.retain, "retain")``.

    Raises:
        ValueError: it is None: a bug in the caller, since ``Objective.needs`` lists what an objective needs.
    """
    if value is None:
        raise ValueError(f"the objective needs {name}, which this step lacks; expected it beside the other sides")
    return value


def row_difference(first: Tensor, second: Tensor) -> Tensor:
    """Return ``first − second``, row by row: [B].

    Raises:
        ValueError: they have different numbers of rows, of which torch would silently broadcast a single one.
    """
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} rows beside {len(second)}; expected as many, each belonging to its neighbour")
    return first - second


def log_ratio(answers: Answers, name: str) -> Tensor:
    """Return log π(y | x) − log π_ref(y | x) of each answer: [B]; no gradient flows to the reference.

    Raises:
        ValueError: ``answers``, called ``name`` in the message, has no ``reference_nll``.
    """
    return row_difference(required(answers.reference_nll, f"{name}.reference_nll").detach().float(), answers.nll())
