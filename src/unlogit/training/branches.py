"""The branches of an unlearned model, by objective: what each remembers, where it is flat, and its sign.

All of them stand in one combination, ``z = z_target − alpha · Σ weight_i · d_i`` (see ``logit_difference``):

* ``uld``: one branch that remembers what must go. Ji et al., NeurIPS 2024, arXiv 2406.08607.
* ``dual_uld``: a second one protects the neighbours (Dual-ULD, EASE). The first remembers the forget rows and the
  retain rows nearest to them, the second those retain rows only; subtracted and added, what both know cancels out.
* ``divergence``: two small models, one trained with the forget rows and one without, neither of them flat anywhere
  (divergence decoding, arXiv 2605.31293, linear; with the rule ``rank``, its other form).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import normalize

from unlogit.data.batches import pad_rows
from unlogit.data.encode import encode
from unlogit.data.examples import Example

ROWS_AT_ONCE = 32


@dataclass(frozen=True)
class Branch:
    """One assistant: its weight in the combination and the pools that it remembers and is flat on.

    Pools are ``forget``, ``retain``, ``near`` (those retain rows that are nearest to the forget rows; where a branch
    names it, ``retain`` means the others), ``perturbed`` and ``neutral``.
    """

    weight: float
    remember: tuple[str, ...]
    flat: tuple[str, ...]


FLAT = ("retain", "perturbed", "neutral")

BRANCHES: dict[str, tuple[Branch, ...]] = {
    "uld": (Branch(1.0, ("forget",), FLAT),),
    "dual_uld": (Branch(1.0, ("forget", "near"), FLAT), Branch(-1.0, ("near",), ("forget", *FLAT))),
    "divergence": (Branch(1.0, ("forget", "retain"), ()), Branch(-1.0, ("retain",), ())),
}
"""Branches by objective."""


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
    found = _means(target, tokenizer, rows, max_tokens)  # [R, H]
    centre = found.mean(dim=0)  # what all rows have in common says nothing
    likeness = (normalize(found - centre, dim=-1) @ normalize(goal - centre, dim=-1).T).amax(dim=1)
    chosen: list[int] = likeness.topk(min(count, len(rows))).indices.sort().values.tolist()
    return chosen


def _means(target: Any, tokenizer: Any, examples: Sequence[Example], max_tokens: int) -> torch.Tensor:
    """Return the mean last hidden state of each row: [rows, H], float32."""
    coded = [encode(example, tokenizer, max_tokens) for example in examples]
    order = sorted(range(len(coded)), key=lambda i: len(coded[i].input_ids))
    means: dict[int, torch.Tensor] = {}
    inner = target.get_decoder()
    for begin in range(0, len(order), ROWS_AT_ONCE):
        chosen = order[begin : begin + ROWS_AT_ONCE]
        batch = {name: tensor.to(target.device) for name, tensor in pad_rows([coded[i] for i in chosen]).items()}
        mask = batch["attention_mask"]
        states = inner(input_ids=batch["input_ids"], attention_mask=mask, use_cache=False).last_hidden_state
        total = (states.float() * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        means.update(zip(chosen, total.cpu(), strict=True))
    return torch.stack([means[i] for i in range(len(coded))])
