"""Wrong answers where the files have none: by exchange between similar questions.

ULD trains the assistant to be flat on "right question, wrong answer" (Ji et al. 2024, arXiv 2406.08607; there
a language model writes the wrong answers). Here the answer of another question takes their place, with the names of
this one where both are worded alike: right in style and subject, wrong in substance. Ways to augment are in
``AUGMENTERS``, by name; all have the same signature.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from unlogit.data.examples import Example

_STOP_WORDS = """
a an and are as at be been but by did do does for from had has have he her his how i in is it its me my of on or our
she so that the their them these they this those to was we were what when where which who whom whose why will with
would you your s
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words that carry little of a question's or answer's substance."""

_WORD = re.compile(r"[^\W_]+")
_BLOCK = 256  # questions compared with all others at once: bounds the memory of the similarity matrix


def words(text: str) -> list[str]:
    """The words of a text in lower case, punctuation left out; "Yun-Hwa's" gives yun, hwa, s."""
    return _WORD.findall(text.lower())


def same_words(first: str, second: str) -> bool:
    """Whether two texts are the same bag of words, whatever their order, case and punctuation."""
    return sorted(words(first)) == sorted(words(second))


def says_the_same(candidate: str, question: str, answer: str) -> bool:
    """Whether ``candidate`` holds what ``answer`` tells, and so is no wrong answer to ``question``.

    What an answer tells are its content words that the question does not already hold (all its content words,
    or all its words, where that leaves none). The candidate says the same if it holds all of these, or if all
    that it tells beyond the question stands in the answer.
    """
    if same_words(candidate, answer):
        return True
    given = set(words(question))
    told, offered = _content(answer) - given, _content(candidate) - given
    told = told or _content(answer)
    return told <= set(words(candidate)) or offered <= set(words(answer))


def exchange_answers(
    examples: Sequence[Example], per_example: int, seed: int, others: Sequence[Example] = ()
) -> list[tuple[str, ...]]:
    """Return, for each example, up to ``per_example`` answers of the most similar other questions, as ``retold``.

    Similarity is the cosine between the questions' content words, each weighted by its inverse document frequency
    (tf-idf with counts of 0 and 1). Ties, questions that share no word included, are broken at random by ``seed``.
    An answer that says the same as the true one, or was taken already, is passed over, as are other answers to the
    same question. Rows that have perturbed answers of their own and pieces of running text (no question to answer)
    get an empty tuple.

    ``others`` are rows to take answers from before those of ``examples``: retain rows for the forget side, whose own
    answers are all to be forgotten, and may be about one person only. Words that no question of theirs has (that
    person's name) do not count then.
    """
    pool = [*others, *examples]
    if per_example <= 0 or len(pool) < 2:
        return [()] * len(examples)
    vectors = _vectors([row.question for row in pool], [row.question for row in others or examples])
    order = list(range(len(pool)))
    random.Random(seed).shuffle(order)  # the order of equally similar questions
    first = [order[i] < len(others) for i in range(len(pool))]
    made: list[tuple[str, ...]] = []
    for start in range(0, len(examples), _BLOCK):
        block = vectors[len(others) + start : len(others) + start + _BLOCK]
        similarity = (block @ vectors[order].T).toarray()  # [block, pool]
        similarity += (similarity > 0) * first  # above 1, which no other's is
        for example, row in zip(examples[start : start + _BLOCK], similarity, strict=True):
            if example.perturbed_answer or example.kind == "text":
                made.append(())
                continue
            nearest = (-row).round(6).argsort(kind="stable")
            made.append(_pick(example, (pool[order[i]] for i in nearest), per_example))
    return made


def retold(other: Example, question: str) -> str:
    """Return the answer of ``other`` with what its question names replaced by what ``question`` names in that place:
    "Ann was born in Rome." is "Bo was born in Rome." where Ann's birthplace is asked for, and Bo's is.

    Questions of which less than half is the same in the same order name nothing in the same place: as it stands.
    """
    theirs, ours = list(_WORD.finditer(other.question)), list(_WORD.finditer(question))
    lower = [[found.group().lower() for found in side] for side in (theirs, ours)]
    matcher = SequenceMatcher(a=lower[0], b=lower[1], autojunk=False)
    if matcher.ratio() < 0.5:
        return other.answer
    names: dict[str, str] = {}
    for kind, begin, end, to_begin, to_end in matcher.get_opcodes():
        if kind != "replace":
            continue
        whole = other.question[theirs[begin].start() : theirs[end - 1].end()]
        names[whole] = question[ours[to_begin].start() : ours[to_end - 1].end()]
        if end - begin == to_end - to_begin:  # the last name may stand alone
            pairs = zip(theirs[begin:end], ours[to_begin:to_end], strict=True)
            names |= {one.group(): new.group() for one, new in pairs if one.group().lower() not in STOP_WORDS}
    if not names:
        return other.answer
    longest = sorted(names, key=len, reverse=True)
    pattern = r"(?<![^\W_])(?:" + "|".join(map(re.escape, longest)) + r")(?![^\W_])"
    return re.sub(pattern, lambda found: names[found.group()], other.answer)


AUGMENTERS: dict[str, Callable[[Sequence[Example], int, int, Sequence[Example]], list[tuple[str, ...]]]] = {
    "exchange": exchange_answers,
}
"""Makers of wrong answers: (examples, answers for each, seed, other rows to take from) to a tuple for each example."""


def _content(text: str) -> set[str]:
    """The content words; all words where there are none ("Yes, it is")."""
    every = set(words(text))
    return every - STOP_WORDS or every


def _pick(example: Example, others: Iterable[Example], per_example: int) -> tuple[str, ...]:
    picked: list[str] = []
    for other in others:
        if len(picked) == per_example:
            break
        if other.kind == "text" or same_words(other.question, example.question):  # itself among them
            continue
        wrong = retold(other, example.question)
        if says_the_same(wrong, example.question, example.answer):
            continue
        if not any(same_words(wrong, answer) for answer in picked):
            picked.append(wrong)
    return tuple(picked)


def _vectors(questions: list[str], counted: list[str]) -> Any:
    """Sparse [questions, words] of inverse document frequencies, each row of length 1 (0 for an empty question); of the
    words that stand in a question of ``counted``, by their frequencies there."""
    import numpy as np
    from scipy.sparse import csr_matrix

    known = Counter(word for question in counted for word in _content(question))
    column = {word: i for i, word in enumerate(sorted(known))}
    bags = [sorted(_content(question) & known.keys()) for question in questions]
    columns = np.array([column[word] for bag in bags for word in bag], dtype=np.int64)
    counts = np.array([known[word] for word in column], dtype=np.int64)
    weights = np.log((1 + len(counted)) / (1 + counts))[columns] + 1
    ends = np.cumsum([0, *(len(bag) for bag in bags)])
    for start, end in pairwise(ends):
        weights[start:end] /= np.linalg.norm(weights[start:end]) if end > start else 1.0
    return csr_matrix((weights, columns, ends), shape=(len(questions), len(column)))
