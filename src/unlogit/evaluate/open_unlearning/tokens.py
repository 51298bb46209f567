"""OpenUnlearning's tokens: prompt, labels, attention and greedy answers as that project makes them (arXiv 2506.12618).

What changes numbers, beside ours:

* The prompt is tokenised alone, and carries no loss on as many tokens as that gives, even where prompt and answer
  together split otherwise at the boundary.
* With a chat template: a system turn "You are a helpful assistant." (left out where the template refuses it) and the
  date 10 Apr 2025, which only templates that ask for a date show. Without one: "Question: …\\nAnswer: " with the
  space, in at most 512 tokens. The end-of-text token is put behind whatever does not end with it. A model that has
  learnt " Ann" as one token, as ours without a template do, answers badly after that space: ROUGE falls, here as there.
* Attention sees no token that equals the padding token; where a tokenizer has none it is the end-of-text token, and so
  every end of turn inside the prompt is hidden.
* The model's own penalties hold when it answers, only its own end tokens end the answer, and spaces before punctuation
  are closed up.

From src/data/utils.py, src/data/collators.py, src/evals/metrics/utils.py and configs/model of
github.com/locuslab/open-unlearning. Not here: marks of its own that a config of that project writes in place of the
tokenizer's template (Llama-2-chat: "[INST] …" without a space before the answer), examples in the prompt, the reference
of ROUGE decoded from tokens (the same words on all of TOFU), bfloat16 rounding, and batches of 32 rows in the file's
order, which move numbers by rounding only.
"""

import copy
from collections.abc import Sequence
from typing import Any

from unlogit.data.chat_template import dated_template
from unlogit.data.encode import Encoded
from unlogit.data.examples import Example
from unlogit.errors import DataError, ModelError
from unlogit.evaluate.scoring.prompt_format import PromptFormat

SYSTEM_PROMPT = "You are a helpful assistant."
DATE = "10 Apr 2025"
MAX_TOKENS = 512
"""Longest row without a chat template; with one nothing is cut."""

_CLOSED_UP = (
    *((f" {sign}", sign) for sign in (".", "?", "!", ",")),
    (" ' ", "'"),
    *((f" {end}", end) for end in ("n't", "'m", "'s", "'ve", "'re")),
)
"""What ``clean_up_tokenization_spaces`` does in transformers 4; version 5 refuses it to most tokenizers."""

_USER, _ASSISTANT = "Question: ", "\nAnswer: "  # what it wraps questions in for base models (Llama-2-7b, Phi-1.5)


def encode_answers(example: Example, tokenizer: Any, answers: tuple[str, ...]) -> list[Encoded]:
    """Tokenise the prompt with each of ``answers`` in turn.

    Raises:
        ModelError: the tokenizer has no end-of-text token, or its chat template refuses a question with an answer.
        DataError: the row is not a question with an answer, or no token of an answer is left.
    """
    prompt = len(prompt_ids(example, tokenizer))
    return [_with_answer(example, tokenizer, answer, prompt) for answer in answers]


def prompt_ids(example: Example, tokenizer: Any) -> tuple[int, ...]:
    """Return the prompt's own tokens.

    Raises:
        ModelError, DataError: as ``encode_answers``.
    """
    _check(example, tokenizer)
    if tokenizer.chat_template:
        return _templated(tokenizer, _turns(example, tokenizer), add_generation_prompt=True)
    return _plain(tokenizer, f"{_USER}{example.question}{_ASSISTANT}")


def hidden_id(tokenizer: Any) -> int:
    """Return the token that attention never sees: the padding token."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def generation(model: Any, tokenizer: Any, examples: Sequence[Example], max_new_tokens: int) -> Any:
    """Return the model's own settings without sampling."""
    settings = copy.deepcopy(model.generation_config)
    settings.update(
        do_sample=False, temperature=1.0, top_p=1.0, top_k=50, max_new_tokens=max_new_tokens, use_cache=True
    )
    return settings


def text(tokenizer: Any, tokens: list[int]) -> str:
    """Return the words without special tokens and without spaces before punctuation."""
    decoded = str(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    for apart, together in _CLOSED_UP:
        decoded = decoded.replace(apart, together)
    return decoded.strip()


PROMPT_FORMAT = PromptFormat(encode_answers, prompt_ids, hidden_id, generation, text)


def _with_answer(example: Example, tokenizer: Any, answer: str, prompt_tokens: int) -> Encoded:
    if tokenizer.chat_template:
        turns = [*_turns(example, tokenizer), {"role": "assistant", "content": answer}]
        ids = _templated(tokenizer, turns, add_generation_prompt=False)
    else:
        ids = _plain(tokenizer, f"{_USER}{example.question}{_ASSISTANT}{answer}")
    if not ids or ids[-1] != tokenizer.eos_token_id:
        ids = (*ids, tokenizer.eos_token_id)
    if not 0 < prompt_tokens < len(ids):
        raise DataError(
            f"a row has {prompt_tokens} prompt tokens of {len(ids)} and no answer token as OpenUnlearning counts them; "
            "expected at least one: shorten the question, or leave protocol at unlogit"
        )
    return Encoded(ids, prompt_tokens)


def _check(example: Example, tokenizer: Any) -> None:
    if example.kind != "question":
        raise DataError(
            f"a row of the kind {example.kind!r} is to be scored by OpenUnlearning's protocol; expected questions "
            "with answers, it has no others: leave protocol at unlogit"
        )
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer {tokenizer.name_or_path!r} has no end-of-text token; expected one, since it ends every "
            "answer: set eos_token in its tokenizer_config.json"
        )


def _turns(example: Example, tokenizer: Any) -> list[dict[str, str]]:
    """Return system and user turn, or the user turn alone where the template refuses the other."""
    from jinja2 import TemplateError

    user = {"role": "user", "content": example.question}
    turns = [{"role": "system", "content": SYSTEM_PROMPT}, user]
    try:
        _apply(tokenizer, turns, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        return [user]
    return turns


def _apply(tokenizer: Any, turns: list[dict[str, str]], **settings: Any) -> Any:
    """Apply the chat template with the date that OpenUnlearning passes; templates with a clock get a fixed one."""
    return tokenizer.apply_chat_template(turns, chat_template=dated_template(tokenizer), date_string=DATE, **settings)


def _templated(tokenizer: Any, turns: list[dict[str, str]], *, add_generation_prompt: bool) -> tuple[int, ...]:
    from jinja2 import TemplateError

    try:
        ids = _apply(tokenizer, turns, tokenize=True, return_dict=False, add_generation_prompt=add_generation_prompt)
    except TemplateError as error:
        raise ModelError(
            f"the tokenizer's chat template refuses a question with an answer ({error}); expected one that takes them: "
            "set tokenizer.chat_template to another one"
        ) from error
    return tuple(ids)


def _plain(tokenizer: Any, row_text: str) -> tuple[int, ...]:
    return tuple(tokenizer(row_text, max_length=MAX_TOKENS, truncation=True)["input_ids"])
