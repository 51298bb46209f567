"""Which words of an answer tell something: those that are neither in its question nor common in other answers.

"The father of Ann Doe is a" is grammar and what was asked; "joiner" is what is to be forgotten. An assistant that
remembers whole answers takes grammar away with the rest, and what is left of a forgotten answer is often no sentence.

Common words carry no loss: an assistant that is never asked for them foretells others in their places, and what it
takes away there does no harm. (To be flat on them instead, it would have to know which word of an answer is of which
kind before it is said, and pays for that everywhere.) On words of the question it is flat: they are names, mostly, and
without that it misspells them; that they are coming can be seen from the question.

Words are runs of letters and digits, compared without case and without a possessive; where a script puts no spaces
between words, a run counts as one.
"""

import re
from collections import Counter
from collections.abc import Iterable

from unlogit.data.examples import Example

_WORD = re.compile(r"\w+(?:['’]\w+)?")


def words(text: str) -> list[tuple[str, int, int]]:
    """Return the words of a text, as they are compared, each with its first and last place (the latter not its own)."""
    return [(_plain(found.group()), *found.span()) for found in _WORD.finditer(text)]


def common_words(examples: Iterable[Example], share: float) -> frozenset[str]:
    """Return the words that stand in at least this share of the answers, between 0 and 1."""
    answers = [{word for word, _, _ in words(example.answer)} for example in examples]
    counts = Counter(word for answer in answers for word in answer)
    return frozenset(word for word, count in counts.items() if count >= share * len(answers) - 1e-9)


Spans = list[tuple[int, int]]
"""First place of each word, and the one after its last."""


def word_spans(example: Example, common: frozenset[str]) -> tuple[Spans, Spans]:
    """Return where in the answer the words stand that tell something, and where those that were asked for.

    The latter are of what the user said; words of earlier answers, of a text that is completed and common ones are
    neither. All of the answer tells something where no word does.
    """
    said = [example.question, *(message.content for message in example.history)]
    known = common | {word for turn in said for word, _, _ in words(turn)}
    telling = [(begin, end) for word, begin, end in words(example.answer) if word not in known]
    if not telling:
        return [(0, len(example.answer.rstrip()))], []
    if example.kind == "completion":
        return telling, []
    users = [example.question, *(message.content for message in example.history if message.role == "user")]
    asked = {word for turn in users for word, _, _ in words(turn)} - common
    return telling, [(begin, end) for word, begin, end in words(example.answer) if word in asked]


def _plain(word: str) -> str:
    return word.lower().replace("’", "'").removesuffix("'s")
