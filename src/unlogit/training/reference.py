"""What the model was before it was trained, as far as an objective asks: computed once, before the first step.

For a whole answer that is one number, −log of its probability. For the distribution at each position it is the last
hidden state, H numbers in place of V, and one frozen copy of the head: the reference's logits are exact, and no second
model stands in memory.

Shape legend: B rows, T tokens, N positions, H hidden, V vocabulary.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from unlogit.data.batches import answer_positions, pad_rows
from unlogit.data.encode import Encoded
from unlogit.model.decoder import answer_hidden, head_logits, replaced

ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class Reference:
    """Values by side and number of the row in its pool; empty where nothing was asked for."""

    nll: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """−log p of each whole answer, in nats."""
    hidden: Mapping[str, Mapping[int, Tensor]] = field(default_factory=dict)
    """[N, H] of each row: what the head read at the positions that predict its answer."""
    head: Any = None
    """The model as it was, of which only the head is used."""

    def nll_of(self, side: str, numbers: Sequence[int]) -> Tensor | None:
        """Return [B] for these rows, or None where it was not asked for."""
        return torch.tensor([self.nll[side][number] for number in numbers]) if side in self.nll else None

    def logits_of(self, side: str, numbers: Sequence[int], device: torch.device) -> Tensor | None:
        """Return [N, V] for these rows, one after the other, or None where it was not asked for."""
        if side not in self.hidden:
            return None
        hidden = torch.cat([self.hidden[side][number] for number in numbers]).to(device)  # [N, H]
        with torch.no_grad():
            return head_logits(self.head, hidden)


@torch.no_grad()
def measure_reference(
    lm: Any, rows: Mapping[str, Mapping[int, Encoded]], needs: frozenset[str], dtype: torch.dtype = torch.float32
) -> Reference:
    """Run the model over the rows, as far as ``needs`` names ``SIDE_reference_nll`` or ``SIDE_reference_logits``.

    Args:
        lm: a causal language model of transformers, not trained yet; a head of its that will train is copied.
        rows: by side and number; the tokens of a row's answer are those that count.
        needs: see ``objectives``.
        dtype: compute in this type, as the training will.
    """
    nll: dict[str, dict[int, float]] = {}
    hidden: dict[str, dict[int, Tensor]] = {}
    device = next(lm.parameters()).device
    was_training = lm.training
    lm.eval()
    for side, side_rows in rows.items():
        kinds = [kind for kind in ("nll", "logits") if f"{side}_reference_{kind}" in needs]
        order = sorted(side_rows, key=lambda number: len(side_rows[number].input_ids))
        for begin in range(0, len(order) if kinds else 0, ROWS_AT_ONCE):
            numbers = order[begin : begin + ROWS_AT_ONCE]
            encoded = [side_rows[number] for number in numbers]
            batch = {name: tensor.to(device) for name, tensor in pad_rows(encoded).items()}
            keep = answer_positions(encoded).to(device)  # [B, T]
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                states = answer_hidden(lm, batch["input_ids"], batch["attention_mask"], keep)  # [N, H]
                logits = head_logits(lm, states) if "nll" in kinds else None
            counts = [row.answer_tokens for row in encoded]
            if logits is not None:
                labels = batch["input_ids"][:, 1:][keep[:, :-1]]  # [N]
                losses = nn.functional.cross_entropy(logits.float(), labels, reduction="none")
                sums = [float(row_losses.double().sum()) for row_losses in torch.split(losses, counts)]
                nll.setdefault(side, {}).update(zip(numbers, sums, strict=True))
            if "logits" in kinds:
                row_states = [one_row.cpu().clone() for one_row in torch.split(states, counts)]
                hidden.setdefault(side, {}).update(zip(numbers, row_states, strict=True))
    lm.train(was_training)
    return Reference(nll, hidden, with_own_head(lm) if hidden else None)


def with_own_head(lm: Any) -> Any:
    """Return the model, or where its head trains a view of it whose head is a copy, which training does not change."""
    head = lm.get_output_embeddings()
    if not any(p.requires_grad for p in head.parameters()):
        return lm
    path = next(name for name, module in lm.named_modules() if module is head)
    return replaced(lm, {path: copy.deepcopy(head).requires_grad_(False)})
