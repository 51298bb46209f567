"""Batches with little padding: rows of like length together, padded to the longest of their batch only."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unlogit.data.encode import Encoded

LENGTH_POOL_BATCHES = 8
"""Rows are shuffled, then sorted by length within pools of this many batches: random enough, little padding."""


def pad_rows(rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """Right-pad rows to the longest.

    Returns:
        ``input_ids`` and ``attention_mask``, each [B, T]; the padding's id is 0, masked out.
    """
    longest = max(len(row.input_ids) for row in rows)
    input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        n = len(row.input_ids)
        input_ids[i, :n] = torch.tensor(row.input_ids)
        mask[i, :n] = 1
    return {"input_ids": input_ids, "attention_mask": mask}


def answer_positions(rows: Sequence[Encoded]) -> Tensor:
    """Return [B, T] of padded rows, True at the positions that predict a token of the answer."""
    keep = torch.zeros(len(rows), max(len(row.input_ids) for row in rows), dtype=torch.bool)
    for i, row in enumerate(rows):
        keep[i, row.prompt_tokens - 1 : len(row.input_ids) - 1] = True
    return keep


def pooled_batches(
    order: Sequence[int], lengths: Sequence[int], batch_size: int, generator: torch.Generator
) -> list[list[int]]:
    """Cut a shuffled order into batches of like length; the batches' order is shuffled within each pool."""
    batches: list[list[int]] = []
    pool_rows = batch_size * LENGTH_POOL_BATCHES
    for begin in range(0, len(order), pool_rows):
        pool = sorted(order[begin : begin + pool_rows], key=lambda i: lengths[i])
        cut = [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
        batches += [cut[i] for i in torch.randperm(len(cut), generator=generator).tolist()]
    return batches


Order = Callable[[Sequence[Sequence[int]], Sequence[int], int, int], list[list[int]]]
"""(lengths of the rows of each pool, rows of each pool in a step, seed, number of the pass) → the rows of each step.

Pools stand in one data set, one after the other; rows that a step takes from one pool are of like length.
"""


def length_sorted_steps(
    lengths: Sequence[Sequence[int]], counts: Sequence[int], seed: int, epoch: int
) -> list[list[int]]:
    """Return the rows of each step of a pass over a single pool, which takes each once; the last may be short."""
    (row_lengths,), (batch_size,) = lengths, counts
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(row_lengths), generator=generator).tolist()
    batches = pooled_batches(order, row_lengths, batch_size, generator)
    return sorted(batches, key=lambda batch: len(batch) < batch_size)


def stream(size: int, begin: int, count: int, seed: int) -> list[int]:
    """Return ``count`` indices from position ``begin`` of an endless row of permutations of ``range(size)``.

    A pass that takes fewer rows than there are goes on where the last one stopped: every row comes equally often.
    """
    indices: list[int] = []
    turn, offset = divmod(begin, size)
    while len(indices) < count:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + turn)
        indices += torch.randperm(size, generator=generator).tolist()[offset:]
        turn, offset = turn + 1, 0
    return indices[:count]


def two_sided_steps(lengths: Sequence[Sequence[int]], counts: Sequence[int], seed: int, epoch: int) -> list[list[int]]:
    """Return the rows of each step of a pass, which is one over the first pool."""
    step_count = -(-len(lengths[0]) // counts[0])
    steps: list[list[int]] = [[] for _ in range(step_count)]
    start = 0
    for pool, (row_lengths, count) in enumerate(zip(lengths, counts, strict=True)):
        rows = stream(len(row_lengths), epoch * step_count * count, step_count * count, seed * 31 + pool)
        for group in range(0, step_count, LENGTH_POOL_BATCHES):
            size = min(LENGTH_POOL_BATCHES, step_count - group)
            pooled = sorted(rows[group * count : (group + size) * count], key=lambda i: row_lengths[i])
            for k in range(size):
                steps[group + k] += [start + i for i in pooled[k * count : (k + 1) * count]]
        start += len(row_lengths)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return [steps[k] for k in torch.randperm(step_count, generator=generator).tolist()]
