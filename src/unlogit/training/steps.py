"""The steps of a training: its rows, encoded, and the order in which steps take them.

Several processes and accumulated batches share the rows of a step. Each of these pieces comes with its share of the
step's rows and tokens, by which its means count.

Shape legend: S sides.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unlogit.data.content_words import common_words
from unlogit.data.encode import Encoded, encode, has_thought
from unlogit.data.pieces import encode_pieces
from unlogit.errors import ConfigError, DataError
from unlogit.objectives.sides import SIDES
from unlogit.training.recipe import Pools, Recipe, Side
from unlogit.training.rows import NO_SIDE, Row
from unlogit.training.trainer import pieces_of


class Steps(Dataset[Any]):
    """The steps of a pass, dealt to ``pieces`` (processes × accumulated batches) so that each has rows of every side.

    An item is one piece: its rows, and their shares [S, 2] of the step's rows and tokens, times ``pieces``.
    """

    def __init__(self, rows_of: dict[str, list[Row]], per_step: dict[str, int], recipe: Recipe, options: Any) -> None:
        """Take the rows of each pool, and how many of them a step takes."""
        lengths = [[len(row.encoded.input_ids) for row in rows] for rows in rows_of.values()]
        self.order_of = partial(recipe.order, lengths, list(per_step.values()), options.seed)
        self.rows = [row for rows in rows_of.values() for row in rows]
        self.per_step, self.pieces = per_step, pieces_of(options)
        self.set_epoch(0)
        if self.pieces > 1:
            self._check_pieces()

    def set_epoch(self, epoch: int) -> None:
        """Called at the start of each pass, also when it resumes."""
        self.order = self.order_of(epoch)

    def __len__(self) -> int:
        return len(self.order) * self.pieces

    def __getitem__(self, number: int) -> tuple[list[Row], Tensor]:
        step, piece = divmod(number, self.pieces)
        rows = [self.rows[i] for i in self.order[step]]
        dealt = rows[piece :: self.pieces]
        return dealt, _counts(dealt) * self.pieces / _counts(rows).clamp(min=1)

    def referred(self, count: int) -> dict[str, dict[int, Encoded]]:
        """The rows that any of the first ``count`` steps will take, by side and number."""
        orders = map(self.order_of, range(math.ceil(count / len(self.order))))
        by_side: dict[str, dict[int, Encoded]] = {side: {} for side in SIDES}
        for i in {i for order in orders for step in order for i in step}:
            for row in self.rows[i].all():
                by_side[row.side][row.number] = row.encoded
        return by_side

    def _check_pieces(self) -> None:
        sides = [[self.rows[i].side for i in step] for step in self.order]
        sizes = sorted({len(step) for step in self.order})
        fewest = {side: min(step.count(side) for step in sides) for side in sorted({row.side for row in self.rows})}
        if len(sizes) > 1 or sizes[0] % self.pieces or min(fewest.values()) < self.pieces:
            shown = " or ".join(map(str, sizes))
            listed = " and ".join(f"{count} of the {side} side" for side, count in fewest.items())
            raise ConfigError(
                f"a step has {shown} rows, {listed}, for {self.pieces} processes or accumulated batches; expected a "
                "number that they can share evenly, the same in every step, with some of each side for each: change "
                "batch_size"
            )


def _counts(rows: Sequence[Row]) -> Tensor:
    """Rows and tokens of each side: [S, 2]."""
    all_rows = [row for example in rows for row in example.all()]
    token_sides = [side for row in all_rows for side in row.token_sides()[1:] if side != NO_SIDE]
    columns = [SIDES.index(row.side) for row in all_rows], token_sides
    counts = [torch.bincount(torch.tensor(sides, dtype=torch.long), minlength=len(SIDES)) for sides in columns]
    return torch.stack(counts, dim=1)


def make_steps(recipe: Recipe, tokenizer: Any, pools: Pools, options: Any, refusals: Sequence[str]) -> Steps:
    """Encode the rows of every side, pool after pool, and put them in order.

    Rows longer than ``max_tokens`` come in pieces. Where the chat template has thoughts, every question comes twice:
    its answer as an answer, and as what the model thinks before it.

    Raises:
        DataError: a side has no rows, or running text that is to be refused.
        ConfigError: there are no refusals and the loss needs some; or processes and accumulated batches cannot share a
            step.
    """
    rows_of: dict[str, list[Row]] = {}
    per_step: dict[str, int] = {}
    for side in recipe.sides:
        content_words_only = side.content_words and options.common_fraction
        common = common_words(pools["retain"], options.common_fraction) if content_words_only else None
        for name, (examples, per_step[name]) in side.draw(pools, options).items():
            if not examples:
                raise DataError(f"no {name} rows; expected some on the {side.name} side: run `unlogit prepare` again")
            rows: list[Row] = []
            for number, example in enumerate(examples):
                other = side.other(example, number, options.seed, refusals)
                for thinking in (False, True) if recipe.thinks and has_thought(example, tokenizer) else (False,):
                    pieces = encode_pieces(example, tokenizer, options.max_tokens, common, thinking=thinking)
                    partner = encode(other, tokenizer, options.max_tokens, thinking=thinking) if other else None
                    rows += _rows(side, pieces, partner, len(rows))
            rows_of[name] = rows
    return Steps(rows_of, per_step, recipe, options)


def _rows(side: Side, pieces: Sequence[Encoded], other: Encoded | None, first: int) -> list[Row]:
    """Return the pieces of an example as rows numbered from ``first`` on, each with the other answer, if any."""
    if side.with_questions:
        pieces = [replace(pieces[0], prompt_tokens=1), *pieces[1:]]
    return [
        Row(side.name, number, piece, Row(side.alternative, number, other) if other else None)
        for number, piece in enumerate(pieces, start=first)
    ]
