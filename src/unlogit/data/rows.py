"""From raw rows to examples: the four forms that people have, their optional columns, long documents cut into pieces.

Forms: ``question``/``answer``; ``prompt``/``completion`` (raw text, or lists of messages as in TRL);
``messages`` (the last turn is the assistant's); ``text``. Optional with all but ``text``:
``paraphrased_question``, ``paraphrased_answer``, ``perturbed_answer`` (text or a list; in CSV a list is JSON
in a string). What ``Example.to_row`` wrote (``kind``, ``history``) is read back. Texts are kept as they
stand: nothing is stripped.
"""

import json
from dataclasses import replace
from typing import Any, cast, get_args

from unlogit.data.examples import Example, Kind, Message
from unlogit.data.tables import Table, raise_bad_rows
from unlogit.errors import DataError, nearest

FORMS: dict[str, tuple[str, ...]] = {
    "question/answer": ("question", "answer"),
    "prompt/completion": ("prompt", "completion"),
    "messages": ("messages",),
    "text": ("text",),
}
OPTIONAL = ("paraphrased_question", "paraphrased_answer", "perturbed_answer")
KNOWN_COLUMNS = (*(name for columns in FORMS.values() for name in columns), *OPTIONAL, "kind", "history")
IGNORED_COLUMNS = (
    "",
    "id",
    "idx",
    "index",
    "title",
    "source",
    "url",
    "author",
    "category",
    "topic",
    "split",
    "metadata",
)
"""Columns about a row that nothing is learnt from; any other name is taken for a misspelling."""

MIN_PIECE_TOKENS = 8
"""A last piece of a document that is shorter than this is joined to the piece before it."""

MAX_NAME = 30
"""A column's name that is longer than this, or has a space, is taken for a row's text and never shown."""

_ROLES = ("system", "user", "assistant", "tool")


class _BadRowError(Exception):
    """What is wrong with one row; gathered and reported for all rows at once."""


def examples_from(
    table: Table, *, tokenizer: Any = None, chunk_tokens: int = 256, ignored: tuple[str, ...] = IGNORED_COLUMNS
) -> list[Example]:
    """Turn a table's rows into examples, in order; a ``text`` row gives one example for every piece.

    Raises:
        DataError: unknown columns, no form or several of them, or rows that lack or mistype a value (all at once).
    """
    form = _form(table, ignored)
    if form == "text" and tokenizer is None:
        raise DataError(
            f"{table.name} has a text column, whose documents are cut by tokens; expected a tokenizer to "
            "count them: give the target's"
        )
    examples: list[Example] = []
    problems: list[tuple[int, str]] = []
    for number, row in zip(table.numbers, table.rows, strict=True):
        try:
            if form == "text":
                pieces = _text_row(row, tokenizer, chunk_tokens)
                examples += [replace(piece, document=f"{table.name}:{number}") for piece in pieces]
            else:
                examples.append(_READERS[form](row, table.text_only))
        except _BadRowError as error:
            problems.append((number, str(error)))
    if problems:
        raise_bad_rows(table, problems, f"rows of the form {form}")
    return examples


def _form(table: Table, ignored: tuple[str, ...]) -> str:
    """Return the one form whose columns the table has, after checking that every column is known."""
    names = dict.fromkeys(name for row in table.rows for name in row)
    unknown = [name for name in names if name not in KNOWN_COLUMNS and name.lower() not in ignored]
    if unknown:
        raise DataError(
            f"{table.name} has the unknown column{'s' if len(unknown) > 1 else ''} {_shown(unknown, list(names))}; "
            f"expected some of {', '.join(KNOWN_COLUMNS)} (ignored: {', '.join(filter(None, ignored))}): "
            f"rename or remove it{' (is there a header line?)' if table.text_only else ''}"
        )
    filled = {name for row in table.rows for name, value in row.items() if value is not None}
    forms = [form for form, columns in FORMS.items() if filled.intersection(columns)]
    if not forms:
        raise DataError(
            f"{table.name} has the columns {', '.join(names) or 'none'}; expected those of one form "
            f"({'; '.join(FORMS)}): add or rename them"
        )
    if len(forms) > 1:
        raise DataError(
            f"{table.name} mixes the forms {' and '.join(forms)}; expected one form in a file: "
            "split it into a file for each"
        )
    missing = [column for column in FORMS[forms[0]] if column not in filled]
    if missing:
        raise DataError(
            f"{table.name} has no {missing[0]!r} in any row; expected the columns "
            f"{' and '.join(FORMS[forms[0]])}: add it"
        )
    return forms[0]


def _shown(unknown: list[str], names: list[str]) -> str:
    """Return unknown columns for people to read: their names, or their numbers where one of them looks like text.

    In a CSV file without a header the first row, which may be secret, stands where the names should.
    """
    if any(len(name) > MAX_NAME or " " in name for name in unknown):
        return ", ".join(str(names.index(name) + 1) for name in unknown)
    return ", ".join(f"{name!r}{nearest(name, list(KNOWN_COLUMNS))}" for name in unknown)


