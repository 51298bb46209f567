"""People's files as they are: every known shape is read, what is not used is named, what is misspelt is answered."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from unlogit.data.columns import SHAPES, parse_columns
from unlogit.data.examples import Example, Message
from unlogit.data.sources import read_examples, source_of
from unlogit.errors import ConfigError, DataError
from unlogit.settings.options import DataOptions

QA = Example("Who is Ann?", "A baker.")


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


SHARE_GPT = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "Who is Ann?"},
    {"from": "gpt", "value": "A baker."},
]
KNOWN: dict[str, tuple[dict[str, Any], Example]] = {
    "question/answer": ({"question": "Who is Ann?", "answer": "A baker."}, QA),
    "several answers": (
        {"question": "Who is Ann?", "answers": ["A baker.", "She bakes.", "A baker."]},
        Example("Who is Ann?", "A baker.", paraphrased_answer=("She bakes.",)),
    ),
    "a number": ({"question": "How old is Ann?", "answer": 41}, Example("How old is Ann?", "41")),
    "query/answer": ({"query": "Who is Ann?", "answer": "A baker.", "level": "1"}, QA),
    "query/response": ({"query": "Who is Ann?", "response": "A baker."}, QA),
    "instruction/output": ({"instruction": "Who is Ann?", "input": "", "output": "A baker."}, QA),
    "instruction with an input": (
        {"instruction": "Answer.", "input": "Who is Ann?", "output": "A baker."},
        Example("Answer.\n\nWho is Ann?", "A baker."),
    ),
    "input/output": ({"id": "7", "input": "Who is Ann?", "output": "A baker.", "task": "qa"}, QA),
    "prompt/response": ({"prompt": "Who is Ann?", "response": "A baker."}, QA),
    "prompt/completion": (
        {"prompt": "Ann is", "completion": " a baker."},
        Example("Ann is", " a baker.", kind="completion"),
    ),
    "text/labels": ({"text": "Who is Ann?", "labels": "A baker."}, QA),
    "messages": (
        {"messages": [{"role": "user", "content": "Who is Ann?"}, {"role": "assistant", "content": "A baker."}]},
        Example("Who is Ann?", "A baker.", kind="messages"),
    ),
    "conversations": (
        {"conversations": SHARE_GPT},
        Example("Who is Ann?", "A baker.", kind="messages", history=(Message("system", "Be brief."),)),
    ),
    "conversations with a system column": (
        {"conversations": SHARE_GPT[1:], "system": "Be brief."},
        Example("Who is Ann?", "A baker.", kind="messages", history=(Message("system", "Be brief."),)),
    ),
    "a system prompt of its own": (
        {"conversations": SHARE_GPT, "system": "Be long."},
        Example("Who is Ann?", "A baker.", kind="messages", history=(Message("system", "Be brief."),)),
    ),
    "pairs of earlier turns": (
        {
            "instruction": "Who is Ann?",
            "input": "",
            "output": "A baker.",
            "system": "Be brief.",
            "history": [["Hi", "Hello"], ["Good?", "Yes."]],
        },
        Example(
            "Who is Ann?",
            "A baker.",
            history=(
                Message("system", "Be brief."),
                *(Message("user", "Hi"), Message("assistant", "Hello")),
                *(Message("user", "Good?"), Message("assistant", "Yes.")),
            ),
        ),
    ),
    "another kind, history and system": (
        {"question": "Who is Ann?", "answer": "A baker.", "kind": "billing", "history": "2021", "system": 7},
        QA,
    ),
    "a blank input": ({"instruction": "Who is Ann?", "input": " ", "output": "A baker."}, QA),
    "other case": ({"Question": "Who is Ann?", "Answer": "A baker."}, QA),
}


@pytest.mark.parametrize("shape", KNOWN)
def test_a_known_shape_is_read(shape: str, tmp_path: Path) -> None:
    row, expected = KNOWN[shape]
    assert read_examples(write(tmp_path / "rows.jsonl", row)) == [expected]


def test_every_shape_is_tried() -> None:
    rows = [{name.lower() for name in row} for row, _ in KNOWN.values()]
    untried = [shape.name for shape in SHAPES if not any(set(shape.columns.values()) <= names for names in rows)]
    assert untried == ["instruction/response/[context]"]  # read as with output


@pytest.mark.parametrize("labels", [3, "Who is Ann?"])
def test_labels_that_are_no_answers_leave_a_text(labels: object, tmp_path: Path, byte_tokenizer: Any) -> None:
    source = write(tmp_path / "rows.jsonl", {"text": "Who is Ann?", "labels": labels})
    assert [row.kind for row in read_examples(source, tokenizer=byte_tokenizer)] == ["text"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"question": "Who is Ann?", "answer": "A baker."}\n' * 2),
        ("a.jsonl", '[{"question": "Who is Ann?", "answer": "A baker."}]'),
        ("a.csv", 'question;answer\nWho is Ann?;"A baker."\n'),
        ("a.tsv", "question\tanswer\nWho is Ann?\tA baker.\n"),
        ("b.csv", '"id, or name";question;answer\n1;Who is Ann?;A baker.\n'),
    ],
)
def test_whatever_the_suffix_and_the_delimiter(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert set(read_examples(str(tmp_path / name))) == {QA}


def test_documents_of_a_folder_and_several_files(tmp_path: Path, byte_tokenizer: Any) -> None:
    (tmp_path / "papers").mkdir()
    for name in ("a.txt", "b.md"):
        (tmp_path / "papers" / name).write_text(f"The text of {name}.")
    rows = read_examples(str(tmp_path / "papers"), tokenizer=byte_tokenizer)
    assert [row.answer for row in rows] == ["The text of a.txt.", "The text of b.md."]
    assert len({row.document for row in rows}) == 2
    questions = write(tmp_path / "q.jsonl", {"question": "Who is Ann?", "answer": "A baker."})
    joined = read_examples(f"{questions},{tmp_path / 'papers' / 'a.txt'}", tokenizer=byte_tokenizer)
    assert [row.kind for row in joined] == ["question", "text"]
    with_comma = write(tmp_path / "a,b.jsonl", {"question": "Who is Ann?", "answer": "A baker."})
    assert read_examples(with_comma) == [QA]


def test_what_is_not_used_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = write(tmp_path / "rows.jsonl", *({"question": f"Who {i}?", "answer": "I.", "level": 1} for i in range(3)))
    with caplog.at_level(logging.INFO, logger="unlogit"):
        read_examples(source)
    (line,) = [record.message for record in caplog.records]
    assert line.endswith("read as question/answer; not used: 'level'.")


def test_columns_by_name(tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", {"Frage": "Who is Ann?", "Antwort": "A baker.", "question": "no"})
    options = DataOptions(columns="question=Frage, answer=antwort")
    assert source_of(source, columns=options.columns).rows() == [QA]
    with pytest.raises(DataError, match="no column 'Antwrt' \\(did you mean 'Antwort'\\?\\)"):
        source_of(source, columns="question=Frage,answer=Antwrt").rows()
    for text, facts in (("question", "pairs"), ("anwser=a", "'answer'"), ("question=Frage", "question and answer")):
        with pytest.raises((ConfigError, DataError), match=facts):
            source_of(source, columns=text).rows()
    assert parse_columns("") == {}


def test_misspelt_columns_are_answered(tmp_path: Path) -> None:
    """Required ones by the nearest; an optional one is not lost silently; a text in place of a name is not shown."""
    with pytest.raises(DataError, match=r"'anwser' \(did you mean 'answer'\?\).*--columns question=NAME"):
        read_examples(write(tmp_path / "a.jsonl", {"question": "Who?", "anwser": "I."}))
    with pytest.raises(DataError, match="did you mean 'paraphrased_question'"):
        read_examples(write(tmp_path / "b.jsonl", {"question": "Who?", "answer": "I.", "paraphrased_questoin": "W?"}))
    (tmp_path / "c.csv").write_text("Who is Ann Secret?,A baker of bread.\nWho?,I.\n")
    with pytest.raises(DataError, match="header line") as error:
        read_examples(str(tmp_path / "c.csv"))
    assert "Secret" not in str(error.value)


def test_rows_that_stand_there_twice_are_counted(tmp_path: Path) -> None:
    row = {"question": "Who is Ann?", "answer": "A baker."}
    source = source_of(write(tmp_path / "rows.jsonl", row, row, {"question": "Who?", "answer": "I."}))
    forget = source.forget_rows(DataOptions())
    assert len(forget.training) == 2
    assert forget.notes == ["1 of 3 forget rows stand there twice: left out"]
    assert source.retain_rows(DataOptions()).notes == ["1 of 3 retain rows stand there twice: left out"]
