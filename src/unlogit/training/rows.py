"""Rows on their way into a step: each carries its side from the data to the loss.

A ``Row`` names its side; a batch holds the side of every row and token as a number (its place in ``SIDES``), and
``split_sides`` cuts what the model predicted by it.

Shape legend: B rows, T tokens, N predicted tokens, S sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlogit.data.batches import pad_rows
from unlogit.data.encode import Encoded
from unlogit.objectives.head import FrozenHead
from unlogit.objectives.sides import SIDES, Answers, Sides
from unlogit.training.reference import Reference

NO_SIDE = -1
"""Stands for the side of a token that carries no loss."""


@dataclass(frozen=True)
class Row:
    """One row of a side."""

    side: str
    number: int
    """Its place in its pool, by which reference values are found."""
    encoded: Encoded
    partner: "Row | None" = None
    """The refusal to the same question, which goes wherever this row goes."""

    def all(self) -> "tuple[Row, ...]":
        """The row, and its partner where there is one."""
        return (self,) if self.partner is None else (self, self.partner)

    def token_sides(self) -> list[int]:
        """The side of each token as its place in ``SIDES``, ``NO_SIDE`` where it carries no loss."""
        encoded = self.encoded
        if encoded.token_sides is not None:
            return [NO_SIDE if name is None else SIDES.index(name) for name in encoded.token_sides]
        return [NO_SIDE] * encoded.prompt_tokens + [SIDES.index(self.side)] * encoded.answer_tokens


def collate(items: Sequence[tuple[Sequence[Row], Tensor]]) -> dict[str, Tensor]:
    """Pad the rows of all sides together, side after side, so that each side's predictions lie in one piece.

    Args:
        items: one item of ``Steps``: rows, and their shares [S, 2] of the step.

    Returns:
        ``input_ids``, ``attention_mask`` and ``token_sides`` [B, T], ``row_sides`` and ``numbers`` [B], and ``shares``.
    """
    ((examples, shares),) = items
    rows = sorted((row for example in examples for row in example.all()), key=lambda row: SIDES.index(row.side))
    batch = pad_rows([row.encoded for row in rows])
    token_sides = torch.full_like(batch["input_ids"], NO_SIDE)  # [B, T]
    for i, row in enumerate(rows):
        token_sides[i, : len(row.encoded.input_ids)] = torch.tensor(row.token_sides())
    return {
        "input_ids": batch["input_ids"],
        "attention_mask": batch["attention_mask"],
        "token_sides": token_sides,
        "row_sides": torch.tensor([SIDES.index(row.side) for row in rows]),
        "numbers": torch.tensor([row.number for row in rows]),
        "shares": shares,
    }


def predicting_positions(token_sides: Tensor) -> Tensor:
    """Return [B, T], True at the positions that predict a token that carries loss."""
    return torch.nn.functional.pad(token_sides[:, 1:] != NO_SIDE, (0, 1))


def split_sides(outputs: Tensor, batch: dict[str, Tensor], head: FrozenHead | None, reference: Reference) -> Sides:
    """Cut what was predicted at ``predicting_positions`` [N, ·] into the sides of a batch."""
    token_sides = batch["token_sides"][:, 1:]  # [B, T − 1], of what each position predicts
    counted = token_sides != NO_SIDE
    sides, labels = token_sides[counted], batch["input_ids"][:, 1:][counted]  # [N]
    row_of = counted.nonzero()[:, 0]  # [N]
    answers = {}
    for side in torch.unique(sides).tolist():
        positions = (sides == side).nonzero()[:, 0]
        first, last = int(positions[0]), int(positions[-1]) + 1
        adjacent = last - first == len(positions)  # then a slice: the largest tensor is not copied
        numbers = batch["numbers"][batch["row_sides"] == side].tolist()
        name = SIDES[side]
        nll = reference.nll_of(name, numbers)
        answers[name] = Answers(
            outputs[first:last] if adjacent else outputs[positions],
            labels[positions],
            torch.unique(row_of[positions], return_inverse=True)[1],
            reference.logits_of(name, numbers, outputs.device),
            None if nll is None else nll.to(outputs.device),
            head,
        )
    return Sides(**answers)