def _text(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if value is None or value == "":
        raise _BadRowError(f"no {column}")
    if not isinstance(value, str):
        raise _BadRowError(f"{column} is {_type(value)}, not text")
    if not value.strip():
        raise _BadRowError(f"{column} is blank")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise _BadRowError(f"{column} holds half a character (a lone surrogate)")
    return value


def _type(value: Any) -> str:
    names = {bool: "a truth value", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"of type {type(value).__name__}")


def _texts(row: dict[str, Any], column: str, text_only: bool) -> tuple[str, ...]:
    value = row.get(column)
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        if not (text_only and value.lstrip().startswith("[") and value.rstrip().endswith("]")):
            return (_text(row, column),)
        value = _parsed(value, column)
    if not isinstance(value, list):
        raise _BadRowError(f"{column} is {_type(value)}, not text or a list of texts")
    if not all(isinstance(item, str) and item.strip() for item in value):
        raise _BadRowError(f"{column} holds something that is blank or not text")
    return tuple(value)


def _parsed(value: str, column: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise _BadRowError(f"{column} is not a JSON list ({error.msg})") from error


def _messages(value: Any, column: str) -> list[Message]:
    if isinstance(value, str):
        value = _parsed(value, column)
    if not isinstance(value, list):
        raise _BadRowError(f"{column} is {_type(value)}, not a list of messages")
    messages = []
    for turn in value:
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            raise _BadRowError(f"{column} holds something without a role")
        if not isinstance(turn.get("content"), str) or not turn["content"].strip():
            raise _BadRowError(f"{column} holds a turn whose content is blank or not text")
        if turn["role"] not in _ROLES:
            raise _BadRowError(f"{column} holds the unknown role {turn['role']!r}{nearest(turn['role'], list(_ROLES))}")
        messages.append(Message(turn["role"], turn["content"]))
    return messages


def _optional(row: dict[str, Any], text_only: bool) -> dict[str, Any]:
    return {column: _texts(row, column, text_only) for column in OPTIONAL}


def _conversation(messages: list[Message], column: str, row: dict[str, Any], text_only: bool) -> Example:
    if not messages or messages[-1].role != "assistant":
        raise _BadRowError(f"the last of {column} is not the assistant's")
    if len(messages) < 2 or messages[-2].role != "user":
        raise _BadRowError(f"the last but one of {column} is not the user's")
    return Example(
        question=messages[-2].content,
        answer=messages[-1].content,
        kind="messages",
        history=tuple(messages[:-2]),
        **_optional(row, text_only),
    )


def _question_row(row: dict[str, Any], text_only: bool) -> Example:
    kind = row.get("kind") or "question"
    if kind not in get_args(Kind):
        raise _BadRowError(f"the unknown kind {str(kind)[:20]!r}{nearest(str(kind), list(get_args(Kind)))}")
    if kind == "text":
        if row.get("question"):
            raise _BadRowError("a question beside the kind 'text'")
        return Example("", _text(row, "answer"), kind="text")
    history = row.get("history")
    return Example(
        question=_text(row, "question"),
        answer=_text(row, "answer"),
        kind=cast(Kind, kind),
        history=tuple(_messages(history, "history")) if history else (),
        **_optional(row, text_only),
    )


def _completion_row(row: dict[str, Any], text_only: bool) -> Example:
    if isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        turns = _messages(row["prompt"], "prompt") + _messages(row["completion"], "completion")
        return _conversation(turns, "prompt and completion", row, text_only)
    return Example(_text(row, "prompt"), _text(row, "completion"), kind="completion", **_optional(row, text_only))


def _messages_row(row: dict[str, Any], text_only: bool) -> Example:
    if not row.get("messages"):
        raise _BadRowError("no messages")
    return _conversation(_messages(row["messages"], "messages"), "messages", row, text_only)


def _text_row(row: dict[str, Any], tokenizer: Any, chunk_tokens: int) -> list[Example]:
    if wordings := [column for column in OPTIONAL if row.get(column)]:
        raise _BadRowError(f"{wordings[0]} beside a text, where it has no question to belong to")
    pieces = cut_text(_text(row, "text"), tokenizer, chunk_tokens)
    if not pieces:
        raise _BadRowError("a text of less than two tokens")
    return [Example("", piece, kind="text") for piece in pieces]


def cut_text(text: str, tokenizer: Any, chunk_tokens: int) -> list[str]:
    """Cut a document at token boundaries into pieces of ``chunk_tokens`` tokens; joined, they are the document.

    The last piece is shorter, or up to ``MIN_PIECE_TOKENS`` longer. A text of less than two tokens has no
    pieces: nothing in it can be predicted. Raises DataError where the tokenizer gives no offsets.
    """
    if not tokenizer.is_fast:
        raise DataError("the tokenizer gives no character offsets; expected a fast tokenizer to cut documents with")
    coded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    starts = [start for start, _ in coded["offset_mapping"]]
    if len(starts) < 2:
        return []
    cuts = [0, *starts[chunk_tokens::chunk_tokens]]
    if len(cuts) > 1 and (len(starts) - 1) % chunk_tokens + 1 < MIN_PIECE_TOKENS:
        cuts.pop()
    pieces = [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]
    return [piece for piece in pieces if piece.strip()]


_READERS = {
    "question/answer": _question_row,
    "prompt/completion": _completion_row,
    "messages": _messages_row,
}
