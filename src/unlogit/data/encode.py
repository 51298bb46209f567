"""From an example to token ids: the loss falls on the answer's tokens and the end-of-text token only.

The full text is tokenised once, and the end of the prompt is found by character offsets: prompt and answer tokenised
separately give other tokens than the model sees when it generates. A token across the boundary belongs to the
answer. Chat templates are used where the tokenizer has one, a plain "Question: … / Answer: …" form where it has none.
An answer that has a special token's text in it ("</s>") is read as text there: it neither ends nor opens anything.
"""

from dataclasses import dataclass, replace
from typing import Any

from unlogit.data.chat_template import answer_start, templated, thinking_prompt, thinks
from unlogit.data.content_words import Spans, content_spans
from unlogit.data.examples import Example
from unlogit.errors import DataError, ModelError

_SPEAKERS = {"user": "Question: ", "assistant": "Answer: "}
"""What a turn opens with where there is no chat template; turns of others (a system prompt) open with nothing."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of prompt, answer and end-of-text; the first ``prompt_tokens`` of them carry no loss."""

    input_ids: tuple[int, ...]
    prompt_tokens: int
    token_sides: tuple[str | None, ...] | None = None
    """The side of each token where only content words are remembered (see ``content_words``): ``forget`` for these,
    ``uniform`` for words of the question, None for what carries no loss. None: all of the answer is the row's side."""

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """What generation starts from."""
        return self.input_ids[: self.prompt_tokens]

    @property
    def answer_tokens(self) -> int:
        """Number of tokens of the answer, end-of-text included."""
        return len(self.input_ids) - self.prompt_tokens


def render(example: Example, tokenizer: Any, thinking: bool = False) -> tuple[str, str, bool]:
    """Return (prompt, answer with what closes it, whether special tokens are already in the text).

    With ``thinking`` the answer stands in a thought, as its beginning; a template that has none takes no notice.
    """
    if example.kind == "text":
        return "", example.answer, False
    if example.kind == "completion":
        return example.question, example.answer, False
    if tokenizer.chat_template:
        turns = [{"role": m.role, "content": m.content} for m in example.history]
        turns.append({"role": "user", "content": example.question})
        if thinking:
            return thinking_prompt(turns, tokenizer), example.answer, True
        text = templated([*turns, {"role": "assistant", "content": example.answer}], tokenizer)
        start = answer_start(turns, text, example.answer, tokenizer)
        return text[:start], text[start:], True
    turns_text = [f"{_SPEAKERS.get(m.role, '')}{m.content}" for m in example.history]
    prompt = "\n".join([*turns_text, f"{_SPEAKERS['user']}{example.question}", "Answer:"])
    return prompt, f" {example.answer}", False


def encode(
    example: Example,
    tokenizer: Any,
    max_tokens: int | None = None,
    common: frozenset[str] | None = None,
    *,
    thinking: bool = False,
) -> Encoded:
    """Tokenise an example. Longer than ``max_tokens`` it loses the end of its answer; see ``pieces`` for all of it.

    Given ``common`` words, only content words are remembered (see ``Encoded.token_sides``); the token that ends the
    answer is none. With ``thinking`` the answer is the beginning of a thought, which goes on (see ``render``).

    Raises:
        ModelError: the tokenizer has no end-of-text token, or no offsets (a slow tokenizer).
        DataError: nothing of the answer is left within ``max_tokens``.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer {tokenizer.name_or_path!r} has no end-of-text token; expected one, since the model must "
            "learn where an answer ends: set eos_token in its tokenizer_config.json"
        )
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer {tokenizer.name_or_path!r} gives no character offsets; expected a fast tokenizer: "
            "save it once with AutoTokenizer.from_pretrained(..., use_fast=True)"
        )
    thinking = thinking and has_thought(example, tokenizer)
    ids, offsets, start, begin = _located(example, tokenizer, thinking)
    if example.kind != "text" and not thinking:
        ids = _closed(ids, start, tokenizer)
    if max_tokens is not None:
        ids = ids[:max_tokens]
    if len(ids) <= start:
        limit = "" if max_tokens is None else f" within the {max_tokens} tokens of max_tokens"
        raise DataError(
            f"a row has {start} prompt tokens and no answer token{limit}; expected at least one: "
            f"{'give it a longer answer' if max_tokens is None else 'raise max_tokens or shorten the prompt'}"
        )
    if common is None:
        return Encoded(tuple(ids), start)
    sides = _token_sides(len(ids), offsets, start, begin, content_spans(example, common))
    return Encoded(tuple(ids), start, sides)


def has_thought(example: Example, tokenizer: Any) -> bool:
    """Whether a row can be asked with a thought before its answer."""
    return example.kind in ("question", "messages") and thinks(tokenizer)


def _token_ids(
    text: str, tokenizer: Any, content: tuple[int, int], add_special: bool
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the ids of a text and the characters of each. What stands within ``content`` is no special token."""
    coded = tokenizer(text, add_special_tokens=add_special, return_offsets_mapping=True, verbose=False)
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    special = _stop_tokens(tokenizer)
    for id_, (first, last) in zip(coded["input_ids"], coded["offset_mapping"], strict=True):
        is_literal = id_ in special and content[0] <= first < last <= content[1]
        as_text = {"add_special_tokens": False, "split_special_tokens": True}
        token_ids = tokenizer(text[first:last], **as_text)["input_ids"] if is_literal else [id_]
        ids += token_ids
        offsets += [(first, last)] * len(token_ids)
    return ids, offsets


