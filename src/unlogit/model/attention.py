"""Attention that is faster on a processor than PyTorch's fused one, in two places.

A training step over short rows: the fused attention is slow backward. One more token in bfloat16: the fused attention
takes several times as long as reading the keys and values does, the more the more query heads share them. In both,
plain products are used here, with scores in float32 where the model's type is narrower, which is nearer to the exact
result than scores in bfloat16 (transformers' ``eager``) by far. Everywhere else this is transformers' ``sdpa``, and it
takes the same masks.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SHORT_TOKENS = 128
"""Longest rows that train so: a whole step takes 4 to 8 % less there (measured in bfloat16 on one thread), and the
scores of all heads, kept for the way back, do not take much memory yet."""

FASTER = "unlogit_faster"
"""Our attention's name in transformers."""

FUSED = "sdpa"
"""The attention that it stands in for."""


class FasterAttention:
    """Has models, and views that share their blocks, use it for a while, where they use ``sdpa``."""

    def __init__(self, *models: nn.Module) -> None:
        modules = [module for model in models for module in model.modules() if _known(module)]
        unfit = {id(module.config) for module in modules if not _asks_by_name(type(module).__module__)}
        found = {id(module.config): module.config for module in modules if id(module.config) not in unfit}
        self.configs: list[Any] = list(found.values())

    @contextmanager
    def used(self) -> Iterator[None]:
        """Use it for what is run inside. Masks are the same, so that a model may meet the end of another's while."""
        changed = [config for config in self.configs if config._attn_implementation == FUSED]
        try:
            for config in changed:  # of each config by itself: the public name sets those of its parts, too
                config._attn_implementation_internal = FASTER
            yield
        finally:
            for config in changed:
                config._attn_implementation_internal = FUSED


def chosen_attention(config: Any) -> str:
    """Return the attention that a model of this config uses, by its name in transformers, whether this stands in or
    not."""
    name = str(config._attn_implementation)
    return FUSED if name == FASTER else name


def faster_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """Compute attention, in transformers' form of an attention function.

    Args:
        module: the attention layer.
        query: [B, H, T, D].
        key: [B, H / G, S, D], with G query heads to each of its heads.
        value: as ``key``; its D may be another.
        attention_mask: [B, 1, T, S], True where a key is seen, or added to the scores; None: all keys are seen, or
            where T > 1 and nothing else is said, those up to the query's own.
        dropout: share of the weights that is dropped.
        scaling: what the scores are multiplied by; without it, 1 / √D.
        is_causal: whether a query sees no key after its own, where no mask is given.
        given: whatever else a model hands on.

    Returns:
        [B, T, H, D] in the query's type, and no weights.
    """
    strange = any(given.get(name) is not None for name in ("position_bias", "softcap"))
    by_head = attention_mask is not None and (attention_mask.ndim != 4 or attention_mask.shape[1] != 1)
    if not _faster(query, key) or strange or by_head:
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **given
        )
    (rows, heads, queries, size), own = query.shape, key.shape[1]
    wide = torch.promote_types(query.dtype, torch.float32)
    scale = size**-0.5 if scaling is None else scaling
    grouped = query.reshape(rows, own, heads // own * queries, size).to(wide)  # keys are read once for all that share
    with torch.autocast("cpu", enabled=False):  # it would round the scores
        scores = (grouped @ key.to(wide).mT * scale).view(rows, own, heads // own, queries, -1)
    if (
        attention_mask is None
        and queries > 1
        and (getattr(module, "is_causal", True) if is_causal is None else is_causal)
    ):
        attention_mask = torch.ones(1, 1, queries, key.shape[2], dtype=torch.bool, device=key.device).tril()
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attention_mask[:, :, None], torch.finfo(wide).min)
    elif attention_mask is not None:
        scores = scores + attention_mask[:, :, None]
    weights = functional.dropout(scores.softmax(-1).to(query.dtype), dropout, module.training)
    output = weights.view(rows, own, -1, key.shape[2]) @ value
    return output.view(rows, heads, queries, -1).transpose(1, 2).contiguous(), None


def _faster(query: Tensor, key: Tensor) -> bool:
    """Whether plain products are the faster way."""
    if query.device.type != "cpu":
        return False
    if torch.is_grad_enabled() and query.requires_grad:
        return key.shape[2] <= SHORT_TOKENS
    return query.shape[2] == 1 and query.dtype == torch.bfloat16


@cache
def _asks_by_name(module: str) -> bool:
    """Whether the code of a model takes its attention from transformers' table by name and does nothing by the name
    itself: Falcon, for one, has attention of its own for every name but "sdpa", which takes other masks."""
    try:
        source = inspect.getsource(sys.modules[module])
    except (OSError, TypeError, KeyError):
        return False
    return "ALL_ATTENTION_FUNCTIONS" in source and not re.search(r"_attn_implementation\s*(?:==|!=|in\b|not\b)", source)


def _known(module: Any) -> bool:
    return getattr(getattr(module, "config", None), "_attn_implementation", None) is not None


AttentionInterface.register(FASTER, faster_attention)
AttentionMaskInterface.register(FASTER, sdpa_mask)
