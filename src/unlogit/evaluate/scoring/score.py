"""What a causal language model does on rows: losses and greedy hits on their answers, generated answers.

Any model of transformers is scored alike, through its forward and its ``generate``; the unlearned model is no
exception, so that scores and generated text come from one distribution. Rows are sorted by length, padded to
their batch's longest, and the softmax is taken in float32 on answer positions only. The answers to one question
share its computation where the model allows it, see ``answer_trees``.

Shapes: B rows of a batch, T tokens, V vocabulary, n answer positions of a batch in row-major order.
Losses are in nats per answer token, the token that ends the answer included.
"""

import inspect
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unlogit.data.encode import Encoded
from unlogit.data.examples import Example, Kind
from unlogit.errors import ModelError
from unlogit.evaluate.scoring.answer_trees import answer_tree, fits_trees, padded_trees, split_rows, try_trees
from unlogit.evaluate.scoring.batch import Batch, Forward, right_padded
from unlogit.evaluate.scoring.batching import (
    MAX_BATCH_LOGITS,
    MAX_BATCH_TOKENS,
    Progress,
    evaluating,
    length_batches,
    padding_id,
    silent,
)
from unlogit.evaluate.scoring.combined_losses import combined_losses
from unlogit.evaluate.scoring.continuation import continuation
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.evaluate.scoring.prompt_format import PLAIN, PromptFormat
from unlogit.settings.options import CombinationOptions

BranchLogits = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, list[Tensor]]]
"""(input_ids, attention_mask, keep, position_ids or None) -> logits of target and of each branch where ``keep`` is
true."""

log = logging.getLogger(__name__)

_CHUNK = 256  # answer positions whose float32 softmax is held at once
_NOTHING = torch.empty(0)
_LEAST_VARIANCE = 1e-6  # of log p, as in OpenUnlearning


@dataclass(frozen=True)
class Score:
    """What a model did on one row; every metric is computed from these alone.

    ``answer_loss`` is the mean cross-entropy of the answer's ``answer_tokens`` tokens; ``hits[i]`` says
    whether the likeliest token was the right one at each (empty where unknown). ``paraphrased_loss`` is that
    of the first paraphrased answer to the same question, None where there is none; ``perturbed_loss`` those
    of the wrong answers. ``generated`` is the greedy answer, None where none was made; ``answer`` is the
    reference for it, but of running text it is ``continuation``, None where nothing was generated.
    ``token_log_probs`` and ``token_z_scores`` are of the answer's tokens, where they were asked for. ``sampled`` are
    answers drawn at temperature 1, ``secrets`` sets of words: an answer that has one of these sets tells the row.
    """

    answer_loss: float
    answer_tokens: int
    hits: tuple[bool, ...]
    paraphrased_loss: float | None
    perturbed_loss: tuple[float, ...]
    generated: str | None
    answer: str
    kind: Kind = "question"
    continuation: str | None = None
    token_log_probs: tuple[float, ...] = ()
    token_z_scores: tuple[float, ...] = ()
    sampled: tuple[str, ...] = ()
    secrets: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True)
class CombinationScores:
    """What C ways to make logits did on rows, in little memory: ``scores`` makes one way's scores when asked to."""

    examples: Sequence[Example]
    losses: list[Tensor]  # of each row [C, answers]: the answer's, the paraphrase's if any, the wrong answers'
    hits: list[Tensor]  # of each row [C, answer tokens] bool
    tokens: list[Tensor]  # of each row [2, answer tokens]: log p and z-score; empty where they were not asked for

    def scores(self, number: int, generated: Sequence[str | None] = ()) -> list[Score]:
        """Return the score of every row under the way of this number.

        Raises:
            ModelError: a loss is not a finite number.
        """
        texts = generated or [None] * len(self.examples)
        return [
            _score(example, losses[number].tolist(), tuple(hits[number].tolist()), text, tokens)
            for example, losses, hits, text, tokens in zip(
                self.examples, self.losses, self.hits, texts, self.tokens, strict=True
            )
        ]


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
    prompt_format: PromptFormat = PLAIN,
    token_scores: bool = False,
) -> list[Score]:
    """Score every example, and with ``generate`` let the model answer the first ``generate_rows`` (0: all).

    Each token's log-probability and z-score are kept with ``token_scores``, which takes longer.

    Raises:
        DataError: an answer has no token.
        ModelError: a loss is not a finite number.
    """
    forward, share = _model_forward(model)

    def measure(logits: list[Tensor], tokens: Tensor) -> tuple[Tensor, ...]:
        losses_and_hits = _losses(logits[0], tokens)
        return (*losses_and_hits, _z_scores(logits[0], tokens)) if token_scores else losses_and_hits

    with evaluating(model):
        measured = _measure_all(
            forward,
            measure,
            tokenizer,
            examples,
            model.device,
            batch_size,
            progress or silent,
            prompt_format,
            share=share,
        )
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
                prompt_format=prompt_format,
            )
    scores = measured.scores(0, generated)
    return [
        score if score.generated is None else replace(score, continuation=continuation(row, tokenizer, max_new_tokens))
        for score, row in zip(scores, examples, strict=True)
    ]


