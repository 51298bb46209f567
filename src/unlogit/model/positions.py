"""How many positions a model has: no more than it learnt an embedding for, as GPT-2 and OPT; others have no limit."""

from typing import Any

from torch import nn

LEARNED = ("wpe", "embed_positions", "position_embeddings", "position_embedding")
"""What the tables of learned positions are called in transformers."""


def position_limit(model: Any) -> int | None:
    """Return the most tokens that a model can read; None where its positions are computed."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in LEARNED and isinstance(module, nn.Embedding):
            return int(model.config.get_text_config().max_position_embeddings)
    return None
