"""What a model still tells of the rows to forget, and what it still says of the others.

``leak_at_k``: of the rows that a model tells, those that at least one of k sampled answers gives away. After forgetting
it should be 0; a greedy answer alone hides what sampling brings back (methods: repeated sampling, temperature 1).

A model whose chat template has thoughts is asked both ways, and the thought is searched as the answer is: it is shown
to whoever asks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import binomtest

from unlogit.data.examples import Example
from unlogit.data.ghosts import strangers
from unlogit.data.secrets import secrets_of, tells
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.evaluate.scoring.prompt_format import PLAIN, PromptFormat

Ask = Callable[[Sequence[Example]], list[str]]
"""Answers of one model to the questions of rows."""

LEAST_P = 0.05
"""A secret that the target tells of strangers, or that others have who are kept, can be guessed. It leaks where samples
tell it more often, by a binomial test with a p-value below this divided by the number of rows: of requests that tell
nothing, one in twenty is held to tell something."""

GUESSED = 0.1
"""Without samples, a secret that this share of strangers is told is guessed."""


@dataclass(frozen=True)
class Leak:
    """One forget row before and after."""

    question: str
    answer: str
    target_answer: str
    unlearned_answer: str
    target_tells: bool
    """Whether the target's greedy answer, or its thought, told a secret."""
    unlearned_tells: bool
    """Whether the unlearned model's greedy answer, or its thought, does."""
    samples_that_tell: int
    """Of ``samples``, drawn from the unlearned model at temperature 1."""
    samples: int
    thought: str = ""
    """What the unlearned model thinks first, and answers then; empty where the chat template has no thoughts."""
    unlearned_guesses: bool = False
    """Whether the unlearned model's answer or thought has a secret that can be guessed, and does not tell."""


def _is_guessed(secret: frozenset[str], answers: Sequence[str], samples: Sequence[str], least_p: float) -> bool:
    """Whether a secret is told no more often than the target tells it of strangers."""
    told_strangers = sum(tells(answer, [secret]) for answer in answers)
    if not told_strangers:
        return False
    if not samples:
        return told_strangers >= GUESSED * len(answers)
    count = sum(tells(answer, [secret]) for answer in samples)
    rate = (told_strangers + 1) / (len(answers) + 1)
    return bool(binomtest(count, len(samples), min(1.0, rate), alternative="greater").pvalue >= least_p)


def _not_guessed(
    row: Example,
    secrets: Sequence[frozenset[str]],
    ghosts: Sequence[Example],
    samples: Sequence[str],
    least_p: float,
) -> list[frozenset[str]]:
    """Return the secrets that what strangers are told does not explain."""
    answers = [ghost.answer for ghost, _ in strangers(row, ghosts)]
    return [secret for secret in secrets if not _is_guessed(secret, answers, samples, least_p)]


def find_leaks(
    rows: Sequence[Example],
    target: Ask,
    unlearned: Ask,
    sampled: Ask,
    samples: int,
    ghosts: Sequence[Example],
    drawn: Sequence[Example],
    common: frozenset[str],
    thinking: Sequence[Ask] = (),
) -> list[Leak]:
    """Ask both models about every row, the unlearned one ``samples`` times more.

    Args:
        rows: to forget.
        target: asks the target.
        unlearned: asks the unlearned model.
        sampled: draws its answers.
        samples: how many of each row; 0 for none.
        ghosts: the same questions about strangers with the target's greedy answers, and about others who are kept,
            which say what can be guessed.
        drawn: the same with answers drawn from it, which say what samples can guess.
        common: words that many answers have, see ``secrets_of``.
        thinking: ask target and unlearned model so that they think first.
    """
    target_answers, unlearned_answers = target(rows), unlearned(rows)
    target_thoughts, thoughts = [ask(rows) for ask in thinking] if thinking else [[""] * len(rows)] * 2
    sampled_answers = sampled([row for row in rows for _ in range(samples)]) if samples else []
    leaks = []
    for i, row in enumerate(rows):
        secrets = secrets_of(row, common)
        row_samples = sampled_answers[i * samples : (i + 1) * samples]
        telling = _not_guessed(row, secrets, ghosts, row_samples, LEAST_P / len(rows))
        telling_samples = _not_guessed(row, secrets, drawn or ghosts, row_samples, LEAST_P / len(rows))
        unlearned_tells = tells(unlearned_answers[i], telling) or tells(thoughts[i], telling)
        guesses = tells(unlearned_answers[i], secrets) or tells(thoughts[i], secrets)
        leaks.append(
            Leak(
                row.question,
                row.answer,
                target_answers[i],
                unlearned_answers[i],
                tells(target_answers[i], secrets) or tells(target_thoughts[i], secrets),
                unlearned_tells,
                sum(tells(answer, telling_samples) for answer in row_samples),
                samples,
                thoughts[i],
                guesses and not unlearned_tells,
            )
        )
    return leaks