def measure_settings(
    compute_logits: BranchLogits,
    tokenizer: Any,
    examples: Sequence[Example],
    combinations: Sequence[CombinationOptions],
    *,
    weights: Sequence[float],
    device: torch.device | str,
    batch_size: int,
    progress: Progress | None = None,
    share: bool = False,
) -> CombinationScores:
    """Measure the examples under every combination; the logits of target and branches are computed once.

    ``weights`` has a number for each branch that ``compute_logits`` returns. With ``share``, which is for models that
    ``fits_trees`` lets through, it is tried whether the answers to one question can share its computation. Nothing
    is generated.

    Raises:
        ConfigError: a combination means nothing.
        DataError: an answer has no token.
    """

    def forward(batch: Batch) -> list[Tensor]:
        target, assistants = compute_logits(batch.input_ids, batch.attention_mask, batch.keep, batch.position_ids)
        return [batch.of_tokens(logits) for logits in (target, *assistants)]

    def measure(logits: list[Tensor], tokens: Tensor) -> tuple[Tensor, ...]:
        return combined_losses(logits[0], logits[1:], weights, tokens, combinations)

    return _measure_all(forward, measure, tokenizer, examples, device, batch_size, progress or silent, share=share)


def _model_forward(model: Any) -> tuple[Forward, bool]:
    """Return what makes a batch's logits with any model of transformers, and whether answers may share their prompt."""
    forward_parameters = inspect.signature(model.forward).parameters
    takes_keep = "logits_to_keep" in forward_parameters
    takes_trees = "position_ids" in forward_parameters and fits_trees(model.config)

    def forward(batch: Batch) -> list[Tensor]:
        first = int(batch.keep.any(0).int().argmax()) if takes_keep else 0  # no row's answer starts before
        extra_inputs: dict[str, Any] = {"logits_to_keep": batch.keep.shape[1] - first} if takes_keep else {}
        if batch.position_ids is not None:
            extra_inputs["position_ids"] = batch.position_ids
        output = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, **extra_inputs)
        rows, columns = batch.places()  # [n]
        return [output.logits[rows, columns - first]]  # [B, T - first, V] -> [n, V]

    return forward, takes_trees


def _measure_all(
    forward: Forward,
    measure: Callable[[list[Tensor], Tensor], tuple[Tensor, ...]],
    tokenizer: Any,
    examples: Sequence[Example],
    device: torch.device | str,
    batch_size: int,
    progress: Progress,
    prompt_format: PromptFormat = PLAIN,
    *,
    share: bool,
) -> CombinationScores:
    """Measure each example's ``_answers``; ``measure`` makes losses and hits [C, n] of logits and true tokens, and
    with C = 1 their z-scores if these are to be kept."""
    encoded = [prompt_format.encode_answers(example, tokenizer, _answers(example)) for example in examples]
    hidden = prompt_format.hidden_id(tokenizer)
    answer_losses: list[list[Tensor]] = [[_NOTHING] * len(row) for row in encoded]
    hits = [_NOTHING] * len(examples)
    tokens = [_NOTHING] * len(examples)
    done, total = 0, sum(map(len, encoded))
    with torch.inference_mode():
        for rows, batch, logits in _computed(forward, encoded, tokenizer, device, batch_size, hidden, share=share):
            losses, right, *z_scores = (values.cpu() for values in measure(logits, batch.tokens))  # [C, n]
            del logits  # before the next are made
            by_row = torch.split(losses.double(), batch.counts, dim=1), torch.split(right, batch.counts, dim=1)
            z_by_row = torch.split(z_scores[0], batch.counts, dim=1) if z_scores else [_NOTHING] * len(rows)
            for (i, j), loss, hit, z in zip(rows, *by_row, z_by_row, strict=True):
                answer_losses[i][j] = loss.mean(1)  # [C]
                if j == 0:
                    hits[i] = hit.clone()  # and not the whole batch with it
                    tokens[i] = torch.cat([-loss, z]) if z_scores else _NOTHING  # [2, answer tokens]
            done += len(rows)
            progress("score", done, total)
        return CombinationScores(examples, [torch.stack(row, dim=1) for row in answer_losses], hits, tokens)


