"""How a row becomes what a model reads, and what it writes becomes a text: the part of scoring where protocol
differ.

``PLAIN`` is our own: loss on every token of the answer and the one that ends it, attention to every token,
greedy answers that end where the rows' answers end. Another project's is in ``open_unlearning_tokens``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unlogit.data.encode import Encoded, encode, encode_answers
from unlogit.data.examples import Example
from unlogit.evaluate.scoring.continuation import beginning_tokens
from unlogit.model.ends import end_ids


@dataclass(frozen=True)
class PromptFormat:
    """Functions of an example and a tokenizer.

    ``encode_answers`` gives the prompt with each of some answers; ``prompt_ids`` what generation starts from;
    ``hidden_id`` a token that attention never sees, wherever it stands, or None; ``generation`` transformers' settings
    of a greedy answer, from model, tokenizer, examples and the longest answer in tokens; ``text`` the answer in words.
    """

    encode_answers: Callable[[Example, Any, tuple[str, ...]], list[Encoded]]
    prompt_ids: Callable[[Example, Any], tuple[int, ...]]
    hidden_id: Callable[[Any], int | None]
    generation: Callable[[Any, Any, Sequence[Example], int], Any]
    text: Callable[[Any, list[int]], str]


def plain_prompt_ids(example: Example, tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens before the answer; of running text, its beginning."""
    row = encode(example, tokenizer)
    return row.input_ids[: beginning_tokens(row)] if example.kind == "text" else row.prompt_ids


def thinking_prompt_ids(example: Example, tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens before a thought."""
    return encode(example, tokenizer, thinking=True).prompt_ids


def plain_generation(model: Any, tokenizer: Any, examples: Sequence[Example], max_new_tokens: int) -> Any:
    """Return settings that set aside the model's own sampling and penalties: the likeliest token each time."""
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        temperature=1.0,  # None would be replaced by the model's own, and warned about
        top_p=1.0,
        top_k=50,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        max_new_tokens=max_new_tokens,
        use_cache=True,
        eos_token_id=end_ids(model, tokenizer, examples),
    )


def plain_text(tokenizer: Any, tokens: list[int]) -> str:
    """Return the words without special tokens."""
    return str(tokenizer.decode(tokens, skip_special_tokens=True)).strip()


PLAIN = PromptFormat(encode_answers, plain_prompt_ids, lambda tokenizer: None, plain_generation, plain_text)
"""Our own protocol."""

THINKING = replace(PLAIN, prompt_ids=thinking_prompt_ids)
"""Our own protocol, with a thought before the answer; both are in the text."""
