"""Sides of a step for tests of the objectives: by the odds of each label, or by chance."""

import math
from collections.abc import Sequence

import torch

from unlogit.objectives.sides import Answers, Sides


def odds(*rows: Sequence[float], reference_nll: Sequence[float] | None = None) -> Answers:
    """A side of two-token vocabulary: each row's tokens by the odds of the label (3 is a probability of 3/4)."""
    values = [value for row in rows for value in row]
    return Answers(
        outputs=torch.tensor([[math.log(value), 0.0] for value in values]),
        labels=torch.zeros(len(values), dtype=torch.long),
        rows=torch.tensor([number for number, row in enumerate(rows) for _ in row]),
        reference_nll=None if reference_nll is None else torch.tensor(reference_nll),
    )


def made_up(seed: int, lengths: Sequence[int] = (3, 1, 2), vocabulary: int = 4) -> Answers:
    """A side with everything, by chance; gradients are asked for everywhere, to see that references take none."""
    generator = torch.Generator().manual_seed(seed)
    tokens = sum(lengths)
    return Answers(
        outputs=(torch.randn(tokens, vocabulary, generator=generator) * 2).requires_grad_(),
        labels=torch.randint(vocabulary, (tokens,), generator=generator),
        rows=torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)),
        reference_logits=(torch.randn(tokens, vocabulary, generator=generator) * 2).requires_grad_(),
        reference_nll=(torch.rand(len(lengths), generator=generator) * 5).requires_grad_(),
    )


def everything(seed: int = 0) -> Sides:
    """All sides; the retain side has two rows and the forget side three."""
    return Sides(
        made_up(seed),
        refusal=made_up(seed + 1, (1, 2, 2)),
        retain=made_up(seed + 2, (2, 3)),
        retain_refusal=made_up(seed + 3, (1, 1)),
    )
