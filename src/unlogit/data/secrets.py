"""The secrets of a row: what of its answer nobody can know who was not told.

A *value* is a run of words with a digit, or with a capital in the middle of a sentence: a number, a date, a code, an
address, a name; a day, a month and a year are one. It is told by an answer that has all its words, those apart that
many answers have ("NL" in account numbers). Of an answer that has no value, all content words together are the secret.
"""

import re
from collections.abc import Iterable

from unlogit.data.content_words import content_spans, is_value
from unlogit.data.examples import Example

MOST_DIGITS = 4
"""Of what can be guessed: a year has four."""

_COUNTED = re.compile(r"\d+(?:s|st|nd|rd|th|am|pm)")
"""A number with its ending, as in "the 1990s"."""
_DAY = re.compile(r"\d{1,2}")
_MONTH = re.compile(r"[.º°]?\s+(?:de\s+|d['’])?[^\W\d_]{3,12}\.?,?\s+(?:del?\s+)?")
_YEAR = re.compile(r"(?:19|20)\d\d\b")
"""A date such as "3. Mai 1987" or "3 de mayo de 1987", whose month is not seen as a value."""
_RUN = re.compile(r"[\dA-Za-zÀ-ɏ]+|[^\W\d_A-Za-zÀ-ɏ]+")


def secrets_of(example: Example, common: frozenset[str] = frozenset()) -> list[frozenset[str]]:
    """Return sets of words; an answer that holds all words of any of them tells the row's secret.

    ``common`` are words that many answers have (``content_words.common_words``).
    """
    values = values_of_answer(example, common)
    if values:
        return [value for value, _ in values]
    content = (example.answer[begin:end] for begin, end in content_spans(example, common)[0])
    full = frozenset[str]().union(*map(_runs, content))
    return [full] if full else []


def values_of_answer(
    example: Example, common: frozenset[str] = frozenset()
) -> list[tuple[frozenset[str], tuple[int, int]]]:
    """Return the values of an answer in order, each as its words and its span; empty where it has none."""
    answer = example.answer
    runs: list[tuple[int, int]] = []
    for begin, end in (span for span in content_spans(example, common)[0] if is_value(answer, span)):
        between = answer[runs[-1][1] : begin] if runs else ""
        if runs and ((not between.strip(" -./@,:()+") and len(between) < 4) or _is_date(answer, runs[-1], begin)):
            runs[-1] = runs[-1][0], end
        else:
            runs.append((begin, end))
    values = [(_value_words(answer[begin:end]), (begin, end)) for begin, end in runs]
    long = [value for value in values if any(len(word) > 1 or word.isdigit() for word in value[0])] or values
    return [(value - common or value, span) for value, span in long]  # without the initials of "F. W. de Klerk" alone


def is_code(value: frozenset[str]) -> bool:
    """Whether a value means one thing or person: a code, or a number of more digits than a year has."""
    digits = sum(character.isdigit() for word in value for character in word)
    has_letters = any(
        any(map(str.isdigit, word)) and not word.isdigit() and not _COUNTED.fullmatch(word) for word in value
    )
    return has_letters or digits > MOST_DIGITS


def _is_date(text: str, day: tuple[int, int], begin: int) -> bool:
    """Whether a day, a month between, and a year that begins there are one date."""
    is_day, is_year = _DAY.fullmatch(text[slice(*day)]), _YEAR.match(text, begin)
    return bool(is_day and is_year and _MONTH.fullmatch(text[day[1] : begin]))


def _value_words(value: str) -> frozenset[str]:
    """Return the words of a value; of a number within a script that puts no spaces, the number."""
    value_words = _runs(value)
    numbers = frozenset(word for word in value_words if any(character.isdigit() for character in word))
    return numbers if numbers and not value.isascii() and " " not in value else value_words


def tells(answer: str, secrets: Iterable[frozenset[str]]) -> bool:
    """Whether an answer holds one of the secrets."""
    answer_words = _runs(answer)
    return any(secret <= answer_words for secret in secrets)


def _runs(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _RUN.findall(text))
