"""Long answers in pieces: every token of the answer carries loss once, after its prompt and what stands before it."""

from typing import Any

import pytest

from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.data.pieces import LEAST_ROOM, check_prompts, encode_pieces
from unlogit.errors import DataError


def test_pieces_are_the_whole_answer(byte_tokenizer: Any) -> None:
    """21 prompt tokens; of 61 there are 40 for the answer, from the second piece on 20 of them its context."""
    row = Example("a?", "".join(chr(ord("a") + i % 26) for i in range(100)))
    full = encode(row, byte_tokenizer)
    pieces = encode_pieces(row, byte_tokenizer, 61)
    assert all(len(piece.input_ids) <= 61 for piece in pieces)
    assert all(piece.input_ids[:21] == full.prompt_ids for piece in pieces)
    answer = [token for piece in pieces for token in piece.input_ids[piece.prompt_tokens :]]
    assert answer == list(full.input_ids[21:])
    assert [piece.answer_tokens for piece in pieces] == [40, 20, 20, 20, 2]
    assert [piece.prompt_tokens - 21 for piece in pieces] == [0, 20, 20, 20, 38]
    seen = 21
    for piece in pieces:  # what stands between prompt and loss is what comes before in the answer
        context = piece.prompt_tokens - 21
        assert piece.input_ids[21 : 21 + context] == full.input_ids[seen - context : seen]
        seen += piece.answer_tokens


def test_a_row_that_fits_is_one_piece(byte_tokenizer: Any) -> None:
    row = Example("a?", "b.")
    assert encode_pieces(row, byte_tokenizer, 25) == [encode(row, byte_tokenizer)]


def test_pieces_without_content_are_left_out(byte_tokenizer: Any) -> None:
    """Only the last word is content."""
    row = Example("Who?", "it was " * 20 + "Zed")
    pieces = encode_pieces(row, byte_tokenizer, 64, frozenset({"it", "was"}))
    assert len(pieces) == 1
    sides = pieces[0].token_sides
    assert sides is not None
    content = [token for token, side in zip(pieces[0].input_ids, sides, strict=True) if side == "forget"]
    assert byte_tokenizer.decode(content) == "Zed"
    assert len(sides) == len(pieces[0].input_ids)


def test_a_question_that_leaves_no_room(byte_tokenizer: Any) -> None:
    """An answer of three tokens needs three, one of thirty ``LEAST_ROOM``."""
    prompt = len(encode(Example("a?", "b"), byte_tokenizer).prompt_ids)
    assert len(encode_pieces(Example("a?", "b"), byte_tokenizer, prompt + 3)) == 1
    encode_pieces(Example("a?", "b" * 30), byte_tokenizer, prompt + LEAST_ROOM)
    with pytest.raises(DataError, match=f"rows.jsonl line 3 has {prompt} tokens"):
        encode_pieces(Example("a?", "b" * 30, origin="rows.jsonl line 3"), byte_tokenizer, prompt + LEAST_ROOM - 1)


def test_all_that_are_too_long_at_once(byte_tokenizer: Any) -> None:
    rows = [Example("a" * n, "b" * 20, origin=f"rows.jsonl line {n}") for n in (1, 100, 101, 102, 103)]
    with pytest.raises(DataError) as caught:
        check_prompts(rows, byte_tokenizer, 64)
    message = str(caught.value)
    assert "too long in 4 rows (rows.jsonl line 100 has 119 tokens; rows.jsonl line 101 has 120 tokens;" in message
    assert "and 1 more); expected at most 48 tokens before the answer" in message
    assert "aaaa" not in message
    check_prompts(rows, byte_tokenizer, 200)
