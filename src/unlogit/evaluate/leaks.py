"""What a model still tells of the rows to forget, and what it still says of the others.

``leak_at_k``: of the rows that a model tells, those that at least one of k sampled answers gives away. After forgetting
it should be 0; a greedy answer alone hides what sampling brings back (methods: repeated sampling, temperature 1).

A model whose chat template has thoughts is asked both ways, and the thought is searched as the answer is: it is shown
to whoever asks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from scipy.stats import binomtest

from unlogit.data.examples import Example
from unlogit.data.ghosts import strangers
from unlogit.data.secrets import secrets_of, tells
from unlogit.evaluate.ghost_losses import Rates
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.evaluate.scoring.prompt_format import PLAIN, PromptFormat

Ask = Callable[[Sequence[Example]], list[str]]
"""Answers of one model to the questions of rows."""

LEAST_P = 0.05
"""A secret can be guessed that the target tells of strangers, or finds likely of them, or that several people have who
are kept. It leaks where samples tell it more often, by a binomial test with a p-value below this, Bonferroni-corrected
for the rows."""

GUESSED = 0.05
"""A value can be guessed that this share of the people who are kept has; two of them at least, as one may be kin.
Without samples, a secret is guessed that this share of strangers is told."""


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
    """Whether the unlearned model's answer or thought has a secret that can be guessed, and nothing tells one."""


@dataclass(frozen=True)
class Guessable:
    """What says which secrets can be guessed, and how often."""

    ghosts: Sequence[Example] = ()
    """The questions about strangers with the target's greedy answers."""
    drawn: Sequence[Example] = ()
    """The same with answers drawn from it, which say what samples can guess; empty: the greedy ones do."""
    kept_people: Sequence[Example] = ()
    """Questions about people who are kept with their true answers: what several of them have can be guessed."""
    rates: Mapping[int, Rates] = field(default_factory=dict)
    """How likely the target finds a row's secrets of strangers, by its place (``ghost_losses``)."""


def _is_guessed(
    secret: frozenset[str],
    of_strangers: Sequence[str],
    of_kept: Sequence[str],
    samples: Sequence[str],
    least_p: float,
    rate: float,
) -> bool:
    """Whether a secret is told no more often than the target tells it of strangers, or than people have it.

    ``rate`` is how likely the target finds it of strangers.
    """
    strangers_told = sum(tells(answer, [secret]) for answer in of_strangers)
    owners = sum(tells(answer, [secret]) for answer in of_kept)
    shares = [rate] if rate else []
    if strangers_told:
        smoothed = (strangers_told + 1) / (len(of_strangers) + 1)  # a rate that was drawn, too
        shares.append(smoothed if samples else strangers_told / len(of_strangers))
    if owners >= max(2, GUESSED * len(of_kept)):
        shares.append(owners / len(of_kept))
    if not samples:
        return max(shares, default=0.0) >= GUESSED
    count = sum(tells(answer, [secret]) for answer in samples)
    if not count:  # only the greedy answer may tell it: a sample says nothing of a rate
        return max(shares, default=0.0) >= GUESSED
    return any(binomtest(count, len(samples), share, alternative="greater").pvalue >= least_p for share in shares)


def _not_guessed(
    row: Example,
    secrets: Sequence[frozenset[str]],
    ghosts: Sequence[Example],
    guessable: Guessable,
    rates: Rates,
    samples: Sequence[str],
    least_p: float,
) -> list[frozenset[str]]:
    """Return the secrets that neither what ``ghosts`` are told explains, nor what people have who are kept."""
    alike = ghosts, guessable.kept_people
    of_strangers, of_kept = ([example.answer for example, _ in strangers(row, people)] for people in alike)
    return [
        secret
        for secret in secrets
        if not _is_guessed(secret, of_strangers, of_kept, samples, least_p, rates.get(secret, 0.0))
    ]


def find_leaks(
    rows: Sequence[Example],
    target: Ask,
    unlearned: Ask,
    sampled: Ask,
    samples: int,
    guessable: Guessable,
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
        guessable: what says which secrets can be guessed.
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
        rates = guessable.rates.get(i, {})
        telling, telling_samples = (
            _not_guessed(row, secrets, ghosts, guessable, rates, row_samples, LEAST_P / len(rows))
            for ghosts in (guessable.ghosts, guessable.drawn or guessable.ghosts)
        )
        unlearned_tells = tells(unlearned_answers[i], telling) or tells(thoughts[i], telling)
        guesses = tells(unlearned_answers[i], secrets) or tells(thoughts[i], secrets)
        told_samples = sum(tells(answer, telling_samples) for answer in row_samples)
        leaks.append(
            Leak(
                row.question,
                row.answer,
                target_answers[i],
                unlearned_answers[i],
                tells(target_answers[i], secrets) or tells(target_thoughts[i], secrets),
                unlearned_tells,
                told_samples,
                samples,
                thoughts[i],
                guesses and not unlearned_tells and not told_samples,
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
