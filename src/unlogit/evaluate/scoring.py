"""What a causal language model does on rows: losses and greedy hits on their answers, generated answers.

Any model of transformers is scored alike, through its forward and its ``generate``; the unlearned model is no
exception, so that scores and generated text come from one distribution. Rows are sorted by length, padded to
their batch's longest, and the softmax is taken in float32 on answer positions only.

Shapes: B rows of a batch, T tokens, V vocabulary, n answer positions of a batch in row-major order.
Losses are in nats per answer token, the token that ends the answer included.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unlogit.data.encode import Encoded, encode_answers
from unlogit.data.examples import Example
from unlogit.errors import ModelError
from unlogit.options import CombinationOptions

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many rows are done, and how many there are."""

Parts = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, list[Tensor]]]
"""(input_ids, attention_mask, keep) -> logits [n, V] of target and of each branch, where ``keep`` is true."""

MAX_BATCH_TOKENS = 4096
"""Most padded tokens of a batch."""

MAX_BATCH_LOGITS = 2**27
"""Most numbers that a batch's logits may hold (512 MiB in float32); a large vocabulary lowers the tokens by it."""

_CHUNK = 256  # answer positions whose float32 softmax is held at once


@dataclass(frozen=True)
class Score:
    """What a model did on one row; every metric is computed from these alone.

    ``answer_loss`` is the mean cross-entropy of the answer's ``answer_tokens`` tokens; ``hits[i]`` says
    whether the likeliest token was the right one at each (empty where unknown). ``paraphrased_loss`` is that
    of the first paraphrased answer to the same question, None where there is none; ``perturbed_loss`` those
    of the wrong answers. ``generated`` is the greedy answer, None where none was made; ``answer`` is the
    reference for it.
    """

    answer_loss: float
    answer_tokens: int
    hits: tuple[bool, ...]
    paraphrased_loss: float | None
    perturbed_loss: tuple[float, ...]
    generated: str | None
    answer: str


@dataclass(frozen=True)
class Batch:
    """Right-padded rows; ``keep`` marks positions that predict an answer token, ``tokens`` what they should."""

    input_ids: Tensor  # [B, T]
    attention_mask: Tensor  # [B, T]
    keep: Tensor  # [B, T] bool
    tokens: Tensor  # [n]
    counts: list[int]  # answer tokens of each row; sums to n


@dataclass(frozen=True)
class _Measured:
    loss: float
    hits: tuple[bool, ...]


def score_examples(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    batch_size: int,
    generate: bool,
    generate_rows: int = 0,
    max_new_tokens: int = 200,
    progress: Progress | None = None,
) -> list[Score]:
    """Score every example, and with ``generate`` let the model answer the first ``generate_rows`` (0: all).

    Raises:
        DataError: an answer has no token.
        ModelError: a loss is not a finite number.
    """
    from unlogit.evaluate.generation import generate_answers

    takes_keep = "logits_to_keep" in inspect.signature(model.forward).parameters

    def forward(batch: Batch) -> list[Tensor]:
        first = int(batch.keep.any(0).int().argmax()) if takes_keep else 0  # no row's answer starts before
        kept = {"logits_to_keep": batch.keep.shape[1] - first} if takes_keep else {}
        output = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, **kept)
        return [output.logits[batch.keep[:, first:]]]  # [B, T - first, V] -> [n, V]

    def rule(logits: list[Tensor], _: int) -> Tensor:
        return logits[0]

    with evaluating(model):
        (measured,) = _measure_all(forward, rule, 1, tokenizer, examples, model.device, batch_size, progress or _silent)
        generated: list[str | None] = [None] * len(examples)
        if generate:
            count = min(generate_rows or len(examples), len(examples))
            generated[:count] = generate_answers(
                model,
                tokenizer,
                examples[:count],
                batch_size=batch_size,
                max_new_tokens=max_new_tokens,
                progress=progress,
            )
    return [_score(*row) for row in zip(examples, measured, generated, strict=True)]


def score_settings(
    parts: Parts,
    tokenizer: Any,
    examples: Sequence[Example],
    combinations: Sequence[CombinationOptions],
    *,
    weights: Sequence[float],
    device: torch.device | str,
    batch_size: int,
    progress: Progress | None = None,
) -> list[list[Score]]:
    """Score the examples under every combination; the logits of target and branches are computed once.

    ``weights`` has a number for each branch that ``parts`` returns. Nothing is generated.

    Raises:
        DataError, ModelError: as ``score_examples``.
    """
    from unlogit.logit_difference import combine_logits

    def forward(batch: Batch) -> list[Tensor]:
        target, assistants = parts(batch.input_ids, batch.attention_mask, batch.keep)
        return [target, *assistants]

    def rule(logits: list[Tensor], number: int) -> Tensor:
        """Combine by the setting of this number."""
        chosen = combinations[number]
        return combine_logits(
            logits[0],
            logits[1:],
            weights,
            rule=chosen.rule,
            alpha=chosen.alpha,
            filter_rate=chosen.filter_rate,
        )

    found = _measure_all(forward, rule, len(combinations), tokenizer, examples, device, batch_size, progress or _silent)
    return [
        [_score(example, rows, None) for example, rows in zip(examples, measured, strict=True)] for measured in found
    ]


