"""Answers drawn from a model's own distribution, at temperature 1 and top_p 1, and what they are graded by."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from unlogit.data.examples import Example
from unlogit.data.secrets import secrets_of
from unlogit.evaluate.scoring.batching import Progress
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.evaluate.scoring.prompt_format import PLAIN, PromptFormat
from unlogit.evaluate.scoring.score import Score

SEED = 0
"""Of the draws; torch's own generator is afterwards as it was."""

COMMON_FRACTION = 0.03
"""A word in this share of the answers that stay is no secret by itself ("NL" in account numbers)."""


def sample_answers(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    count: int,
    *,
    batch_size: int,
    max_new_tokens: int,
    progress: Progress | None = None,
    prompt_format: PromptFormat = PLAIN,
) -> list[tuple[str, ...]]:
    """Return ``count`` answers to each row, the same ones whenever the model, rows and batches are the same."""

    def drawing(_: str, done: int, total: int) -> None:
        if progress is not None:
            progress("sample", done, total)

    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(SEED)
        answers = generate_answers(
            model,
            tokenizer,
            [example for example in examples for _ in range(count)],
            batch_size=batch_size,
            max_new_tokens=max_new_tokens,
            progress=drawing,
            prompt_format=prompt_format,
            sample=True,
        )
    return [tuple(answers[i * count : (i + 1) * count]) for i in range(len(examples))]


def with_samples(
    scores: Sequence[Score], examples: Sequence[Example], answers: Sequence[tuple[str, ...]], common: frozenset[str]
) -> list[Score]:
    """Return the scores of the first rows with their drawn answers and secrets; the other ones as they are.

    Running text has no secrets: its values may stand in the beginning that is given.
    """
    with_answers = [
        replace(score, sampled=drawn, secrets=() if row.kind == "text" else tuple(secrets_of(row, common)))
        for score, row, drawn in zip(scores, examples, answers, strict=False)
    ]
    return [*with_answers, *scores[len(with_answers) :]]