def _token_sides(
    length: int, offsets: list[tuple[int, int]], start: int, begin: int, word_spans: tuple[Spans, Spans]
) -> tuple[str | None, ...] | None:
    """Return the side of each token of a row whose answer begins at token ``start`` and character ``begin``; None where
    all content words were cut off. A token that belongs to two words counts as one of a content word."""

    def within(i: int, spans: Spans) -> bool:
        if not start <= i < len(offsets):  # the token that ends the answer may have been added
            return False
        first, last = offsets[i][0] - begin, offsets[i][1] - begin
        return any(first < span_end and last > span_first for span_first, span_end in spans)

    content, question = word_spans
    sides = tuple("forget" if within(i, content) else "uniform" if within(i, question) else None for i in range(length))
    return sides if "forget" in sides else None


def _located(example: Example, tokenizer: Any, thinking: bool) -> tuple[list[int], list[tuple[int, int]], int, int]:
    """Return the ids of a rendered row, the characters of each, and where the answer begins: token and character."""
    prompt, answer, has_special = render(example, tokenizer, thinking)
    begin = len(prompt) + max(answer.find(example.answer.strip()), 0) - _indent(example.answer)
    content = (begin, begin + len(example.answer.rstrip())) if example.kind != "text" else (0, 0)
    ids, offsets = _token_ids(prompt + answer, tokenizer, content, add_special=not has_special)
    start = next((i for i, (_, end) in enumerate(offsets) if end > len(prompt)), len(ids))
    if not has_special and ids and ids[-1] == tokenizer.eos_token_id and len(ids) > start:
        ids.pop()  # some tokenizers add it themselves
    return ids, offsets, max(start, 1), begin  # the first token has nothing to be predicted from


def tokens_of_spans(example: Example, tokenizer: Any, spans: Spans) -> list[range]:
    """Return the tokens of each span of characters of a row's answer, counted from the answer's first token.

    A token that reaches into a span belongs to it.
    """
    _, offsets, start, begin = _located(example, tokenizer, thinking=False)
    token_ranges = []
    for span_first, span_end in spans:
        inside = [
            i - start
            for i, (first, last) in enumerate(offsets)
            if i >= start and first - begin < span_end and last - begin > span_first
        ]
        token_ranges.append(range(inside[0], inside[-1] + 1) if inside else range(0))
    return token_ranges


def encode_answers(example: Example, tokenizer: Any, answers: tuple[str, ...]) -> list[Encoded]:
    """Tokenise the example's prompt with each of ``answers`` in turn."""
    return [encode(replace(example, answer=answer), tokenizer) for answer in answers]


def _indent(text: str) -> int:
    """Return how many characters stand before the first that is no space."""
    return len(text) - len(text.lstrip())


def _closed(ids: list[int], start: int, tokenizer: Any) -> list[int]:
    """End the answer with the one token that stops generation: the template's own end of turn, or end-of-text."""
    special = _stop_tokens(tokenizer)
    for i in range(start, len(ids)):
        if ids[i] in special:
            return ids[: i + 1]
    return [*ids, tokenizer.eos_token_id]


def _stop_tokens(tokenizer: Any) -> set[int]:
    """Ids that can end a turn: all special tokens, those without a role of their own (Phi-3's <|end|>) included.

    The unknown token is none of them, unless it is end-of-text too (GPT-2): it may stand anywhere in an answer.
    """
    special = set(tokenizer.all_special_ids)
    special |= {id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    if tokenizer.unk_token_id != tokenizer.eos_token_id:
        special.discard(tokenizer.unk_token_id)
    return special
