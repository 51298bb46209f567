"""What scoring and generation share: which rows go into one batch, a model set to evaluation, progress."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many rows are done, and how many there are."""

MAX_BATCH_TOKENS = 4096
"""Most padded tokens of a batch."""

MAX_BATCH_LOGITS = 2**27
"""Most numbers that a batch's logits may hold (512 MiB in float32); a large vocabulary lowers the tokens by it."""


def silent(what: str, done: int, total: int) -> None:
    """The progress of those who asked for none."""


def length_batches(lengths: Sequence[int], batch_size: int, max_tokens: int = MAX_BATCH_TOKENS) -> Iterator[list[int]]:
    """Yield positions in ``lengths``, at most ``batch_size`` and ``max_tokens`` padded tokens at once.

    The longest come first so that a batch too large for memory fails at once. One row may exceed
    ``max_tokens``.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        rows = max(1, min(batch_size, max_tokens // lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def padding_id(tokenizer: Any) -> int:
    """Return the id to pad with; the attention mask hides it, so that any will do."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Without dropout and without gradients; the model is afterwards as it was.

    The head is given whole tensors: of a prompt, transformers gives it a slice of the last position, and a product of
    bfloat16 on a CPU takes hundreds of times as long over that.
    """
    was_training = model.training
    model.eval()
    head = getattr(model, "get_output_embeddings", lambda: None)()
    hook = head.register_forward_pre_hook(_contiguous) if isinstance(head, torch.nn.Module) else None
    try:
        with torch.inference_mode():
            yield
    finally:
        if hook is not None:
            hook.remove()
        model.train(was_training)


def _contiguous(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in inputs)
