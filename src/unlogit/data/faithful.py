"""Whether text that a model wrote about a row may be used: nothing is taken on trust.

A *value* is a name, number, date, code or address (see ``content_words.is_value``). A paraphrase keeps every value and
adds none; a wrong answer tells no secret of the true one, and no value of anybody else; a question about a sentence
names something of its document, and does not give the answer.
"""

import re
from collections.abc import Collection

from unlogit.data.content_words import is_value, word_positions
from unlogit.data.examples import Example
from unlogit.data.exchange import STOP_WORDS, lowercase_words, same_words, says_the_same
from unlogit.data.ghosts import names_of
from unlogit.data.secrets import secrets_of, tells

_LABEL = re.compile(r"^(?:question|answer|q|a)\s*[:.]\s*", re.IGNORECASE)
_QUESTION_MARKS = "?？؟;"
_SENTENCE_END = re.compile(r"[.!?。！？](?:\s|$)")

LONGEST, SHORTEST = 2.5, 0.4
"""Length of a paraphrase in characters, by that of what it says in other words."""


def first_line(text: str) -> str:
    """Return the first line that a writer wrote, without a label and the quotes around it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = _LABEL.sub("", lines[0]) if lines else ""
    return line[1:-1].strip() if len(line) > 1 and line[0] in "\"“'‘«" and line[-1] in "\"”'’»" else line


def values_of(text: str) -> frozenset[str]:
    """Return the words of a text that are values, in lower case; names at its beginning among them."""
    name_words = {word.lower() for name in names_of(text) for word in lowercase_words(name)}
    positions = word_positions(text)
    values = {word for word, begin, end in positions if is_value(text, (begin, end))}
    return frozenset(word for value in values for word in lowercase_words(value)) - STOP_WORDS | name_words - STOP_WORDS


def is_paraphrased_question(candidate: str, row: Example) -> bool:
    """Whether a text asks what the row asks, in other words: the same values, one question, no answer in it."""
    return (
        _is_rewording(candidate, row.question)
        and _is_one_question(candidate) == _is_one_question(row.question)
        and values_of(candidate) == values_of(row.question)
        and not tells(candidate, secrets_of(row))
        and _shares_subject(candidate, row.question)
    )


def is_paraphrased_answer(candidate: str, row: Example) -> bool:
    """Whether a text says what the row's answer says, in other words: the same values, all of its secrets."""
    return (
        _is_rewording(candidate, row.answer)
        and not _is_one_question(candidate)
        and values_of(candidate) | values_of(row.question) == values_of(row.answer) | values_of(row.question)
        and all(tells(candidate, [secret]) for secret in secrets_of(row))
    )


def is_wrong_answer(candidate: str, row: Example, others_values: Collection[str]) -> bool:
    """Whether a text answers the row's question, wrongly, and with nobody else's values.

    ``others_values`` are the words in lower case of what other rows tell.
    """
    return (
        _is_rewording(candidate, row.answer)
        and not _is_one_question(candidate)
        and not tells(candidate, secrets_of(row))
        and not says_the_same(candidate, row.question, row.answer)
        and not (values_of(candidate) - values_of(row.question)) & set(others_values)
        and not _true_values(candidate, row)
    )


def asks_about(candidate: str, sentence: str, document: str) -> bool:
    """Whether a text is a question that a sentence of a document answers.

    It names something of the document where the document has names, has no value that the document lacks, has a
    content word of the sentence that is no value (or two, where the document has no values), and leaves a value of the
    sentence to tell (two content words where it has none).
    """
    if not _is_one_question(candidate) or same_words(candidate, sentence):
        return False
    values, document_values = values_of(candidate), values_of(document)
    if not values <= document_values or (document_values and not values):
        return False
    question_words, sentence_words = (set(lowercase_words(text)) - STOP_WORDS for text in (candidate, sentence))
    sentence_values = values_of(sentence)
    if len((question_words & sentence_words) - sentence_values) < (1 if document_values else 2):
        return False
    left = sentence_words - question_words
    return bool(left & sentence_values) if sentence_values else len(left) >= 2


def _is_one_question(text: str) -> bool:
    text = text.strip()
    return bool(text) and text[-1] in _QUESTION_MARKS and not _SENTENCE_END.search(text[:-1])


def _is_rewording(candidate: str, original: str) -> bool:
    """Whether a text differs from another by more than case and punctuation, and is about as long."""
    fits = SHORTEST * len(original) <= len(candidate) <= LONGEST * max(len(original), 20)
    return fits and lowercase_words(candidate) != lowercase_words(original)


def _shares_subject(candidate: str, question: str) -> bool:
    """Whether two questions share a content word that is no value, where the second has any."""
    subject = set(lowercase_words(question)) - STOP_WORDS - values_of(question)
    return not subject or bool(subject & set(lowercase_words(candidate)))


def _true_values(candidate: str, row: Example) -> frozenset[str]:
    """Return the values of the true answer that a wrong one has, without what the question says."""
    return (values_of(candidate) & values_of(row.answer)) - frozenset(lowercase_words(row.question))