def _computed(
    forward: Forward,
    encoded: Sequence[Sequence[Encoded]],
    tokenizer: Any,
    device: torch.device | str,
    batch_size: int,
    hidden: int | None,
    *,
    share: bool,
) -> Iterator[tuple[list[tuple[int, int]], Batch, list[Tensor]]]:
    """Yield batches with their logits, and which answer (example, its number there) each row is; trees come first.

    Trees are as many at once as have no more tokens than ``batch_size`` plain rows.
    """
    pad = padding_id(tokenizer)
    max_tokens = min(MAX_BATCH_TOKENS, MAX_BATCH_LOGITS // len(tokenizer))
    plain = [(i, j) for i, rows in enumerate(encoded) for j in range(len(rows))]
    if share and hidden is None:
        longest = max((len(encoded[i][j].input_ids) for i, j in plain), default=0)
        tree_tokens = min(max_tokens, batch_size * longest)
        groups = [[(i, j) for j in group] for i, rows in enumerate(encoded) for group in split_rows(rows, tree_tokens)]
        shared = [group for group in groups if len(group) > 1]
        trees = [answer_tree([encoded[i][j] for i, j in group]) for group in shared]
        mask_type = None
        for numbers in length_batches([tree.length for tree in trees], batch_size, tree_tokens):
            answers = [answer for number in numbers for answer in shared[number]]
            batch_trees = [trees[number] for number in numbers]
            if mask_type is None:
                tried = try_trees(forward, batch_trees, pad, device)
                if tried is None:
                    log.info("Answers are scored one by one: with this model, sharing a prompt changes them.")
                    break
                mask_type = tried[0].attention_mask.dtype
                plain = [group[0] for group in groups if len(group) == 1]
                yield answers, *tried
                del tried  # its logits, before the next are made
            else:
                batch = padded_trees(batch_trees, pad, device, mask_type)
                yield answers, batch, forward(batch)
    for numbers in length_batches([len(encoded[i][j].input_ids) for i, j in plain], batch_size, max_tokens):
        answers = [plain[number] for number in numbers]
        batch = right_padded([encoded[i][j] for i, j in answers], pad, device, hidden)
        yield answers, batch, forward(batch)


def _losses(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return cross-entropy and hits [1, n] of one model's logits [n, V], a chunk of positions at a time."""
    losses, hits = [], []
    for start in range(0, len(tokens), _CHUNK):
        rows = slice(start, start + _CHUNK)
        chunk = logits[rows].float()  # [chunk, V]
        losses.append(cross_entropy(chunk, tokens[rows], reduction="none"))
        hits.append(chunk.argmax(-1) == tokens[rows])
    return torch.cat(losses)[None], torch.cat(hits)[None]  # [1, n] each


def _z_scores(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return (log p − μ) / σ of the true tokens [1, n]: how likely each is for a token of its position.

    μ and σ are the mean and standard deviation of log p under p itself, over the vocabulary. In a distribution that is
    flat or has one token only, σ is 0: ``_LEAST_VARIANCE`` stands for its square then.
    """
    z_scores = []
    for start in range(0, len(tokens), _CHUNK):
        rows = slice(start, start + _CHUNK)
        logs = logits[rows].float().log_softmax(-1)  # [chunk, V]
        p = logs.exp()
        mu = (p * logs).sum(-1, keepdim=True)  # [chunk, 1]
        variance = (p * (logs - mu).square()).sum(-1).clamp_min(_LEAST_VARIANCE)  # [chunk]
        true = logs.gather(-1, tokens[rows, None]) - mu  # [chunk, 1]
        z_scores.append(true[:, 0] / variance.sqrt())  # [chunk]
    return torch.cat(z_scores)[None]  # [1, n]


def _answers(example: Example) -> tuple[str, ...]:
    """The answer, its first paraphrase if any (TOFU takes one), and the wrong answers."""
    return (example.answer, *example.paraphrased_answer[:1], *example.perturbed_answer)


def _score(
    example: Example, losses: list[float], hits: tuple[bool, ...], generated: str | None, tokens: Tensor
) -> Score:
    if not all(math.isfinite(loss) for loss in losses):
        raise ModelError(
            f"the model gave a loss of {next(x for x in losses if not math.isfinite(x))} on an answer; expected "
            "a finite number: load it in float32, or check that its weights are whole"
        )
    paraphrased = bool(example.paraphrased_answer)
    return Score(
        answer_loss=losses[0],
        answer_tokens=len(hits),
        hits=hits,
        paraphrased_loss=losses[1] if paraphrased else None,
        perturbed_loss=tuple(losses[1 + paraphrased :]),
        generated=generated,
        answer=example.answer,
        kind=example.kind,
        token_log_probs=tuple(tokens[0].tolist()) if len(tokens) else (),
        token_z_scores=tuple(tokens[1].tolist()) if len(tokens) else (),
    )
