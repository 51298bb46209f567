"""Running text in a run: whole documents stay on one side, whatever their spacing."""

import json
from typing import Any

import pytest

from support.preparation import Setup
from unlogit.errors import DataError


def document(name: str) -> str:
    """80 characters: five pieces of 16, which all begin with the document's name."""
    return "".join(f"{name}{i}".ljust(15, "-") + " " for i in range(5))


def write_texts(setup: Setup, name: str, texts: list[str]) -> None:
    (setup.folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def test_documents_stay_on_one_side(setup: Setup, byte_tokenizer: Any) -> None:
    """Six documents of five pieces. A quarter is seven pieces to score: one document; four pieces are to be held
    out, and no document is so short: one is, four are trained on."""
    write_texts(setup, "retain", [document(name) for name in "ABCDEF"])
    rows = setup.prepare(byte_tokenizer, chunk_tokens=16)["rows"]
    names = ("retain", "holdout_retain", "evaluation/retain")
    assert [rows[name] for name in names] == [20, 5, 5]
    sides = [{row.answer[0] for row in setup.rows(name)} for name in names]
    assert [len(side) for side in sides] == [4, 1, 1]
    assert set.union(*sides) == set("ABCDEF")


def test_a_document_that_a_subset_cuts_is_not_scored(setup: Setup, byte_tokenizer: Any) -> None:
    """17 pieces are known: all of A to C, two of D, which is trained on."""
    write_texts(setup, "retain", [document(name) for name in "ABCD"])
    message = setup.message_of(tokenizer=byte_tokenizer, chunk_tokens=16, retain_subset=3)
    assert "retain side has 0" in message
    setup.prepare(byte_tokenizer, chunk_tokens=16, retain_subset=17)
    sides = [{row.answer[0] for row in setup.rows(n)} for n in ("evaluation/retain", "holdout_retain", "retain")]
    assert [len(side) for side in sides] == [1, 1, 2]
    assert "D" in sides[2]


def test_three_documents_are_enough(setup: Setup, byte_tokenizer: Any) -> None:
    write_texts(setup, "retain", [document(name) for name in "ABC"])
    rows = setup.prepare(byte_tokenizer, chunk_tokens=16)["rows"]
    assert [rows[name] for name in ("retain", "holdout_retain", "evaluation/retain")] == [5, 5, 5]


def test_a_document_is_left_for_each_side(setup: Setup, byte_tokenizer: Any) -> None:
    """Both short ones would fit into the five pieces to score; one of them stays, to be held out."""
    write_texts(setup, "retain", [document("A")[:16], document("B")[:16], document("C") + document("D")])
    rows = setup.prepare(byte_tokenizer, chunk_tokens=16)["rows"]
    assert [rows[name] for name in ("retain", "holdout_retain", "evaluation/retain")] == [10, 1, 1]


def test_two_documents_are_split_by_piece_and_it_is_said(setup: Setup, byte_tokenizer: Any) -> None:
    """Ten pieces: two are scored, and a quarter of the other eight is held out."""
    write_texts(setup, "retain", [document("A"), document("B")])
    summary = setup.prepare(byte_tokenizer, chunk_tokens=16)
    names = ("retain", "holdout_retain", "evaluation/retain")
    assert [summary["rows"][name] for name in names] == [6, 2, 2]
    assert any("retain side has 2 documents" in note for note in summary["notes"])


@pytest.mark.parametrize("side", ["retain", "neutral"])
def test_forget_document_in_other_spacing(setup: Setup, byte_tokenizer: Any, side: str) -> None:
    """Two more spaces in front and other case: no piece is the same, the document is."""
    write_texts(setup, "forget", [document("F")])
    write_texts(setup, side, [document("A"), document("B"), "  " + document("F").lower(), document("C")])
    with pytest.raises(DataError, match=f"5 of 5 forget rows .* {side} side"):
        setup.prepare(byte_tokenizer, chunk_tokens=16)
