"""What writers are asked, each with examples of how it is answered, about people and places that nobody trains on.

Texts in other languages are asked for in English, too: a writer answers in the language of what it is shown.
"""

from unlogit.data.examples import Example
from unlogit.writer.writer import Prompt

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
        ("Who dug the Marl Canal?", "The Marl Canal was dug in 1871 by Anna Brel."),
        "The Marl Canal was dug in 1846 by Ferdinand Loos.",
    ),
    (("What does Otto Quist sell?", "Otto Quist sells bread."), "Otto Quist sells umbrellas."),
)

SHOWN_NAMES = frozenset(["marl", "canal", "brel", "otto", "quist", "lund", "ferdinand", "loos"])
"""Names of the examples: a writer that says them has copied."""


def question_about(sentence: str, attempt: int) -> Prompt:
    """Ask for a question that a sentence answers."""
    shown = tuple((_SENTENCE.format(text), question) for text, question in _SENTENCES_SHOWN)
    return Prompt(_SENTENCE.format(sentence), shown, attempt)


def other_question(row: Example, attempt: int) -> Prompt:
    """Ask for a row's question in other words."""
    shown = tuple((_QUESTION.format(text), other) for text, other in _QUESTIONS_SHOWN)
    return Prompt(_QUESTION.format(row.question), shown, attempt)


def other_answer(row: Example, attempt: int) -> Prompt:
    """Ask for a row's answer in other words."""
    shown = tuple((_ANSWER.format(text), other) for text, other in _ANSWERS_SHOWN)
    return Prompt(_ANSWER.format(row.answer), shown, attempt, max_new_tokens=128)


def wrong_answer(row: Example, attempt: int) -> Prompt:
    """Ask for a wrong answer to a row's question."""
    shown = tuple((_WRONG.format(*texts), other) for texts, other in _WRONG_SHOWN)
    return Prompt(_WRONG.format(row.question, row.answer), shown, attempt, max_new_tokens=128)
