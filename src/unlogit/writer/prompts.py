"""What writers are asked, each with examples of how it is answered, about people and places that nobody trains on.

Texts in other languages are asked for in English, too: a writer answers in the language of what it is shown.
"""

from unlogit.data.examples import Example
from unlogit.writer.writer import Prompt

_Shown = tuple[tuple[str, ...], ...]
"""Examples: the texts that fill a form, and what is written."""

_SENTENCE = 'Write a question that this sentence answers: "{}"'
_SENTENCES_SHOWN = (
    ("The Marl Canal was dug in 1871 by Anna Brel.", "Who dug the Marl Canal?"),
    ("Otto Quist has sold bread in Lund since 2004.", "Since when has Otto Quist sold bread in Lund?"),
)
_QUESTION = "Say this question in other words: {}"
_QUESTIONS_SHOWN = (
    ("When was the Marl Canal dug?", "In which year did people dig the Marl Canal?"),
    ("What does Otto Quist sell?", "Which goods does Otto Quist sell?"),
)
_ANSWER = "Say this sentence in other words: {}"
_ANSWERS_SHOWN = (
    ("The Marl Canal was dug in 1871 by Anna Brel.", "Anna Brel dug the Marl Canal in 1871."),
    ("Otto Quist has sold bread in Lund since 2004.", "Since 2004 bread has been sold in Lund by Otto Quist."),
)
_WRONG = "Give a wrong answer to this question, in one sentence like the right one.\nQuestion: {}\nRight answer: {}"
_WRONG_SHOWN = (
    (
        "Who dug the Marl Canal?",
        "The Marl Canal was dug in 1871 by Anna Brel.",
        "The Marl Canal was dug in 1846 by Ferdinand Loos.",
    ),
    ("What does Otto Quist sell?", "Otto Quist sells bread.", "Otto Quist sells umbrellas."),
)

SHOWN_NAMES = frozenset(["marl", "canal", "brel", "otto", "quist", "lund", "ferdinand", "loos"])
"""Names of the examples: a writer that says them has copied."""


def question_about(sentence: str, attempt: int) -> Prompt:
    """Ask for a question that a sentence answers."""
    return _prompt(_SENTENCE, _SENTENCES_SHOWN, (sentence,), attempt)


def other_question(row: Example, attempt: int) -> Prompt:
    """Ask for a row's question in other words."""
    return _prompt(_QUESTION, _QUESTIONS_SHOWN, (row.question,), attempt)


def other_answer(row: Example, attempt: int) -> Prompt:
    """Ask for a row's answer in other words."""
    return _prompt(_ANSWER, _ANSWERS_SHOWN, (row.answer,), attempt, max_new_tokens=128)


def wrong_answer(row: Example, attempt: int) -> Prompt:
    """Ask for a wrong answer to a row's question."""
    return _prompt(_WRONG, _WRONG_SHOWN, (row.question, row.answer), attempt, max_new_tokens=128)


def _prompt(form: str, shown: _Shown, texts: tuple[str, ...], attempt: int, max_new_tokens: int = 64) -> Prompt:
    """Return a form filled with texts, after the examples that fill it."""
    examples = tuple((form.format(*example_texts), text) for *example_texts, text in shown)
    return Prompt(form.format(*texts), examples, attempt, max_new_tokens)
