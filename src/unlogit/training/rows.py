"""Rows on their way into a step: each carries its side from the data to the loss.

A ``Row`` names its side; a batch holds the side of every row and token as a number (its place in ``SIDES``), and
``split_sides`` cuts what the model predicted by it. Also here: the order in which the rows of a step are dealt to
processes and accumulated pieces, and how many rows and tokens the whole step has, which a mean over it needs.

Shape legend: B rows, T tokens, N predicted tokens, S sides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from unlogit.data.batches import pad_rows
from unlogit.data.encode import IGNORED_LABEL, UNIFORM_LABEL, Encoded
from unlogit.errors import ConfigError
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
        """The side of each token, ``NO_SIDE`` where it carries no loss; words of the question are uniform."""
        side, uniform = SIDES.index(self.side), SIDES.index("uniform")
        return [NO_SIDE if x == IGNORED_LABEL else uniform if x == UNIFORM_LABEL else side for x in self.encoded.labels]


def collate(items: Sequence[tuple[Row, Tensor]]) -> dict[str, Tensor]:
    """Pad the rows of all sides together, side after side, so that each side's predictions lie in one piece.

    Args:
        items: rows, each with the counts [S, 2] of its whole step.

    Returns:
        ``input_ids``, ``attention_mask``, ``labels`` and ``token_sides`` [B, T], ``row_sides`` and ``numbers`` [B],
        and ``step_counts`` [S, 2]: rows and tokens of each side in the whole step.
    """
    rows = sorted((row for item, _ in items for row in item.all()), key=lambda row: SIDES.index(row.side))
    batch = pad_rows([row.encoded for row in rows])
    token_sides = torch.full_like(batch["labels"], NO_SIDE)  # [B, T]
    for i, row in enumerate(rows):
        token_sides[i, : len(row.encoded.input_ids)] = torch.tensor(row.token_sides())
    return {
        **batch,
        "token_sides": token_sides,
        "row_sides": torch.tensor([SIDES.index(row.side) for row in rows]),
        "numbers": torch.tensor([row.number for row in rows]),
        "step_counts": items[0][1],
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


class StepSampler(Protocol):
    """An order of rows whose every step is known beforehand."""

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of each pass, also when it resumes."""

    def step_rows(self) -> list[list[int]]:
        """The rows of each step of the present pass."""


class DealtSteps(Sampler[tuple[int, Tensor]]):
    """The rows of each step, dealt to ``pieces`` (processes × accumulated batches) so that each has every side.

    With one piece the order is the sampler's own.
    """

    def __init__(self, sampler: StepSampler, rows: Sequence[Row], pieces: int) -> None:
        self.sampler, self.rows, self.pieces = sampler, rows, pieces
        steps = sampler.step_rows()
        self.length = sum(map(len, steps))
        sizes = {len(step) for step in steps}
        fewest = min(sum(rows[i].side == "forget" for i in step) for step in steps)
        if pieces > 1 and (len(sizes) > 1 or any(size % pieces for size in sizes) or fewest < pieces):
            found = " or ".join(map(str, sorted(sizes)))
            raise ConfigError(
                f"a step has {found} rows, {fewest} of them to forget, for {pieces} processes or accumulated batches; "
                "expected a number that they can share evenly, the same in every step: change batch_size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Pass on the number of the pass."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        for step in self.sampler.step_rows():
            counts = self._counts(step)
            for piece in range(self.pieces):
                for i in step[piece :: self.pieces]:
                    yield i, counts

    def _counts(self, step: Sequence[int]) -> Tensor:
        """Rows and tokens of each side in a step: [S, 2]."""
        counts = torch.zeros(len(SIDES), 2, dtype=torch.long)
        for i in step:
            for row in self.rows[i].all():
                counts[SIDES.index(row.side), 0] += 1
                for side in row.token_sides()[1:]:
                    if side != NO_SIDE:
                        counts[side, 1] += 1
        return counts


class RowData(Dataset[Any]):
    """Rows with the counts of their step, as ``DealtSteps`` asks for them."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: tuple[int, Tensor]) -> tuple[Row, Tensor]:
        return self.rows[item[0]], item[1]
