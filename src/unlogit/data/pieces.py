"""Rows longer than a training step takes, in pieces, so that the end of a long answer is trained on, too.

Every piece has the prompt. After it comes what stands before the piece in the answer, as much as fits, without loss:
half of the room, and all that the last piece leaves.
"""

from collections.abc import Iterable
from typing import Any

from unlogit.data.encode import Encoded, encode
from unlogit.data.examples import Example
from unlogit.errors import DataError

LEAST_ROOM = 16
"""Tokens that a prompt must leave for a piece of its answer, or for all of a shorter one."""

_SHOWN = 3  # rows named in an error; the others are counted


def encode_pieces(
    example: Example,
    tokenizer: Any,
    max_tokens: int,
    common: frozenset[str] | None = None,
    *,
    thinking: bool = False,
) -> list[Encoded]:
    """Tokenise an example as ``encode`` does, in pieces of at most ``max_tokens`` tokens.

    Each token of the answer carries loss in one piece. Pieces without a content word are left out, where ``common``
    words are given.

    Raises:
        ModelError, DataError: as ``encode``; or the prompt leaves no room (``LEAST_ROOM``) for an answer.
    """
    row = encode(example, tokenizer, common=common, thinking=thinking)
    length, prompt = len(row.input_ids), row.prompt_tokens
    if length <= max_tokens:
        return [row]
    room = max_tokens - prompt
    if room < min(row.answer_tokens, LEAST_ROOM):
        raise DataError(_too_long([f"{example.origin or 'a row'} has {prompt} tokens"], 1, max_tokens))
    pieces, begin = [], prompt
    while begin < length:
        context = min(begin - prompt, max(room // 2, room - (length - begin)))
        end = min(begin + room - context, length)
        pieces.append(_piece(row, begin - context, begin, end))
        begin = end
    return [piece for piece in pieces if piece.token_sides is None or "forget" in piece.token_sides]


def _piece(row: Encoded, first: int, begin: int, end: int) -> Encoded:
    """Return the prompt, the context from ``first`` on, and what carries loss from ``begin`` on."""
    prompt = row.prompt_tokens
    unscored = prompt + begin - first
    sides = None if row.token_sides is None else (None,) * unscored + row.token_sides[begin:end]
    return Encoded(row.input_ids[:prompt] + row.input_ids[first:end], unscored, sides)


def check_prompts(rows: Iterable[Example], tokenizer: Any, max_tokens: int, *, thinking: bool = False) -> None:
    """Refuse rows whose question is too long, all at once, before anything long.

    With ``thinking`` the beginning of a thought has to fit, too, where the chat template has one.

    Raises:
        DataError: some are.
    """
    overhead = len(encode(Example("?", "."), tokenizer, thinking=thinking).input_ids)
    bad, count = [], 0
    for row in rows:
        texts = (row.question, *(message.content for message in row.history))
        if sum(len(text.encode()) + overhead for text in texts) + LEAST_ROOM <= max_tokens:
            continue  # a token has at least one byte
        encoded = encode(row, tokenizer, thinking=thinking)
        if max_tokens - encoded.prompt_tokens < min(encoded.answer_tokens, LEAST_ROOM):
            count += 1
            bad += [f"{row.origin or 'a row'} has {encoded.prompt_tokens} tokens"]
    if count:
        raise DataError(_too_long(bad, count, max_tokens))


def _too_long(bad: list[str], count: int, max_tokens: int) -> str:
    more = f"; and {count - _SHOWN} more" if count > _SHOWN else ""
    return (
        f"the question is too long in {count} row{'' if count == 1 else 's'} ({'; '.join(bad[:_SHOWN])}{more}); "
        f"expected at most {max_tokens - LEAST_ROOM} tokens before the answer, of the {max_tokens} of max_tokens: "
        "shorten it, or raise max_tokens"
    )