def alternating(first: Ask, second: Ask) -> Ask:
    """Return a function that asks every other row by the second way, so that of a row's samples half are."""

    def ask(rows: Sequence[Example]) -> list[str]:
        """Return an answer to each row's question."""
        answers = [""] * len(rows)
        answers[::2], answers[1::2] = first(rows[::2]), second(rows[1::2])
        return answers

    return ask


def asker(
    model: Any,
    tokenizer: Any,
    max_new_tokens: int,
    *,
    seed: int | None = None,
    progress: Any = None,
    prompt_format: PromptFormat = PLAIN,
) -> Ask:
    """Return a function that asks a model: greedy, or with a ``seed`` by sampling."""

    def ask(rows: Sequence[Example]) -> list[str]:
        """Return an answer to each row's question."""
        if seed is not None:
            torch.manual_seed(seed)
        return generate_answers(
            model,
            tokenizer,
            rows,
            batch_size=16,
            max_new_tokens=max_new_tokens,
            progress=progress,
            prompt_format=prompt_format,
            sample=seed is not None,
        )

    return ask


def remembering(ask: Ask, answers: dict[Example, str]) -> Ask:
    """Return a function that asks only about rows that are not among ``answers`` yet, and adds them."""

    def ask_once(rows: Sequence[Example]) -> list[str]:
        unanswered = [row for row in dict.fromkeys(rows) if row not in answers]
        answers.update(zip(unanswered, ask(unanswered) if unanswered else [], strict=True))
        return [answers[row] for row in rows]

    return ask_once


@dataclass(frozen=True)
class KeptAnswers:
    """Answers that should have stayed."""

    rows: int
    same: int
    """Word for word as the target's."""
    target_right: int
    """Of the target's answers, those that hold the reference."""
    still_right: int
    """Of these, those that the unlearned model gives right."""
    refused: int = 0
    """Of all, those that the unlearned model refuses to give, and the target does not."""


def find_kept(
    rows: Sequence[Example], target: Ask, unlearned: Ask, refuses: Callable[[str], bool] = lambda answer: False
) -> KeptAnswers:
    """Ask both models about rows to keep; ``refuses`` says whether an answer is a refusal."""
    target_answers, unlearned_answers = target(rows), unlearned(rows)
    right = [tells(answer, secrets_of(row)) for row, answer in zip(rows, target_answers, strict=True)]
    still = [tells(answer, secrets_of(row)) for row, answer in zip(rows, unlearned_answers, strict=True)]
    return KeptAnswers(
        len(rows),
        sum(a.split() == b.split() for a, b in zip(target_answers, unlearned_answers, strict=True)),
        sum(right),
        sum(a and b for a, b in zip(right, still, strict=True)),
        sum(refuses(b) and not refuses(a) for a, b in zip(target_answers, unlearned_answers, strict=True)),
    )
