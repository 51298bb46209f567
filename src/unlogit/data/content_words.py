"""The content words of an answer: those that are neither in its question nor common in other answers.

In "The father of Ann Doe is a joiner", "joiner" is what is to be forgotten; the rest is grammar, or was in the
question. An assistant that remembers full answers takes the grammar away too, and what the model answers instead is
often no sentence.

Common words carry no loss: the assistant, never trained on them, predicts other words in their positions, and taking
those away does no harm. (To be near-uniform on common words, it would have to know the kind of each word before it is
generated, and would get worse everywhere.) On words of the question the assistant is trained to be near-uniform: most
of them are names, and without that the model misspells them. The question shows that they are coming.

Words are runs of letters and digits, compared without case and without a possessive; where a script puts no spaces
between words, a run counts as one.
"""

import re
from collections import Counter
from collections.abc import Iterable

from unlogit.data.examples import Example

_WORD = re.compile(r"\w+(?:['’]\w+)?")
ABBREVIATION = re.compile(r"(?:\b[A-Z]|\b(?:Dr|Mr|Mrs|Ms|Prof|St|No|vs|etc|approx|Nr|bzw))\.$")
"""A text that does not end a sentence with its full stop."""

Spans = list[tuple[int, int]]
"""Index of the first character of each word, and of the one after its last."""


def word_positions(text: str) -> list[tuple[str, int, int]]:
    """Return the words of a text, as they are compared, each with the start and end of its span."""
    return [(_normalised(match.group()), *match.span()) for match in _WORD.finditer(text)]


def common_words(examples: Iterable[Example], share: float) -> frozenset[str]:
    """Return the words that stand in at least this share of the answers, between 0 and 1."""
    answers = [_words(example.answer) for example in examples]
    counts = Counter(word for answer in answers for word in answer)
    least = max(2.0, share * len(answers) - 1e-9)  # a word of one answer is not common, however few they are
    return frozenset(word for word, count in counts.items() if count >= least)


def content_spans(example: Example, common: frozenset[str]) -> tuple[Spans, Spans]:
    """Return the spans of the answer's content words, and of the words that repeat what the user said.

    Words that repeat an earlier answer or a text that is completed are neither; nor are common words. Where there is
    no content word, the full answer is one span of content.
    """
    user_turns = [example.question, *(message.content for message in example.history if message.role == "user")]
    all_turns = [example.question, *(message.content for message in example.history)]
    positions = word_positions(example.answer)
    context = common.union(*map(_words, all_turns))
    said_before = frozenset[str]().union(*map(_words, all_turns))
    content = [
        (begin, end)
        for word, begin, end in positions
        if word not in context or (word not in said_before and is_value(example.answer, (begin, end)))
    ]
    if not content:
        return [(0, len(example.answer.rstrip()))], []
    if example.kind == "completion":
        return content, []
    user_words = set[str]().union(*map(_words, user_turns)) - common
    return content, [(begin, end) for word, begin, end in positions if word in user_words]


def is_value(text: str, span: tuple[int, int]) -> bool:
    """Whether the word there is a number, a code, part of an address, or a name in the middle of a sentence."""
    begin, end = span
    word = text[begin:end]
    token = text[:begin].split(" ")[-1] + word + text[end:].split(" ")[0]
    if any(character.isdigit() for character in word) or "@" in token or "://" in token:
        return True
    return word[0].isupper() and is_within_sentence(text, begin)


def is_within_sentence(text: str, begin: int) -> bool:
    """Whether the word that begins there is not the first of a sentence."""
    preceding = text[:begin].rstrip(" \t\n\"'“”‘’(«")
    return bool(preceding) and (preceding[-1] not in ".!?:" or ABBREVIATION.search(preceding) is not None)


def _words(text: str) -> set[str]:
    return {word for word, _, _ in word_positions(text)}


def _normalised(word: str) -> str:
    return word.lower().replace("’", "'").removesuffix("'s")
