"""Where a model's answers end: its own end tokens, the tokenizer's, and the chat template's end of turn.

Some models' generation settings lack the last, and ``generate`` then runs on into turns of its own making.
"""

from collections.abc import Sequence
from typing import Any

from unlogit.data.encode import encode
from unlogit.data.examples import Example


def as_ids(value: int | Sequence[int] | None) -> list[int]:
    """Return the token ids of a setting that holds none, one or several."""
    return [] if value is None else [value] if isinstance(value, int) else list(value)


def end_ids(model: Any, tokenizer: Any, examples: Sequence[Example] = (Example("?", "."),)) -> list[int]:
    """Return the tokens that end an answer: the model's, the tokenizer's, and what the ``examples`` end with."""
    closing = [encode(example, tokenizer).input_ids[-1] for example in examples if example.kind != "text"]
    return sorted({*as_ids(model.generation_config.eos_token_id), tokenizer.eos_token_id, *closing})


def end_where_answers_end(model: Any, tokenizer: Any) -> None:
    """Let ``generate`` stop at each of ``end_ids``."""
    model.generation_config.eos_token_id = end_ids(model, tokenizer)
