"""Batches with little padding: rows of like length together, padded to the longest of their batch only."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler

from unlogit.data.encode import IGNORED_LABEL, Encoded

LENGTH_POOL_BATCHES = 8
"""Rows are shuffled, then sorted by length within pools of this many batches: random enough, little padding."""


def pad_rows(rows: Sequence[Encoded]) -> dict[str, Tensor]:
    """Right-pad rows to the longest.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels``, each [B, T]; the padding's id is 0, masked out.
    """
    longest = max(len(row.input_ids) for row in rows)
    input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED_LABEL)
    for i, row in enumerate(rows):
        n = len(row.input_ids)
        input_ids[i, :n] = torch.tensor(row.input_ids)
        mask[i, :n] = 1
        labels[i, :n] = torch.tensor(row.labels)
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels}


def predicted(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find what is predicted where.

    Args:
        labels: [B, T], not shifted.

    Returns:
        The N labels that carry loss, row by row [N]; how many of them each row has [B];
        and ``keep`` [B, T], True at the positions that predict them.
    """
    next_labels = labels[:, 1:]  # [B, T-1], what each position predicts
    counted = next_labels != IGNORED_LABEL  # [B, T-1]
    return next_labels[counted], counted.sum(dim=1), torch.nn.functional.pad(counted, (0, 1))  # [N], [B], [B, T]


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


class LengthSortedSampler(Sampler[int]):
    """The rows of one pool, each once a pass: every ``counts[0]`` neighbours are of like length."""

    def __init__(self, lengths: Sequence[Sequence[int]], counts: Sequence[int], seed: int) -> None:
        (self.lengths,), (self.batch_size,) = lengths, counts
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each pass, also when it resumes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return (i for step in self.step_rows() for i in step)

    def step_rows(self) -> list[list[int]]:
        """The rows of each step of the present pass."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        batches = pooled_batches(order, self.lengths, self.batch_size, generator)
        batches.sort(key=lambda batch: len(batch) < self.batch_size)  # a short batch comes last: others stay aligned
        return batches


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


class TwoSidedSampler(Sampler[int]):
    """Rows of several pools, which stand in one data set one after the other; a pass is one over the first.

    Each step takes ``counts[i]`` rows of pool i, of like length.
    """

    def __init__(self, lengths: Sequence[Sequence[int]], counts: Sequence[int], seed: int) -> None:
        self.lengths, self.counts, self.seed, self.epoch = lengths, counts, seed, 0
        self.starts = [sum(len(pool) for pool in lengths[:i]) for i in range(len(lengths))]
        self.steps = -(-len(lengths[0]) // counts[0])

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer at the start of each pass, also when it resumes."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * sum(self.counts)

    def __iter__(self) -> Iterator[int]:
        return (i for step in self.step_rows() for i in step)

    def step_rows(self) -> list[list[int]]:
        """The rows of each step of the present pass."""
        steps: list[list[int]] = [[] for _ in range(self.steps)]
        for pool, (lengths, count, start) in enumerate(zip(self.lengths, self.counts, self.starts, strict=True)):
            rows = stream(len(lengths), self.epoch * self.steps * count, self.steps * count, self.seed * 31 + pool)
            for group in range(0, self.steps, LENGTH_POOL_BATCHES):
                size = min(LENGTH_POOL_BATCHES, self.steps - group)
                pooled = sorted(rows[group * count : (group + size) * count], key=lambda i: lengths[i])
                for k in range(size):
                    steps[group + k] += [start + i for i in pooled[k * count : (k + 1) * count]]
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.steps, generator=generator).tolist()
        return [steps[k] for k in order]
