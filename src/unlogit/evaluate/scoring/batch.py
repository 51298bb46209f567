"""Rows of prompt and answer in one padded batch, with the places whose logits are wanted.

Shapes: B rows of a batch, T tokens, V vocabulary, m kept positions, n answer tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unlogit.data.encode import Encoded


@dataclass(frozen=True)
class Batch:
    """Right-padded rows; ``keep`` marks positions that predict an answer token, ``tokens`` what they should.

    Where one position predicts several tokens, as in ``answer_trees``, ``reads`` says which position is read for each.
    """

    input_ids: Tensor  # [B, T]
    attention_mask: Tensor  # [B, T], of trees [B, 1, T, T]: added to the attention scores
    keep: Tensor  # [B, T] bool; m of them are true
    tokens: Tensor  # [n]
    counts: list[int]  # answer tokens of each answer; sums to n
    position_ids: Tensor | None = None  # [B, T]; None: the model's own
    reads: Tensor | None = None  # [n] numbers of kept positions; None: each is read once, n = m

    def places(self) -> tuple[Tensor, Tensor]:
        """Return row and column [n] of the position that each answer token is predicted from."""
        rows, columns = self.keep.nonzero(as_tuple=True)  # [m]
        return (rows, columns) if self.reads is None else (rows[self.reads], columns[self.reads])

    def of_tokens(self, kept_logits: Tensor) -> Tensor:
        """Return the logits [n, V] of each answer token, given those of the kept positions [m, V]."""
        return kept_logits if self.reads is None else kept_logits[self.reads]


Forward = Callable[[Batch], list[Tensor]]
"""What makes logits [n, V] of a batch's answer tokens, in one or several ways."""


def right_padded(
    rows: Sequence[Encoded], pad_token_id: int, device: torch.device | str, hidden_id: int | None = None
) -> Batch:
    """Put rows into one batch; every row has at least one prompt token to predict its answer from.

    Attention does not see ``hidden_id``, wherever it stands; None hides no token.
    """
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
    if hidden_id is not None:
        mask[ids == hidden_id] = 0
    return Batch(ids.to(device), mask.to(device), keep.to(device), torch.tensor(tokens, device=device), counts)
