"""Which columns of a table hold what: the shapes that people's data sets have, brought to the forms of ``rows``.

Forms: ``question``/``answer``, ``prompt``/``completion`` (raw text, or lists of messages), ``messages``, ``text``.
Names are compared without regard to case. Columns that no shape uses are ignored, and named once.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from unlogit.data.examples import Kind
from unlogit.data.tables import Table
from unlogit.errors import ConfigError, DataError, nearest

log = logging.getLogger(__name__)

WORDINGS = ("paraphrased_question", "paraphrased_answer", "perturbed_answer")
"""Optional columns beside a question: text, or a list of texts."""

ROW_COLUMNS = (*WORDINGS, "kind", "history", "system")
"""Optional columns beside a question, those that ``Example.to_row`` writes included. ``history`` holds messages, or
pairs of question and answer; ``system`` the system prompt."""

MAX_NAME = 30
"""A column's name that is longer than this, or has a space, is taken for a row's text and never shown."""


@dataclass(frozen=True)
class Shape:
    """Columns that data sets have, and the form that they are brought to."""

    form: str
    columns: Mapping[str, str]
    """Ours → theirs."""
    optional: Mapping[str, str]
    """Ours → theirs, where they are there."""

    @property
    def name(self) -> str:
        """As messages call it."""
        return "/".join([*self.columns.values(), *(f"[{name}]" for name in self.optional.values())])


def _questions(question: str, answer: str, **optional: str) -> Shape:
    return Shape("question/answer", {"question": question, "answer": answer}, optional)


SHAPES = (
    _questions("question", "answer"),
    _questions("question", "answers"),
    _questions("query", "answer"),
    _questions("query", "response"),
    _questions("instruction", "output", context="input"),
    _questions("instruction", "response", context="context"),
    Shape("prompt/completion", {"prompt": "prompt", "completion": "completion"}, {}),
    _questions("prompt", "response"),
    _questions("input", "output"),
    Shape("messages", {"messages": "messages"}, {}),
    Shape("messages", {"messages": "conversations"}, {}),
    _questions("text", "labels"),
    Shape("text", {"text": "text"}, {}),
)
"""Known shapes; a table has the first whose columns all hold something."""

OUR_COLUMNS = ("question", "answer", "prompt", "completion", "messages", "text", *WORDINGS)
"""What ``--columns`` can name."""


def parse_columns(text: str) -> dict[str, str]:
    """Read ``question=Frage,answer=Antwort``: our column → theirs.

    Raises:
        ConfigError: it has another form, or names a column that we do not know.
    """
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    columns = {ours.strip(): theirs.strip() for ours, _, theirs in pairs}
    if any(not separator or not theirs.strip() for _, separator, theirs in pairs):
        raise ConfigError(f"columns is {text!r}; expected pairs as question=NAME,answer=NAME: write it so")
    for name in columns:
        if name not in OUR_COLUMNS:
            raise ConfigError(
                f"columns names {name!r}{nearest(name, list(OUR_COLUMNS))}; expected some of {', '.join(OUR_COLUMNS)}: "
                "change it"
            )
    return columns


def standard_rows(table: Table, columns: Mapping[str, str]) -> tuple[str, list[dict[str, Any]]]:
    """Return the form of a table, and its rows with the columns of that form.

    Args:
        table: rows as they were read.
        columns: ours → theirs, where the user said so; else the shape is found out.

    Raises:
        DataError: there is no known shape, a named column is not there, or an optional one seems to be misspelt.
    """
    names = list(dict.fromkeys(name for row in table.rows for name in row if isinstance(name, str)))
    by_name = {name.strip().lower(): name for name in names}
    shape = _named_shape(table, columns, names) if columns else _known_shape(table, names)
    pairs = {ours: by_name.get(theirs.lower()) for ours, theirs in {**shape.columns, **shape.optional}.items()}
    if shape.form != "text":
        pairs = {name: by_name.get(name) for name in ROW_COLUMNS} | pairs
    used = {ours: theirs for ours, theirs in pairs.items() if theirs is not None and _is_ours(ours, theirs, table)}
    unused = [name for name in names if name not in used.values() and name.strip()]
    _refuse_misspelt(table, unused, names, shape)
    if unused:
        log.info(f"{table.name}: read as {shape.name}; not used: {_shown(unused, names)}.")
    return shape.form, [{ours: row.get(theirs) for ours, theirs in used.items()} for row in table.rows]


def _is_ours(column: str, name: str, table: Table) -> bool:
    """Whether an optional column is as ``Example.to_row`` writes it; other data sets have other kinds and histories."""
    values = [row[name] for row in table.rows if row.get(name) not in (None, "", [])]
    if column == "kind":
        return any(value in get_args(Kind) for value in values)
    if column == "history":
        return all(isinstance(value, (list, str)) and ("role" in str(value) or _are_pairs(value)) for value in values)
    if column == "system":
        return all(isinstance(value, str) for value in values)
    return True


def _are_pairs(value: Any) -> bool:
    """Whether a history is a list of questions with their answers."""
    return isinstance(value, list) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
        for pair in value
    )


def _known_shape(table: Table, names: list[str]) -> Shape:
    """Return the first shape whose columns all hold something, else the first whose columns are all there."""
    filled = [name for name in names if any(row.get(name) not in (None, "", []) for row in table.rows)]
    for present in (filled, names):
        by_name = {name.strip().lower(): name for name in present}
        for shape in SHAPES:
            fits = all(theirs in by_name for theirs in shape.columns.values())
            if fits and (shape.columns.get("answer") != "labels" or _are_answers(table, by_name)):
                return shape
    nearest_names = sorted({theirs for shape in SHAPES for theirs in shape.columns.values()})
    listed = _shown(names, names) if names else "none"
    if not _look_like_text(names):
        listed = ", ".join(
            repr(name) + ("" if name.lower() in nearest_names else nearest(name.lower(), nearest_names))
            for name in names
        )
    header = " (is there a header line?)" if table.text_only else ""
    raise DataError(
        f"{table.name} has the columns {listed or 'none'}{header}; expected those of a known shape "
        f"({'; '.join(shape.name for shape in SHAPES)}): rename them, or say which is which, as --columns "
        "question=NAME,answer=NAME"
    )


def _are_answers(table: Table, by_name: Mapping[str, str]) -> bool:
    """Whether ``labels`` are answers to ``text``, not the text again or numbers of classes."""
    pairs = [(row.get(by_name["text"]), row.get(by_name["labels"])) for row in table.rows]
    return all(isinstance(labels, (str, list)) and labels != text for text, labels in pairs)


def _named_shape(table: Table, columns: Mapping[str, str], names: list[str]) -> Shape:
    """Return the shape that the user named."""
    for theirs in columns.values():
        if theirs.lower() not in [name.strip().lower() for name in names]:
            raise DataError(
                f"{table.name} has no column {theirs!r}{nearest(theirs, names)}; expected it, since columns names it: "
                "change it"
            )
    required = {ours: theirs for ours, theirs in columns.items() if ours not in WORDINGS}
    form = next((shape.form for shape in SHAPES if set(shape.columns) == set(required)), None)
    if form is None:
        raise ConfigError(
            f"columns names {', '.join(required) or 'no question'}; expected question and answer, prompt and "
            "completion, messages, or text: change it"
        )
    return Shape(form, required, {ours: theirs for ours, theirs in columns.items() if ours in WORDINGS})


def _refuse_misspelt(table: Table, unused: list[str], names: list[str], shape: Shape) -> None:
    """Refuse an unused column whose name is nearly that of an optional one: it would be lost silently."""
    if shape.form == "text":
        return
    for name in unused:
        if close := get_close_matches(name.lower(), WORDINGS, n=1, cutoff=0.85):
            raise DataError(
                f"{table.name} has the column {_shown([name], names)}, which is not used; did you mean {close[0]!r}? "
                "Rename or remove it"
            )


def _shown(some: list[str], names: list[str]) -> str:
    """Return columns for people to read: their names, or their numbers where a name looks like text.

    In a CSV file without a header the first row, which may be secret, stands where the names should.
    """
    if _look_like_text(some):
        return ", ".join(str(names.index(name) + 1) for name in some)
    return ", ".join(repr(name) for name in some)


def _look_like_text(names: list[str]) -> bool:
    return any(len(name) > MAX_NAME or " " in name for name in names)
