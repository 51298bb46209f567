"""The steps of a training: its rows, encoded, and the order in which steps take them.

Several processes and accumulated batches share the rows of a step; each piece is told how many rows and tokens the
whole step has, which a mean over it needs.

Shape legend: S sides.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from unlogit.data.encode import Encoded, encode, has_thought
from unlogit.data.pieces import encode_pieces
from unlogit.errors import ConfigError, DataError
from unlogit.objectives.sides import SIDES
from unlogit.training.recipe import Pools, Recipe, Side
from unlogit.training.rows import NO_SIDE, Row


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
        sides = {row.side for row in rows}
        fewest = {side: min(sum(rows[i].side == side for i in step) for step in steps) for side in sides}
        if pieces > 1 and (len(sizes) > 1 or any(size % pieces for size in sizes) or min(fewest.values()) < pieces):
            shown = " or ".join(map(str, sorted(sizes)))
            listed = " and ".join(f"{count} of the {side} side" for side, count in sorted(fewest.items()))
            raise ConfigError(
                f"a step has {shown} rows, {listed}, for {pieces} processes or accumulated batches; expected a number "
                "that they can share evenly, the same in every step, with some of each side for each: change batch_size"
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


@dataclass(frozen=True)
class Steps:
    """The rows of a training, how many of each pool a step takes, and their order."""

    rows: list[Row]
    per_step: dict[str, int]
    order: DealtSteps

    @property
    def batch_rows(self) -> int:
        """Rows of a step in one process and one accumulated batch, without partners."""
        return max(1, sum(self.per_step.values()) // self.order.pieces)

    def referred(self, count: int) -> dict[str, dict[int, Encoded]]:
        """The rows that any of the first ``count`` steps will take, by side and number."""
        sampler, drawn = self.order.sampler, set[int]()
        for epoch in range(math.ceil(count / len(sampler.step_rows()))):
            sampler.set_epoch(epoch)
            drawn |= {i for step in sampler.step_rows() for i in step}
        sampler.set_epoch(0)
        by_side: dict[str, dict[int, Encoded]] = {side: {} for side in SIDES}
        for row in (row for i in drawn for row in self.rows[i].all()):
            by_side[row.side][row.number] = row.encoded
        return by_side


def make_steps(
    recipe: Recipe, tokenizer: Any, pools: Pools, options: Any, refusals: Sequence[str], pieces: int
) -> Steps:
    """Encode the rows of every side, pool after pool, and put them in order.

    Rows longer than ``max_tokens`` come in pieces. Where the chat template has thoughts, every question comes twice:
    its answer as an answer, and as what the model thinks before it.

    Raises:
        DataError: a side has no rows, or running text that is to be refused.
        ConfigError: there are no refusals and the loss needs some, or ``pieces`` cannot share a step.
    """
    by_pool: dict[str, list[Row]] = {}
    per_step: dict[str, int] = {}
    for side in recipe.sides:
        for name, (examples, count) in side.draw(pools, options).items():
            if not examples:
                raise DataError(f"no {name} rows; expected some on the {side.name} side: run `unlogit prepare` again")
            common = side.common_words(pools, options)
            rows: list[Row] = []
            by_pool[name] = rows
            per_step[name] = count
            for place, example in enumerate(examples):
                other = None
                if side.alternative is not None:
                    other = replace(example, answer=side.alternative.answer(example, place, options.seed, refusals))
                for thinking in (False, True) if recipe.thinks and has_thought(example, tokenizer) else (False,):
                    encoded = encode_pieces(example, tokenizer, options.max_tokens, common, thinking=thinking)
                    partner = None if other is None else encode(other, tokenizer, options.max_tokens, thinking=thinking)
                    rows += _rows(side, encoded, partner, len(rows))
    lengths = [[len(row.encoded.input_ids) for row in pool] for pool in by_pool.values()]
    sampler = recipe.sampler(lengths, list(per_step.values()), options.seed)
    rows = [row for pool in by_pool.values() for row in pool]
    return Steps(rows, per_step, DealtSteps(sampler, rows, pieces))


def _rows(side: Side, pieces: Sequence[Encoded], other: Encoded | None, first: int) -> list[Row]:
    """Return the pieces of an example as rows numbered from ``first`` on, each with what is preferred to it."""
    rows = []
    for number, piece in enumerate(pieces, start=first):
        with_question = side.with_questions and piece is pieces[0]
        partner = Row(side.alternative.side, number, other) if side.alternative and other else None
        rows.append(Row(side.name, number, replace(piece, prompt_tokens=1) if with_question else piece, partner))
    return rows
