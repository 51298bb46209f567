"""Running text has no prompt of its own: what generation starts from is its beginning, and it should go on as the text
does. MUSE (arXiv 2407.06460) gives its first tokens, too.
"""

from typing import Any

from unlogit.data.encode import Encoded, encode
from unlogit.data.examples import Example

TEXT_PROMPT_TOKENS = 64
"""Most tokens of a text that generation starts from; it is the first half of a shorter text."""


def beginning_tokens(row: Encoded) -> int:
    """Return how many tokens of an encoded text generation starts from: at least 1, and at least 1 is left."""
    return min(len(row.input_ids) // 2, TEXT_PROMPT_TOKENS)


def longest_answer(example: Example, tokenizer: Any, max_new_tokens: int) -> int:
    """Return how many tokens may be generated: ``max_new_tokens``, of running text not more than the true rest has."""
    if example.kind != "text":
        return max_new_tokens
    row = encode(example, tokenizer)
    return min(len(row.input_ids) - beginning_tokens(row), max_new_tokens)


def continuation(example: Example, tokenizer: Any, max_new_tokens: int) -> str | None:
    """Return the true continuation of a text, as long as the generated one may be; None of any other row."""
    if example.kind != "text":
        return None
    row = encode(example, tokenizer)
    start = beginning_tokens(row)
    return str(tokenizer.decode(list(row.input_ids[start : start + max_new_tokens]), skip_special_tokens=True)).strip()
