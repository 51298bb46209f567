"""Wrong answers where the files have none: by exchange between similar questions.

ULD trains the assistant to be flat on "right question, wrong answer" (Ji et al. 2024, arXiv 2406.08607; there
a language model writes the wrong answers). Here the answer of another question takes their place: right in
style, often in subject, wrong in substance. Ways to augment are in ``AUGMENTERS``, by name; all have the same
signature.
"""

import random
import re
from collections.abc import Callable, Iterable, Sequence
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

_BLOCK = 256  # questions compared with all others at once: bounds the memory of the similarity matrix


def words(text: str) -> list[str]:
    """The words of a text in lower case, punctuation left out; "Yun-Hwa's" gives yun, hwa, s."""
    return re.findall(r"[^\W_]+", text.lower())


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


def exchange_answers(examples: Sequence[Example], per_example: int, seed: int) -> list[tuple[str, ...]]:
    """Return, for each example, up to ``per_example`` answers of the most similar other questions.

    Similarity is the cosine between the questions' content words, each weighted by its inverse document frequency
    (tf-idf with counts of 0 and 1). Ties, questions that share no word included, are broken at random by ``seed``.
    An answer that says the same as the true one, or was taken already, is passed over, as are other answers to the
    same question. Rows that have perturbed answers of their own and pieces of running text (no question to answer)
    get an empty tuple.
    """
    if per_example <= 0 or len(examples) < 2:
        return [()] * len(examples)
    vectors = _vectors([example.question for example in examples])
    order = list(range(len(examples)))
    random.Random(seed).shuffle(order)  # the order of equally similar questions
    made: list[tuple[str, ...]] = []
    for start in range(0, len(examples), _BLOCK):
        similarity = (vectors[start : start + _BLOCK] @ vectors[order].T).toarray()  # [block, examples]
        for example, row in zip(examples[start : start + _BLOCK], similarity, strict=True):
            if example.perturbed_answer or example.kind == "text":
                made.append(())
                continue
            nearest = (-row).round(6).argsort(kind="stable")
            made.append(_pick(example, (examples[order[i]] for i in nearest), per_example))
    return made


AUGMENTERS: dict[str, Callable[[Sequence[Example], int, int], list[tuple[str, ...]]]] = {
    "exchange": exchange_answers,
}
"""Makers of wrong answers: (examples, answers for each, seed) to a tuple for each example."""


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
        if says_the_same(other.answer, example.question, example.answer):
            continue
        if not any(same_words(other.answer, answer) for answer in picked):
            picked.append(other.answer)
    return tuple(picked)


def _vectors(questions: list[str]) -> Any:
    """Sparse [questions, words] of inverse document frequencies, each row of length 1 (0 for an empty question)."""
    import numpy as np
    from scipy.sparse import csr_matrix

    bags = [sorted(_content(question)) for question in questions]
    column = {word: i for i, word in enumerate(sorted(set().union(*bags)))}
    columns = np.array([column[word] for bag in bags for word in bag], dtype=np.int64)
    counts = np.bincount(columns, minlength=len(column))
    weights = np.log((1 + len(questions)) / (1 + counts))[columns] + 1
    ends = np.cumsum([0, *(len(bag) for bag in bags)])
    for start, end in pairwise(ends):
        weights[start:end] /= np.linalg.norm(weights[start:end]) if end > start else 1.0
    return csr_matrix((weights, columns, ends), shape=(len(questions), len(column)))
