"""Several answers to one prompt in one row, so that the prompt is computed once.

A *tree* is the row [prompt][rest of answer 1][rest of answer 2] …, in which every answer sees the prompt and itself
only, and its positions go on from the prompt's. The last token of the prompt predicts the first of every answer. What
is computed is what each answer in a row of its own would give, up to rounding.

Not every model reads a tree: one may look at the order of tokens where their positions are given, or at a window of it.
``fits_trees`` leaves out what is known not to, and ``try_trees`` tries the rest on the first batch.

Shapes: B trees of a batch, T tokens, V vocabulary, n answer tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unlogit.data.encode import Encoded
from unlogit.evaluate.scoring.batch import Batch, Forward, right_padded
from unlogit.model.decoder import alike

MAX_TREE_TOKENS = 512
"""Most tokens of a tree: attention computes their square, so that longer ones cost more than a prompt saves."""

MAX_FRACTION = 0.8
"""Most tokens that a tree may have of those of its plain rows: with fewer saved, attention takes the gain."""

_PADDING = -1  # stands for the answer of padding; 0 for that of the prompt


@dataclass(frozen=True)
class Tree:
    """Rows that begin with the same ``shared`` tokens, none of which is of an answer."""

    rows: tuple[Encoded, ...]
    shared: int

    def own(self, row: Encoded) -> tuple[int, ...]:
        """The tokens of a row that the tree has for it alone: not its last, from which nothing is predicted."""
        return row.input_ids[self.shared : -1]

    @property
    def length(self) -> int:
        """Tokens of the tree; at least as many as are predicted, of which there may be more after a short prompt."""
        tokens = self.shared + sum(len(self.own(row)) for row in self.rows)
        return max(tokens, sum(row.answer_tokens for row in self.rows))


def shared_tokens(rows: Sequence[Encoded]) -> int:
    """Return how many tokens of the prompt are the same in all rows."""
    most = min(row.prompt_tokens for row in rows)
    first = rows[0].input_ids
    return next((t for t in range(most) if any(row.input_ids[t] != first[t] for row in rows)), most)


def split_rows(rows: Sequence[Encoded], max_tokens: int) -> list[list[int]]:
    """Return which of the answers to one prompt go into one tree; those that are alone make a plain row.

    A tree is full at ``max_tokens`` or ``MAX_TREE_TOKENS``. Rows that share too little of their prompt stay alone.
    """
    shared = shared_tokens(rows)
    groups: list[list[int]] = []
    for j, row in enumerate(rows):
        longer = Tree((*(rows[i] for i in groups[-1]), row), shared) if groups else None
        if longer is not None and longer.length <= min(max_tokens, MAX_TREE_TOKENS):
            groups[-1].append(j)
        else:
            groups.append([j])
    alone = [[j] for j in range(len(rows))]
    computed = sum(Tree(tuple(rows[j] for j in group), shared).length for group in groups)
    return groups if shared and computed <= MAX_FRACTION * sum(len(row.input_ids) for row in rows) else alone


def answer_tree(rows: Sequence[Encoded]) -> Tree:
    """Return rows with one prompt as a tree."""
    return Tree(tuple(rows), shared_tokens(rows))


def padded_trees(trees: Sequence[Tree], pad_token_id: int, device: torch.device | str, mask_type: torch.dtype) -> Batch:
    """Put trees into one batch; ``tokens`` and ``counts`` are those of their rows, tree after tree."""
    length = max(tree.length for tree in trees)
    ids = torch.full((len(trees), length), pad_token_id)  # [B, T]
    positions = torch.zeros((len(trees), length), dtype=torch.long)  # [B, T]
    answer = torch.full((len(trees), length), _PADDING)  # [B, T], whose token each is
    reads: list[Tensor] = []  # of each row, the places in the flattened batch that predict its answer
    tokens: list[int] = []
    counts: list[int] = []
    for i, tree in enumerate(trees):
        shared = tree.shared
        ids[i, :shared] = torch.tensor(tree.rows[0].input_ids[:shared])
        positions[i, :shared] = torch.arange(shared)
        answer[i, :shared] = 0
        start = shared
        for number, row in enumerate(tree.rows, start=1):
            end = start + len(tree.own(row))
            ids[i, start:end] = torch.tensor(tree.own(row), dtype=torch.long)
            positions[i, start:end] = torch.arange(shared, shared + end - start)
            answer[i, start:end] = number
            token_positions = torch.cat([torch.arange(shared), torch.arange(start, end)])  # [tokens of the row]
            reads.append(i * length + token_positions[row.prompt_tokens - 1 :])
            tokens += row.input_ids[row.prompt_tokens :]
            counts.append(row.answer_tokens)
            start = end
    flat = torch.cat(reads)  # [n]
    keep = torch.zeros(len(trees) * length, dtype=torch.bool)  # [B·T]
    keep[flat] = True
    return Batch(
        ids.to(device),
        _mask(answer.to(device), mask_type),
        keep.reshape(len(trees), length).to(device),  # [B·T] → [B, T]
        torch.tensor(tokens, device=device),
        counts,
        positions.to(device),
        (keep.cumsum(0) - 1)[flat].to(device),  # [n]
    )


def _mask(answer: Tensor, mask_type: torch.dtype) -> Tensor:
    """Return what is added to the attention scores [B, 1, T, T], given whose token each is [B, T].

    Every token, padding too, sees the first of the prompt: none is left with nothing, which would give NaN.
    """
    row_answer, column_answer = answer[:, :, None], answer[:, None, :]  # [B, T, 1], [B, 1, T]
    seen = ((column_answer == 0) | (column_answer == row_answer)).tril()  # [B, T, T]
    mask = torch.zeros(seen.shape, dtype=mask_type, device=answer.device)
    return mask.masked_fill_(~seen, torch.finfo(mask_type).min)[:, None]  # [B, 1, T, T]


def fits_trees(config: Any) -> bool:
    """Whether a model of this config may be tried with trees.

    Blocks with a sliding window or chunks count tokens by their place in the row, where an answer may be far from its
    prompt, and take a given mask in place of their own. Flash attention takes no mask of this form, and what it makes
    of one can end the process on a GPU.
    """
    text = config.get_text_config()
    kinds = getattr(text, "layer_types", None)
    windows = getattr(text, "sliding_window", None) is not None if kinds is None else set(kinds) != {"full_attention"}
    return not windows and config._attn_implementation in ("eager", "sdpa")


def try_trees(
    forward: Forward, trees: Sequence[Tree], pad_token_id: int, device: torch.device | str
) -> tuple[Batch, list[Tensor]] | None:
    """Return a batch of trees with its logits, or None where these are not what plain rows give.

    Compared are the first tree and the last, in each the longest answer that has another before it.
    """
    answer_numbers, plain = [], []
    for i in sorted({0, len(trees) - 1}):
        number = _longest_after_first(trees[i])
        answer_numbers.append(sum(len(tree.rows) for tree in trees[:i]) + number)
        plain.append(forward(right_padded([trees[i].rows[number]], pad_token_id, device)))
    batch = padded_trees(trees, pad_token_id, device, plain[0][0].dtype)
    try:
        logits = forward(batch)
    except Exception:  # whatever it is, it is of trees: this model has just run plain rows
        return None
    for answer_number, alone_logits in zip(answer_numbers, plain, strict=True):
        tree_logits = [torch.split(branch_logits, batch.counts)[answer_number] for branch_logits in logits]
        if not all(alike(*pair, pair[0].dtype) for pair in zip(tree_logits, alone_logits, strict=True)):
            return None
    return batch, logits


def _longest_after_first(tree: Tree) -> int:
    """Return the number of the longest row that has another before it."""
    return max(range(1, len(tree.rows)), key=lambda j: len(tree.rows[j].input_ids))
