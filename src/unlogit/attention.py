"""Which attention a training step computes with.

On a processor, PyTorch's fused attention is slow backward. For short rows a step computes it in plain products here,
with scores in float32 where the model's type is narrower: in bfloat16 that is faster than the fused one and its
gradients are nearer to the exact ones, while transformers' own plain attention (``eager``), which rounds the scores to
bfloat16, is several times further off.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import eager_mask

SHORT_TOKENS = 128
"""Longest rows that are computed so: a whole step takes 5 to 25 % less there (measured in bfloat16 on one thread).
Longer ones gain as well, up to 256 tokens or more, but the scores of all heads, kept for the way back, grow with the
square."""

SHORT = "unlogit_short"
"""Our attention's name in transformers."""


class StepAttention:
    """Switches the attention of models, and of views that share their blocks, for a step at a time."""

    def __init__(self, *models: nn.Module) -> None:
        configs: list[Any] = [module.config for model in models for module in model.modules() if _known(module)]
        found = {id(config): config for config in configs}
        self.configs = [config for config in found.values() if config._attn_implementation == "sdpa"]

    @contextmanager
    def for_rows(self, tokens: int, device: torch.device) -> Iterator[None]:
        """Compute what is run inside by what is fastest for rows of so many tokens."""
        short = device.type == "cpu" and tokens <= SHORT_TOKENS
        try:
            for config in self.configs if short else ():
                config._attn_implementation = SHORT
            yield
        finally:
            for config in self.configs:
                config._attn_implementation = "sdpa"


def short_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    **given: Any,
) -> tuple[Tensor, None]:
    """Compute attention in plain products, in transformers' form of an attention function.

    Args:
        module: the attention layer.
        query: [B, H, T, D].
        key: [B, H / G, T, D], with G query heads to a key's (``module.num_key_value_groups``).
        value: as ``key``.
        attention_mask: added to the scores, [B, 1, T, T].
        dropout: share of the weights that is dropped.
        scaling: what the scores are multiplied by; without it, 1 / √D.
        given: whatever else a model hands on.

    Returns:
        [B, T, H, D] in the query's type, and no weights.
    """
    if given.get("position_bias") is not None:  # rare, and not to be had in fewer lines than it has there
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **given)  # type: ignore[no-any-return]
    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    wide = torch.promote_types(query.dtype, torch.float32)
    scores = query.to(wide) @ key.to(wide).transpose(2, 3) * scale + attention_mask
    weights = functional.dropout(scores.softmax(-1).to(query.dtype), dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), None


def _known(module: Any) -> bool:
    return getattr(getattr(module, "config", None), "_attn_implementation", None) is not None


AttentionInterface.register(SHORT, short_attention)
AttentionMaskInterface.register(SHORT, eager_mask)
