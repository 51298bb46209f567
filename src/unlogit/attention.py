"""Which attention a training step computes with.

On a processor, PyTorch's fused attention is slow backward: with rows of up to 128 tokens a whole step takes 13 to 18 %
less with attention in plain products (``eager``), about as long at 256, and 20 % more at 512, where the plain scores
also take much memory (measured in bfloat16 on one thread). Both give the same up to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

EAGER_TOKENS = 128
"""Longest rows of a step that are faster so."""


class StepAttention:
    """Switches the attention of models, and of views that share their blocks, for a step at a time."""

    def __init__(self, *models: nn.Module) -> None:
        configs: list[Any] = [module.config for model in models for module in model.modules() if _known(module)]
        found = {id(config): config for config in configs}
        self.configs = [config for config in found.values() if config._attn_implementation == "sdpa"]

    @contextmanager
    def for_rows(self, tokens: int, device: torch.device) -> Iterator[None]:
        """Compute what is run inside by what is fastest for rows of so many tokens."""
        short = device.type == "cpu" and tokens <= EAGER_TOKENS
        try:
            for config in self.configs if short else ():
                config._attn_implementation = "eager"
            yield
        finally:
            for config in self.configs:
                config._attn_implementation = "sdpa"


def _known(module: Any) -> bool:
    return getattr(getattr(module, "config", None), "_attn_implementation", None) is not None
