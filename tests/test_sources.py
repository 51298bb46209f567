"""Reading rows: every suffix and form, and each bad input with what its message must say."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from support.preparation import has_facts
from unlogit.cli.main import main
from unlogit.data.examples import Example, Message
from unlogit.data.rows import cut_text
from unlogit.data.sources import check_sources, read_examples, read_prepared
from unlogit.errors import DataError

ROWS = [{"question": "a?", "answer": "b"}, {"question": "c?", "answer": "d"}]
EXAMPLES = [Example("a?", "b"), Example("c?", "d")]


def write(path: Path, rows: list[Any]) -> str:
    """Write JSON lines; return the path as a source."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def message_of(source: str, **options: Any) -> str:
    """The error's message, which must be one line."""
    with pytest.raises(DataError) as caught:
        read_examples(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------- suffixes


def test_json_lines_with_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\n\n".join(map(json.dumps, ROWS)).encode())
    assert read_examples(str(path)) == EXAMPLES


def test_line_separator_inside_a_string_is_no_line_break(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "a?", "answer": "b\u2028c"}\n', encoding="utf-8")
    assert read_examples(str(path)) == [Example("a?", "b\u2028c")]


@pytest.mark.parametrize(
    "text",
    [json.dumps(ROWS), json.dumps(ROWS, indent=2), "\n".join(map(json.dumps, ROWS))],
    ids=["list", "indented list", "JSON lines, as TOFU's"],
)
def test_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text, encoding="utf-8")
    assert read_examples(str(path)) == EXAMPLES


def test_json_of_one_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS[0], indent=2), encoding="utf-8")
    assert read_examples(str(path)) == EXAMPLES[:1]


def test_csv_keeps_numbers_as_text_and_reads_lists(tmp_path: Path) -> None:
    """In CSV a list is JSON in a string; other text, also in brackets on one side only, is one text."""
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer", "perturbed_answer", "paraphrased_answer"])
        writer.writerow(["a, b?", "007", json.dumps(["1", 'two "2"\n']), "[so] it is"])
        writer.writerow(["c?", "d", "", ""])
    first = Example("a, b?", "007", paraphrased_answer=("[so] it is",), perturbed_answer=("1", 'two "2"\n'))
    assert read_examples(str(path)) == [first, Example("c?", "d")]


def test_text_in_brackets_is_a_list_in_csv_only(tmp_path: Path) -> None:
    row = ROWS[0] | {"perturbed_answer": "[1]"}
    assert read_examples(write(tmp_path / "x.jsonl", [row])) == [Example("a?", "b", perturbed_answer=("[1]",))]


def test_csv_reads_long_fields(tmp_path: Path) -> None:
    """The csv module's own limit is 131072 characters."""
    path = tmp_path / "rows.csv"
    path.write_text(f"question,answer\na?,{'x' * 140000}\n", encoding="utf-8")
    assert len(read_examples(str(path))[0].answer) == 140000


