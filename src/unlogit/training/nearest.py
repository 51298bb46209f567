"""Which retain rows are nearest to the forget rows, by the target's own hidden states.

Shape legend: F forget rows, R retain rows, B rows of a batch, T tokens, H hidden.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import normalize

from unlogit.data.batches import pad_rows
from unlogit.data.encode import encode
from unlogit.data.examples import Example

ROWS_AT_ONCE = 32


@torch.no_grad()
def nearest_rows(
    target: Any, tokenizer: Any, forget: Sequence[Example], rows: Sequence[Example], count: int, max_tokens: int
) -> list[int]:
    """Return the positions in ``rows`` of the ``count`` that are nearest to any forget row, in their order.

    Nearness is the cosine between means of the target's last hidden states over a row's tokens.
    """
    if not forget or not rows or not count:
        return []
    goal = _means(target, tokenizer, forget, max_tokens)  # [F, H]
    retain_means = _means(target, tokenizer, rows, max_tokens)  # [R, H]
    centre = retain_means.mean(dim=0)  # what all rows have in common says nothing
    likeness = (normalize(retain_means - centre, dim=-1) @ normalize(goal - centre, dim=-1).T).amax(dim=1)  # [R]
    nearest: list[int] = likeness.topk(min(count, len(rows))).indices.sort().values.tolist()
    return nearest


def _means(target: Any, tokenizer: Any, examples: Sequence[Example], max_tokens: int) -> torch.Tensor:
    """Return the mean last hidden state of each row: [rows, H], float32."""
    coded = [encode(example, tokenizer, max_tokens) for example in examples]
    order = sorted(range(len(coded)), key=lambda i: len(coded[i].input_ids))
    means: dict[int, torch.Tensor] = {}
    inner = target.get_decoder()
    for begin in range(0, len(order), ROWS_AT_ONCE):
        indices = order[begin : begin + ROWS_AT_ONCE]
        batch = {name: tensor.to(target.device) for name, tensor in pad_rows([coded[i] for i in indices]).items()}
        mask = batch["attention_mask"]  # [B, T]
        output = inner(input_ids=batch["input_ids"], attention_mask=mask, use_cache=False)
        states = output.last_hidden_state  # [B, T, H]
        total = (states.float() * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)  # [B, H]
        means.update(zip(indices, total.cpu(), strict=True))
    return torch.stack([means[i] for i in range(len(coded))])  # [rows, H]
