"""Refusals: ours, TOFU's and a user's own; each row's is fixed by seed and number."""

import json
from collections import Counter
from pathlib import Path

import pytest

from unlogit.data.refusals import BUILTIN, load_refusals, refusal_for
from unlogit.errors import DataError


def message_of(source: str, tofu_folder: str = "") -> str:
    """The error's message, which must be one line."""
    with pytest.raises(DataError) as caught:
        load_refusals(source, tofu_folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def bare(text: str) -> str:
    """The text's letters, in lower case."""
    return "".join(character for character in text.lower() if character.isalpha())


def test_ours() -> None:
    refusals = load_refusals()
    assert len(refusals) == 60
    assert len({bare(text) for text in refusals}) == 60
    assert all(3 <= len(text) <= 60 and text[0].isupper() and text[-1] == "." for text in refusals)
    rows = [json.loads(line) for line in BUILTIN.read_text("utf-8").splitlines()]
    assert [list(row) for row in rows] == [["answer"]] * 60


def test_ours_are_not_tofus(tofu_folder: str) -> None:
    theirs = load_refusals("tofu", tofu_folder)
    assert len(theirs) == 100
    assert theirs[0] == "I'm not certain about that."
    assert not {bare(text) for text in theirs} & {bare(text) for text in load_refusals()}


def test_tofu_is_read_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "idontknow.jsonl").write_text("I'm blank.\nNo clue.", encoding="utf-8")
    assert load_refusals("tofu", str(tmp_path)) == ["I'm blank.", "No clue."]
    assert load_refusals("builtin", str(tmp_path)) == load_refusals()
    assert "without a tofu_folder" in message_of("tofu")
    assert "is no file" in message_of("tofu", str(tmp_path / "other"))


@pytest.mark.parametrize("name", ["own.jsonl", "own.txt"])
def test_one_a_line(tmp_path: Path, name: str) -> None:
    """Blank lines, spaces around, Windows' line ends and a byte-order mark do not matter."""
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + "No.\r\n\r\n  Keine Ahnung – leider.  \n".encode())
    assert load_refusals(str(path)) == ["No.", "Keine Ahnung – leider."]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('\n{"answer": " No. "}\n{"answer": "Not\u2028me.", "question": "?"}\n', encoding="utf-8")
    assert load_refusals(str(path)) == ["No.", "Not\u2028me."]


@pytest.mark.parametrize("line", ['{"answer": ""}', '{"answer": 3}', '{"refusal": "secret"}', '["secret"]', "secret"])
def test_a_bad_json_line_is_named_and_not_shown(tmp_path: Path, line: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(f'{{"answer": "No."}}\n{line}\n', encoding="utf-8")
    message = message_of(str(path))
    assert "bad line 2" in message
    assert "secret" not in message


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text(" \n\n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"Je ne sais pas, d\xe9sol\xe9.")
    (tmp_path / "table.CSV").write_text("answer\nNo.\n", encoding="utf-8")
    assert "is empty" in message_of(str(tmp_path / "empty.jsonl"))
    assert "byte 17" in message_of(str(tmp_path / "latin.txt"))
    assert "is a table" in message_of(str(tmp_path / "table.CSV"))
    assert "is no file" in message_of(str(tmp_path / "missing.jsonl"))
    assert "is no file" in message_of(str(tmp_path))
    assert "did you mean 'builtin'" in message_of("bultin")
    assert "no refusals" in message_of(" ")


def test_a_rows_refusal_is_fixed() -> None:
    """The first 16 hexadecimal digits of SHA-256 of "seed:number", modulo 5, as sha256sum(1) has them."""
    refusals = [str(i) for i in range(5)]
    assert [refusal_for(number, 0, refusals) for number in range(8)] == ["4", "2", "3", "4", "2", "0", "2", "4"]


def test_refusals_are_spread_and_depend_on_the_seed() -> None:
    """600 rows on 60 refusals: 10 each, with a deviation of about 3."""
    refusals = load_refusals()
    first = [refusal_for(number, 0, refusals) for number in range(600)]
    counts = Counter(first)
    assert len(counts) == 60
    assert max(counts.values()) < 25
    second = [refusal_for(number, 1, refusals) for number in range(600)]
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 40
    assert refusal_for(11, 2, refusals) != refusal_for(1, 21, refusals)  # not their digits strung together
