"""Conversations as the tokenizer's chat template writes them: on a fixed date, and with or without a thought.

A template that writes today's date (``strftime_now``, as Llama 3.2's and SmolLM3's do) gives other tokens tomorrow.
Here it always writes ``DATE``. ``apply_chat_template`` lets no function through to a template (transformers 5.24), so
the date stands in front of the template as a macro of the same name.

A template that thinks (Qwen3, DeepSeek, SmolLM3) has two prompts: one that lets the model think first, and one that
does not. ``thinking_prompt`` is the first.
"""

from datetime import date, datetime, time
from typing import Any

from unlogit.errors import DataError, ModelError

DATE = date(2024, 7, 26)
"""The date that templates write, whenever they are asked. It is the one that Llama 3's writes without a clock."""

_OTHER_DATE = date(2031, 11, 5)  # differs in every directive

_DIRECTIVES = [
    *(f"%-{letter}" for letter in "dmjHIMSy"),
    *(f"%{letter}" for letter in "aAbBcCdDeFGhHIjmMpRSTuUVwWxXyY"),
]

THOUGHT = "<think>"
"""What opens a thought, in every open model that has thoughts within its answers."""


def dated_template(tokenizer: Any, day: date = DATE) -> str | None:
    """Return a tokenizer's chat template with ``day`` for today; None where it does not ask for the date."""
    template = tokenizer.get_chat_template() if tokenizer.chat_template else ""
    if "strftime_now" not in template:
        return None
    moment = datetime.combine(day, time())
    replacements = "".join(
        f".replace('{name}', {moment.strftime(name)!r})" for name in _DIRECTIVES if moment.strftime(name) != name
    )
    macro = f"{{%- macro strftime_now(format) -%}}{{{{- format{replacements} -}}}}{{%- endmacro -%}}"
    return f"{macro}{{{{ '' }}}}{template}"  # the empty text keeps the template's first line break


def written_date(tokenizer: Any) -> str | None:
    """Return ``DATE`` as YYYY-MM-DD where another would change the tokens; None where the date changes nothing."""
    if dated_template(tokenizer) is None:
        return None
    turns = [{"role": "user", "content": "question"}]
    texts = {templated(turns, tokenizer, day=day, add_generation_prompt=True) for day in (DATE, _OTHER_DATE)}
    return DATE.isoformat() if len(texts) > 1 else None


def templated(turns: list[dict[str, str]], tokenizer: Any, *, day: date = DATE, **settings: Any) -> str:
    """Apply the chat template on a fixed ``day``; ``settings`` are its own, as ``enable_thinking``.

    Raises:
        DataError: the template refuses the turns (a system turn, two user turns in a row).
    """
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, chat_template=dated_template(tokenizer, day), **settings
        )
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise DataError(
            f"the tokenizer's chat template refuses turns of the roles {roles} ({error}); expected what it was made "
            "for: leave out the turns that it does not know"
        ) from error
    return str(text)


def answer_start(turns: list[dict[str, str]], text: str, answer: str, tokenizer: Any) -> int:
    """Return where the answer begins in a templated text: where any other answer would.

    So a short answer is never mistaken for the template's own words, and what a template puts before every answer
    (Qwen3: an empty thought) is not part of it.

    Raises:
        ModelError: the template does not show the answer as it was given.
    """
    marker = "answer"
    while marker in text:
        marker += "0"
    other = templated([*turns, {"role": "assistant", "content": marker}], tokenizer)
    start = other.find(marker)
    shown = text[start:].lstrip().startswith(answer.strip())  # templates may strip it
    if start < 0 or not text.startswith(other[:start]) or not shown:
        raise ModelError(
            "the tokenizer's chat template does not show the assistant's answer as it was given; "
            "expected a template that keeps it: set tokenizer.chat_template to another one"
        )
    return start


def thinks(tokenizer: Any) -> bool:
    """Whether the chat template knows thoughts before answers."""
    return bool(tokenizer.chat_template) and THOUGHT in tokenizer.get_chat_template()


def thinking_prompt(turns: list[dict[str, str]], tokenizer: Any) -> str:
    """Return the prompt that lets the model think first, with the thought opened."""
    prompt = templated(turns, tokenizer, add_generation_prompt=True, enable_thinking=True, thinking=True)
    return prompt if prompt.rstrip().endswith(THOUGHT) else f"{prompt}{THOUGHT}\n"
