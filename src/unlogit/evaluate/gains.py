"""What a target gained by a row: the characters of its answer that it finds likelier than of a stranger.

The answer is scored token by token, under the row's question and under the same question about made-up people whose
names stand in the answer, too. Where strangers get a token as well, nobody learns anything by it: grammar, the form of
a code, the second half of a street whose first half is said. What is left is what the rows taught, and nothing else has
to be remembered by an assistant, nor to be taken away.

Shape legend: T tokens of an answer, G ghosts.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

from unlogit.data.encode import answer_spans
from unlogit.data.examples import Example
from unlogit.data.ghosts import names_in, with_words
from unlogit.data.made_up import made_up_word, script_of
from unlogit.evaluate.scoring.batching import Progress
from unlogit.evaluate.scoring.score import score_examples
from unlogit.model.vocabulary import check_readable

GHOSTS = 4
"""Made-up people of every row."""
LEAST_GAIN = 2.0
"""A token is a gain where its log-odds are above the ghosts' mean by so many nats."""
LEAST_REST = 1e-6
"""What is left beside a token, at least, as far as float32 can tell."""
BATCH_SIZE = 16


def with_gains(
    rows: Sequence[Example], target: Any, tokenizer: Any, seed: int, progress: Progress | None = None
) -> list[Example]:
    """Return the rows with ``gains``, where a question has a name and the target gained something by the answer.

    Args:
        rows: to forget.
        target: what knows them.
        tokenizer: the target's.
        seed: of the made-up names.
        progress: called after each batch.

    Raises:
        DataError: a row has a token that the target's embedding has no row for.
    """
    named = [(i, names) for i, (row, names) in enumerate(zip(rows, names_in(rows), strict=True)) if names]
    ghosts = [_ghosts(rows[i], names, seed) for i, names in named]
    scored = [row for (i, _), of_row in zip(named, ghosts, strict=True) for row in (rows[i], *of_row)]
    if not scored:
        return list(rows)
    check_readable(rows, tokenizer, target.config.get_text_config().vocab_size)
    scores = score_examples(
        target, tokenizer, scored, batch_size=BATCH_SIZE, generate=False, token_scores=True, progress=progress
    )
    tokens = [_tokens(row, tokenizer, score.token_log_probs) for row, score in zip(scored, scores, strict=True)]
    with_spans = list(rows)
    for k, (i, _) in enumerate(named):
        real, *of_ghosts = tokens[k * (GHOSTS + 1) : (k + 1) * (GHOSTS + 1)]
        with_spans[i] = replace(rows[i], gains=_gains(real, of_ghosts))
    return with_spans


def _ghosts(row: Example, names: Sequence[str], seed: int) -> list[Example]:
    """Return the row about made-up people, each word of a name exchanged for one word."""
    ghosts = []
    for number in range(GHOSTS):
        dice = random.Random(f"gains {seed} {number}")
        made_up = {word: made_up_word(dice, script_of(word)) for name in names for word in name.split()}
        history = tuple(replace(turn, content=with_words(turn.content, made_up)) for turn in row.history)
        question, answer = with_words(row.question, made_up), with_words(row.answer, made_up)
        ghosts.append(replace(row, question=question, answer=answer, history=history))
    return ghosts


@dataclass(frozen=True)
class Token:
    """A token of an answer."""

    text: str
    span: tuple[int, int]
    log_odds: float
    """Of its probability, in nats."""


def _tokens(row: Example, tokenizer: Any, log_probs: Sequence[float]) -> list[Token]:
    """Return the tokens of an answer; the one that ends it is left out."""
    spans = answer_spans(row, tokenizer)
    return [
        Token(row.answer[max(begin, 0) : end], (max(begin, 0), end), _log_odds(log_prob))
        for log_prob, (begin, end) in zip(log_probs, spans, strict=False)
        if end <= len(row.answer)
    ]


def _gains(real: Sequence[Token], ghosts: Sequence[Sequence[Token]]) -> tuple[tuple[int, int, float], ...]:
    """Return the spans of the tokens that are likelier of the row than of its ghosts, in order, each with its gain.

    What both answers have in common is found as by ``diff``; names, which differ, are no gain.
    """
    others: dict[int, list[float]] = {}
    for ghost in ghosts:
        matcher = SequenceMatcher(None, [t.text for t in real], [t.text for t in ghost], autojunk=False)
        for first, ghost_first, length in matcher.get_matching_blocks():
            for k in range(length):
                others.setdefault(first + k, []).append(ghost[ghost_first + k].log_odds)
    gains = {i: real[i].log_odds - sum(values) / len(values) for i, values in sorted(others.items())}
    return tuple((*real[i].span, gain) for i, gain in gains.items() if gain >= LEAST_GAIN)


def _log_odds(log_prob: float) -> float:
    """Return log p − log(1 − p), cut where float32 no longer tells p from 1."""
    return log_prob - math.log(max(-math.expm1(log_prob), LEAST_REST))