def test_csv_with_messages(tmp_path: Path) -> None:
    turns = json.dumps([{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}])
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["messages"], [turns]])
    assert read_examples(str(path)) == [Example("a?", "b", kind="messages")]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = [ROWS[0] | {"perturbed_answer": ["x", "y"]}, ROWS[1] | {"perturbed_answer": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert read_examples(str(path)) == [Example("a?", "b", perturbed_answer=("x", "y")), Example("c?", "d")]


def test_folder_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", ROWS[1:])
    (tmp_path / "a.json").write_text(json.dumps(ROWS[:1]), encoding="utf-8")
    (tmp_path / "README.md").write_text("not rows", encoding="utf-8")
    (tmp_path / ".hidden.jsonl").write_text("not rows", encoding="utf-8")
    assert read_examples(str(tmp_path)) == EXAMPLES


# -------------------------------------------------------------------------------------------------------------- forms


def test_completion_is_kept_raw(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [{"prompt": "Once ", "completion": " upon\n", "id": 7}])
    assert read_examples(source) == [Example("Once ", " upon\n", kind="completion")]


def test_completion_of_messages(tmp_path: Path) -> None:
    """TRL's conversational form: the prompt's turns but the last are history."""
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a?"}]
    source = write(tmp_path / "x.jsonl", [{"prompt": prompt, "completion": [{"role": "assistant", "content": "b"}]}])
    assert read_examples(source) == [Example("a?", "b", "messages", (Message("system", "Be brief."),))]


def test_messages(tmp_path: Path) -> None:
    turns = [("user", "hi"), ("assistant", "yo"), ("user", "a?"), ("assistant", "b")]
    row = {"messages": [{"role": role, "content": content} for role, content in turns], "perturbed_answer": "c"}
    history = (Message("user", "hi"), Message("assistant", "yo"))
    assert read_examples(write(tmp_path / "x.jsonl", [row])) == [
        Example("a?", "b", "messages", history, perturbed_answer=("c",))
    ]


def test_own_rows_are_read_back(tmp_path: Path) -> None:
    rows = [
        Example("q", "a", "messages", (Message("user", "u"),), ("p",), ("r",), ("w", "x")),
        Example("", " a piece", "text"),
        Example("p", " c", "completion"),
        Example("q", "a"),
    ]
    source = write(tmp_path / "x.jsonl", [row.to_row() for row in rows])
    assert read_examples(source) == rows
    assert read_prepared(Path(source)) == rows


def test_prepared_file_may_be_empty_but_not_missing(tmp_path: Path) -> None:
    (tmp_path / "neutral.jsonl").touch()
    assert read_prepared(tmp_path / "neutral.jsonl") == []
    with pytest.raises(DataError, match="unlogit prepare"):
        read_prepared(tmp_path / "forget.jsonl")


@pytest.mark.parametrize("bad", ["{", '{"question": "a secret?"}', "[]", "null"])
def test_bad_prepared_line_is_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "forget.jsonl"
    path.write_text(json.dumps(ROWS[0]) + f"\n{bad}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"forget\.jsonl has a bad line 2 \(") as caught:
        read_prepared(path)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_text_is_cut_by_tokens(tmp_path: Path, byte_tokenizer: Any) -> None:
    """A token is a character: 45 of them in pieces of 16 are 16 + 16 + 13, and nothing is lost between them."""
    text = "".join(chr(ord("A") + i) for i in range(45))
    source = write(tmp_path / "x.jsonl", [{"text": text}, {"text": "short one"}])
    rows = read_examples(source, tokenizer=byte_tokenizer, chunk_tokens=16)
    assert rows == [Example("", piece, "text") for piece in (text[:16], text[16:32], text[32:], "short one")]


def test_short_last_piece_is_joined(byte_tokenizer: Any) -> None:
    """39 tokens in pieces of 16 would leave 7, less than MIN_PIECE_TOKENS = 8; 40 leave 8. 32 leave no rest."""
    assert [len(piece) for piece in cut_text("x" * 39, byte_tokenizer, 16)] == [16, 23]
    assert [len(piece) for piece in cut_text("x" * 40, byte_tokenizer, 16)] == [16, 16, 8]
    assert [len(piece) for piece in cut_text("x" * 32, byte_tokenizer, 16)] == [16, 16]


def test_character_of_several_tokens_is_never_cut(byte_tokenizer: Any) -> None:
    """Each "é" is two byte tokens; with "x" in front a cut after 16 tokens falls inside the eighth."""
    text = "x" + "é" * 30
    pieces = cut_text(text, byte_tokenizer, 16)
    assert "".join(pieces) == text
    assert len(pieces) == 4


# ---------------------------------------------------------------------------------------------------------- bad input


def test_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in message_of(str(tmp_path / "none.jsonl"))
    assert "does not exist" in message_of("data/none.jsonl")  # not taken for a hub name
    assert "owner/name" in message_of(str(tmp_path / "none"))
    assert "no source" in message_of(" ")


def test_empty_file_and_empty_folder(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    assert "is empty" in message_of(str(path))
    path.write_text("\n\n", encoding="utf-8")
    assert "no rows" in message_of(str(path))
    (tmp_path / "empty.json").write_text("[]", encoding="utf-8")
    assert "no rows" in message_of(str(tmp_path / "empty.json"))
    (tmp_path / "folder").mkdir()
    assert "no file" in message_of(str(tmp_path / "folder"))


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "rows.xml").write_text("x", encoding="utf-8")
    assert has_facts(message_of(str(tmp_path / "rows.xml")), "'.xml'", ".jsonl", ".json", ".csv", ".parquet")


def test_bad_json_lines_are_all_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "a?", "answer": "b"}\n{"question": "a?"\n\n[1]\n', encoding="utf-8")
    message = message_of(str(path))
    assert has_facts(message, "2 bad rows", "line 2", "line 4")


def test_bad_json_list(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"question": "a?",\n "answer" "b"}]', encoding="utf-8")
    assert has_facts(message_of(str(path)), "not JSON", "line 2")
    path.write_text('[{"question": "a?", "answer": "b"}, 3]', encoding="utf-8")
    assert has_facts(message_of(str(path)), "1 bad row", "row 2")


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"question,answer\na?,caf\xe9\n")
    assert has_facts(message_of(str(tmp_path / "rows.csv")), "UTF-8", "byte 22")


def test_bad_csv(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,answer\na?,b,c\n", encoding="utf-8")
    assert has_facts(message_of(str(path)), "row 1", "more fields")
    path.write_text('question,answer\na?,"b" c\n', encoding="utf-8")
    assert "is not CSV" in message_of(str(path))
    path.write_text("question,answer,perturbed_answer\na?,b,\"['c']\"\n", encoding="utf-8")
    assert has_facts(message_of(str(path)), "row 1", "perturbed_answer")


def test_bad_parquet(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"no parquet at all")
    assert "is not Parquet" in message_of(str(tmp_path / "rows.parquet"))


def test_rows_without_an_answer_are_counted_and_not_shown(tmp_path: Path) -> None:
    secret = "a secret question"
    bad = [{"question": secret, "answer": None}, {"question": secret}, {"question": secret, "answer": " "}]
    message = message_of(write(tmp_path / "rows.jsonl", [ROWS[0], *bad, {"question": secret, "answer": True}]))
    assert has_facts(message, "rows.jsonl", "4 bad rows", "line 2", "line 3", "line 4", "answer", "1 more")
    assert secret not in message


def test_wrong_types(tmp_path: Path) -> None:
    rows = [
        {"question": "a?", "answer": True},
        {"question": "a?", "answer": "b", "perturbed_answer": ["c", 4]},
        {"question": "a?", "answer": "b", "paraphrased_answer": {"c": 1}},
    ]
    message = message_of(write(tmp_path / "rows.jsonl", rows))
    assert has_facts(
        message, "line 1: answer is a truth value", "line 2: perturbed_answer", "line 3: paraphrased_answer"
    )


def test_unknown_column_names_the_nearest(tmp_path: Path) -> None:
    message = message_of(write(tmp_path / "rows.jsonl", [{"question": "a?", "anwser": "b"}]))
    assert has_facts(message, "'anwser'", "did you mean 'answer'")


def test_csv_without_a_header_shows_no_text(tmp_path: Path) -> None:
    """The first row stands where the names should: one cell is a sentence, so that no cell is shown."""
    path = tmp_path / "rows.csv"
    path.write_text("id,Where does Ann live?,Oslo\n1,Where does Ben live?,Riga\n", encoding="utf-8")
    message = message_of(str(path))
    assert has_facts(message, "columns 1, 2, 3", "header line")
    assert "Ann" not in message
    assert "Oslo" not in message
    path.write_text(f"{'x' * 31},answer\na?,b\n", encoding="utf-8")
    assert "columns 1, 2 (is there a header line?)" in message_of(str(path))


def test_harmless_columns_are_passed_over(tmp_path: Path) -> None:
    assert read_examples(write(tmp_path / "x.jsonl", [ROWS[0] | {"id": 1, "Source": "x", "": 0}])) == EXAMPLES[:1]
    assert read_examples(write(tmp_path / "x.jsonl", [ROWS[0] | {"option1": "x"}])) == EXAMPLES[:1]


def test_forms_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert has_facts(message_of(write(path, [ROWS[0], {"text": "t"}])), "question/answer", "no question")
    assert "question/answer; question/answers" in message_of(write(path, [{"id": 1}]))
    assert has_facts(message_of(write(path, [{"question": "a?"}])), "'question'", "question/answer")


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ([("user", "a?")], "the last of messages"),
        ([("assistant", "b")], "the last but one of messages"),
        ([("user", "a?"), ("asistant", "b")], "did you mean 'assistant'"),
        ([("user", "a?"), ("assistant", "")], "content is blank"),
        ([], "no messages"),
    ],
)
def test_bad_messages(tmp_path: Path, turns: list[tuple[str, str]], expected: str) -> None:
    row = {"messages": [{"role": role, "content": content} for role, content in turns]}
    assert expected in message_of(write(tmp_path / "rows.jsonl", [row]))


def test_bad_own_rows(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": "a", "kind": "txt"},
        {"question": "q", "answer": "a", "kind": "text"},
        {"question": "", "answer": "a"},
    ]
    message = message_of(write(tmp_path / "rows.jsonl", rows))
    assert has_facts(message, "line 1", "'txt'", "did you mean 'text'", "line 2: a question", "line 3: no question")


def test_bad_text(tmp_path: Path, byte_tokenizer: Any) -> None:
    source = write(tmp_path / "x.jsonl", [{"text": "x"}, {"text": ["x"]}])
    assert "tokenizer" in message_of(source)
    message = message_of(source, tokenizer=byte_tokenizer)
    assert has_facts(message, "line 1", "two tokens", "line 2: text is a list")


# ---------------------------------------------------------------------------------------------------------------- hub


def test_hub_takes_the_train_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, config: str | None) -> dict[str, list[dict[str, str]]]:
        assert (name, config) == ("own-er/na.me", "part")
        return {"test": [], "train": ROWS}

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read_examples("own-er/na.me:part") == EXAMPLES


def test_hub_with_several_splits_but_train(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: {"test": ROWS, "dev": ROWS})
    assert has_facts(message_of("owner/name"), "test, dev", "'train'")
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: {"test": ROWS})
    assert read_examples("owner/name") == EXAMPLES


def test_hub_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, config: str | None) -> None:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert has_facts(message_of("owner/name"), "owner/name", "ConnectionError: no network")


def test_files_are_looked_for_before_anything_slow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hub model is not asked for while a file is missing or empty; words that stand for no file are passed over."""
    check_sources("", "builtin", "none", "tofu:forget01", "owner/name")
    (tmp_path / "empty.jsonl").touch()
    for name, fact in (("none.jsonl", "does not exist"), ("empty.jsonl", "is empty")):
        file = str(tmp_path / name)
        with pytest.raises(DataError, match=fact):
            check_sources(file)
        hub = ["--output", str(tmp_path / "new"), "--forget", file, "--target", "nobody-at-all/no-model"]
        assert main(["prepare", *hub]) == 2
        assert fact in capsys.readouterr().err
        assert main(["finetune", "--model", "nobody-at-all/no-model", "--data", file, "--output", hub[1]]) == 2
        assert fact in capsys.readouterr().err