def length_batches(lengths: Sequence[int], batch_size: int, max_tokens: int = MAX_BATCH_TOKENS) -> Iterator[list[int]]:
    """Yield positions in ``lengths``, at most ``batch_size`` and ``max_tokens`` padded tokens at once.

    The longest come first so that a batch too large for memory fails at once. One row may exceed
    ``max_tokens``.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        rows = max(1, min(batch_size, max_tokens // lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def right_padded(rows: Sequence[Encoded], pad_token_id: int, device: torch.device | str) -> Batch:
    """Put rows into one batch; every row has at least one prompt token to predict its answer from."""
    length = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), length), pad_token_id)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    keep = torch.zeros((len(rows), length), dtype=torch.bool)
    tokens: list[int] = []
    counts: list[int] = []
    for i, row in enumerate(rows):
        end, start = len(row.input_ids), row.prompt_tokens
        ids[i, :end] = torch.tensor(row.input_ids)
        mask[i, :end] = 1
        keep[i, start - 1 : end - 1] = True  # position t predicts token t + 1
        tokens += row.input_ids[start:]
        counts.append(end - start)
    return Batch(ids.to(device), mask.to(device), keep.to(device), torch.tensor(tokens, device=device), counts)


def padding_id(tokenizer: Any) -> int:
    """Return the id to pad with; the attention mask hides it, so that any will do."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Without dropout and without gradients; the model is afterwards in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def _measure_all(
    forward: Callable[[Batch], list[Tensor]],
    rule: Callable[[list[Tensor], int], Tensor],
    rules: int,
    tokenizer: Any,
    examples: Sequence[Example],
    device: torch.device | str,
    batch_size: int,
    progress: Progress,
) -> list[list[list[_Measured]]]:
    """Return, for each of ``rules`` ways to make logits, each example's ``_answers`` measured."""
    encoded = [encode_answers(example, tokenizer, _answers(example)) for example in examples]
    places = [(i, j) for i, row in enumerate(encoded) for j in range(len(row))]
    lengths = [len(encoded[i][j].input_ids) for i, j in places]
    max_tokens = min(MAX_BATCH_TOKENS, MAX_BATCH_LOGITS // len(tokenizer))
    found: list[list[dict[int, _Measured]]] = [[{} for _ in examples] for _ in range(rules)]
    done = 0
    with torch.inference_mode():
        for chosen in length_batches(lengths, batch_size, max_tokens):
            rows = [places[position] for position in chosen]
            batch = right_padded([encoded[i][j] for i, j in rows], padding_id(tokenizer), device)
            logits = forward(batch)
            for number in range(rules):
                measured = _measure(logits, rule, number, batch)
                for (i, j), one in zip(rows, measured, strict=True):
                    found[number][i][j] = one
            done += len(rows)
            progress("score", done, len(places))
    return [[[row[j] for j in range(len(row))] for row in one] for one in found]


def _measure(
    logits: list[Tensor], rule: Callable[[list[Tensor], int], Tensor], number: int, batch: Batch
) -> list[_Measured]:
    """Turn logits at answer positions into each row's mean loss and hits, a chunk of positions at a time."""
    losses, hits = [], []
    for start in range(0, len(batch.tokens), _CHUNK):
        here = slice(start, start + _CHUNK)
        combined = rule([one[here] for one in logits], number).float()  # [chunk, V]
        losses.append(cross_entropy(combined, batch.tokens[here], reduction="none"))
        hits.append(combined.argmax(-1) == batch.tokens[here])
    row_losses = torch.split(torch.cat(losses).double().cpu(), batch.counts)
    row_hits = torch.split(torch.cat(hits).cpu(), batch.counts)
    return [_Measured(float(loss.mean()), tuple(hit.tolist())) for loss, hit in zip(row_losses, row_hits, strict=True)]


def _answers(example: Example) -> tuple[str, ...]:
    """The answer, its first paraphrase if any (TOFU takes one), and the wrong answers."""
    return (example.answer, *example.paraphrased_answer[:1], *example.perturbed_answer)


def _score(example: Example, measured: list[_Measured], generated: str | None) -> Score:
    losses = [one.loss for one in measured]
    if not all(math.isfinite(loss) for loss in losses):
        raise ModelError(
            f"the model gave a loss of {next(x for x in losses if not math.isfinite(x))} on an answer; expected "
            "a finite number: load it in float32, or check that its weights are whole"
        )
    paraphrased = bool(example.paraphrased_answer)
    return Score(
        answer_loss=losses[0],
        answer_tokens=len(measured[0].hits),
        hits=measured[0].hits,
        paraphrased_loss=losses[1] if paraphrased else None,
        perturbed_loss=tuple(losses[1 + paraphrased :]),
        generated=generated,
        answer=example.answer,
    )


def _silent(what: str, done: int, total: int) -> None:
    """The progress of those who asked for none."""
