"""Whether target and branches may run fused: tried on the model itself, by a comparison with one pass for each.

An architecture could mix the rows of a batch, or give its blocks tensors whose rows cannot be told apart. Nothing here
looks at names: a few rows with padding go both ways, and the logits have to be the same up to rounding.

A small model is compared in float32 on the CPU, where rounding is a hundred thousand times smaller than any fault; a
larger one, and one that is quantised or spread over devices, in the type that it runs in.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from unlogit.model.assistant import Assistant
from unlogit.model.decoder import alike
from unlogit.model.forward import ForwardPlan, per_branch_plan
from unlogit.model.fused import fused_plan

PADDING = (0, 1, 4)
"""Padded positions at the start of each row that is tried: the rows differ in length, and none is all padding."""

TOKENS = 7
"""Positions in each row."""

COPY_PARAMETERS = 2**26
"""A model with no more parameters than this is copied into float32 for the comparison: 256 MiB at most."""


def fusing_problem(target: Any, assistants: Sequence[Assistant]) -> str:
    """Return why fused passes do not give what one pass for each stream gives, or an empty string."""
    if target.device.type == "meta":
        return ""
    if target.dtype not in (torch.float32, torch.float64) and _copyable(target):
        target, assistants = copy.deepcopy((target, list(assistants)))  # together: they share weights
        target.float().cpu()
        for assistant in assistants:
            assistant.float().cpu()
    try:
        fused = _few_logits(target, fused_plan(target, assistants))
    except RuntimeError as error:
        return f"its blocks cannot run the rows of several streams ({error})"
    per_branch = _few_logits(target, per_branch_plan(target, [assistant.view for assistant in assistants]))
    same = all(alike(*pair, target.dtype) for pair in zip(fused, per_branch, strict=True))
    return "" if same else "its blocks do not keep the rows of a batch apart"


def _copyable(target: Any) -> bool:
    placed = "hf_device_map" in vars(target) or any(parameter.is_meta for parameter in target.parameters())
    attention = target.config._attn_implementation in ("eager", "sdpa")  # others may run on a GPU alone
    return (
        attention
        and not placed
        and not getattr(target, "is_quantized", False)
        and target.num_parameters() <= COPY_PARAMETERS
    )


@torch.no_grad()
def _few_logits(target: Any, plan: ForwardPlan) -> list[torch.Tensor]:
    """Return the logits [N, V] of each stream at the N positions of a few rows that are not padding."""
    device = target.get_input_embeddings().weight.device
    device = target.device if device.type == "meta" else device
    plan.eval()
    positions = torch.arange(TOKENS, device=device)
    mask = positions >= torch.tensor(PADDING, device=device)[:, None]  # [B, T]
    count = mask.numel()
    ids = (1 + torch.arange(count, device=device)).reshape(mask.shape) % target.config.get_text_config().vocab_size
    return plan.logits_at(ids, mask.long(), mask, None)
