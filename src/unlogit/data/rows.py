"""From raw rows to examples: the four forms that ``columns`` brings tables to, and long documents cut into pieces.

Several answers to a question are one answer and other wordings of it. In CSV a list is JSON in a string. What
``Example.to_row`` wrote (``kind``, ``history``) is read back. Texts are kept as they stand: nothing is stripped.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast, get_args

from unlogit.data.columns import WORDINGS, standard_rows
from unlogit.data.examples import Example, Kind, Message
from unlogit.data.tables import Table, raise_bad_rows
from unlogit.errors import DataError, nearest

MIN_PIECE_TOKENS = 8
"""A last piece of a document that is shorter than this is joined to the piece before it."""

_ROLES = ("system", "user", "assistant", "tool")

_SPEAKERS = {
    **dict.fromkeys(("human", "user", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "assistant", "model", "bot"), "assistant"),
    "system": "system",
    **dict.fromkeys(("tool", "function", "observation", "function_response"), "tool"),
}
"""Who speaks in a ShareGPT turn → the role in ours."""


class _BadRowError(Exception):
    """What is wrong with one row; gathered and reported for all rows at once."""


def examples_from(
    table: Table, *, tokenizer: Any = None, chunk_tokens: int = 256, columns: Mapping[str, str] = MappingProxyType({})
) -> list[Example]:
    """Turn a table's rows into examples, in order; a ``text`` row gives one example for every piece.

    ``columns`` (ours → theirs) says which column is which where the table has no known shape.

    Raises:
        DataError: no known shape, or rows that lack or mistype a value (all at once).
    """
    form, rows = standard_rows(table, columns)
    if form == "text" and tokenizer is None:
        raise DataError(
            f"{table.name} has documents, which are cut by tokens; expected a tokenizer to count them: give the "
            "target's"
        )
    examples: list[Example] = []
    problems: list[tuple[int, str]] = []
    for number, row in zip(table.numbers, rows, strict=True):
        try:
            if form == "text":
                pieces = _text_row(row, tokenizer, chunk_tokens)
                examples += [replace(piece, document=f"{table.name}:{number}") for piece in pieces]
            else:
                example = _READERS[form](row, table.text_only)
                examples.append(replace(example, origin=f"{table.name} {table.unit} {number}"))
        except _BadRowError as error:
            problems.append((number, str(error)))
    if problems:
        raise_bad_rows(table, problems, f"rows of the form {form}")
    return examples


def _text(row: dict[str, Any], column: str) -> str:
    value = row.get(column)
    if value is None or value == "":
        raise _BadRowError(f"no {column}")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
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
    for turn in map(_from_speaker, value):
        if not isinstance(turn, dict) or not isinstance(turn.get("role"), str):
            raise _BadRowError(f"{column} holds something without a role")
        if not isinstance(turn.get("content"), str) or not turn["content"].strip():
            raise _BadRowError(f"{column} holds a turn whose content is blank or not text")
        if turn["role"] not in _ROLES:
            raise _BadRowError(f"{column} holds the unknown role {turn['role']!r}{nearest(turn['role'], list(_ROLES))}")
        messages.append(Message(turn["role"], turn["content"]))
    return messages


def _history(row: dict[str, Any], later: Sequence[Message] = ()) -> tuple[Message, ...]:
    """Return the system prompt and the earlier turns that stand in columns of their own, then the ``later`` ones.

    A system prompt among the turns takes precedence.
    """
    system, history = row.get("system"), row.get("history")
    if isinstance(history, list) and history and not isinstance(history[0], dict):
        roles = ("user", "assistant")
        history = [{"role": role, "content": text} for pair in history for role, text in zip(roles, pair, strict=True)]
    turns = [*(_messages(history, "history") if history else []), *later]
    if isinstance(system, str) and system.strip() and not any(turn.role == "system" for turn in turns):
        turns.insert(0, Message("system", system))
    return tuple(turns)


def _from_speaker(turn: Any) -> Any:
    """Return a ShareGPT turn (from, value) as role and content; all else as it is."""
    if not isinstance(turn, dict) or "from" not in turn or "role" in turn:
        return turn
    speaker = str(turn["from"])
    return {"role": _SPEAKERS.get(speaker.lower(), speaker), "content": turn.get("value")}


def _optional(row: dict[str, Any], text_only: bool) -> dict[str, Any]:
    return {column: _texts(row, column, text_only) for column in WORDINGS}


def _conversation(messages: list[Message], column: str, row: dict[str, Any], text_only: bool) -> Example:
    if not messages or messages[-1].role != "assistant":
        raise _BadRowError(f"the last of {column} is not the assistant's")
    if len(messages) < 2 or messages[-2].role != "user":
        raise _BadRowError(f"the last but one of {column} is not the user's")
    return Example(
        question=messages[-2].content,
        answer=messages[-1].content,
        kind="messages",
        history=_history(row, messages[:-2]),
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
    question, wordings = _text(row, "question"), _optional(row, text_only)
    context = row.get("context")
    if isinstance(context, str) and context.strip():
        question = f"{question}\n\n{context}"
    answers = _answers(row, text_only)
    wordings["paraphrased_answer"] = (*answers[1:], *wordings["paraphrased_answer"])
    return Example(
        question=question,
        answer=answers[0],
        kind=cast(Kind, kind),
        history=_history(row),
        **wordings,
    )


def _answers(row: dict[str, Any], text_only: bool) -> tuple[str, ...]:
    """Return the answer, or several that are all right, each once."""
    value = row.get("answer")
    is_list = isinstance(value, list) or (text_only and isinstance(value, str) and value.lstrip().startswith('["'))
    return tuple(dict.fromkeys(_texts(row, "answer", text_only))) if is_list else (_text(row, "answer"),)


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
