"""Wrong answers where the files have none: by exchange between similar questions.

ULD trains the assistant to be flat on "right question, wrong answer" (Ji et al. 2024, arXiv 2406.08607; there
a language model writes the wrong answers). Here the answer of another question takes their place, with the names of
this one where both are worded alike: right in style and subject, wrong in substance. Ways to augment are in
``AUGMENTERS``, by name; all have the same signature.
"""

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

ALIKE = 0.5
"""Questions with this cosine of their words ask alike."""
ALIKE_WORDS = 0.5
"""Share of the words of two questions that must stand in both, in the same order, for names to be exchanged."""

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
    (tf-idf with counts of 0 and 1). Ties, questions that share no word included, are broken at random by ``seed``, for
    each example anew. An answer that says the same as the true one, or was taken already, is passed over, as are other
    answers to the same question and those of other kinds of rows. Rows that have perturbed answers of their own and
    pieces of running text (no question to answer) get an empty tuple.

    ``others`` are rows whose answers come before those of ``examples`` where they are asked alike (the cosine of all
    words, weighted alike, is ``ALIKE``): retain rows for the forget side, whose own answers are all to be forgotten,
    and may be about one person only. Words that no question of theirs has (that person's name) do not count then.
    """
    import numpy as np

    kinds = {example.kind for example in examples if example.kind != "text"}
    others = [row for row in others if row.kind in kinds]
    pool = [*others, *examples]
    if per_example <= 0 or len(pool) < 2:
        return [()] * len(examples)
    vectors = _vectors([_content(row.question) for row in pool], len(others), rare=True)
    plain = _vectors([set(words(row.question)) for row in pool], len(others), rare=False)
    made: list[tuple[str, ...]] = []
    for start in range(0, len(examples), _BLOCK):
        block = slice(len(others) + start, len(others) + start + _BLOCK)
        similarity = (vectors[block] @ vectors.T).toarray()  # [block, pool]
        alike = (plain[block] @ plain[: len(others)].T).toarray() >= ALIKE
        similarity[:, : len(others)] += 2 * alike  # beyond what any other's can be
        for number, (example, row) in enumerate(zip(examples[start : start + _BLOCK], similarity, strict=True), start):
            if example.perturbed_answer or example.kind == "text":
                made.append(())
                continue
            chance = np.random.default_rng([seed, number]).random(len(pool))
            nearest = np.lexsort((chance, (-row).round(6)))
            made.append(_pick(example, (pool[i] for i in nearest), per_example))
    return made


def retold(other: Example, question: str) -> str:
    """Return the answer of ``other`` with the names of its question replaced by those that ``question`` has in their
    place: "Ann was born in Rome." is "Bo was born in Rome." where Ann's birthplace is asked for, and Bo's is.

    Names are what is written with a capital, the question's first word excepted; of two that are not of the same number
    of words, the first and the last are each other's. Questions of which less than half is the same in the same order
    name nothing in the same place: the answer as it stands.
    """
    theirs, ours = list(_WORD.finditer(other.question)), list(_WORD.finditer(question))
    lower = [[found.group().lower() for found in side] for side in (theirs, ours)]
    matcher = SequenceMatcher(a=lower[0], b=lower[1], autojunk=False)
    if matcher.ratio() < ALIKE_WORDS:
        return other.answer
    names: dict[str, str] = {}
    for kind, begin, end, to_begin, to_end in matcher.get_opcodes():
        old, new = _name(theirs, begin, end), _name(ours, to_begin, to_end)
        if kind == "replace" and old and new:
            ends = zip(old, new, strict=True) if len(old) == len(new) else ((old[0], new[0]), (old[-1], new[-1]))
            names |= {a.group(): b.group() for a, b in ends if _is_name(a) and _is_name(b)}
            names[other.question[old[0].start() : old[-1].end()]] = question[new[0].start() : new[-1].end()]
    if not names:
        return other.answer
    longest = sorted(names, key=len, reverse=True)
    pattern = r"(?<![^\W_])(?:" + "|".join(map(re.escape, longest)) + r")(?![^\W_])"
    return re.sub(pattern, lambda found: names[found.group()], other.answer)


def _name(words_of: Sequence[re.Match[str]], begin: int, end: int) -> Sequence[re.Match[str]]:
    """The words from the first to the last name of a span; none where there is no name in it."""
    places = [i for i in range(max(begin, 1), end) if _is_name(words_of[i])]
    return words_of[places[0] : places[-1] + 1] if places else ()


def _is_name(word: re.Match[str]) -> bool:
    return word.group()[0].isupper() and word.group().lower() not in STOP_WORDS


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
    seen: set[str] = set()
    for other in others:
        if len(picked) == per_example:
            break
        if other.answer in seen or other.kind != example.kind:
            continue
        if same_words(other.question, example.question):  # itself among them
            continue
        seen.add(other.answer)
        wrong = retold(other, example.question)
        if says_the_same(wrong, example.question, example.answer):
            continue
        if not any(same_words(wrong, answer) for answer in picked):
            picked.append(wrong)
    return tuple(picked)


def _vectors(bags: list[set[str]], others: int, rare: bool) -> Any:
    """Sparse [bags, words], each row of length 1 (0 for an empty bag), of the words that the first ``others`` bags have
    (all, where there are none): each word's weight is its inverse document frequency there, or 1 where not ``rare``."""
    import numpy as np
    from scipy.sparse import csr_matrix

    counted = bags[:others] or bags
    known = Counter(word for bag in counted for word in bag)
    column = {word: i for i, word in enumerate(sorted(known))}
    kept = [sorted(bag & known.keys()) for bag in bags]
    columns = np.array([column[word] for bag in kept for word in bag], dtype=np.int64)
    counts = np.array([known[word] for word in column], dtype=np.int64)
    weights = (np.log((1 + len(counted)) / (1 + counts)) + 1 if rare else np.ones(len(column)))[columns]
    ends = np.cumsum([0, *(len(bag) for bag in kept)])
    for start, end in pairwise(ends):
        weights[start:end] /= np.linalg.norm(weights[start:end]) if end > start else 1.0
    return csr_matrix((weights, columns, ends), shape=(len(bags), len(column)))
