"""Wrong answers where the files have none: by exchange between similar questions.

ULD trains the assistant to be near-uniform on "right question, wrong answer" (Ji et al. 2024, arXiv 2406.08607; there
a language model writes the wrong answers). Here the answer of another question is used, with the names of this one
where both are worded alike: right in style and subject, wrong in substance. Whatever value of somebody real is left in
it (a name, number, date, code or address) becomes a made-up one of the same form.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.german import GERMAN_FIRST_WORDS, is_german, nouns_behind_articles
from unlogit.data.made_up import Commonplace, script_of, with_made_up_values

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


def lowercase_words(text: str) -> list[str]:
    """The words of a text in lower case, punctuation left out; "Yun-Hwa's" gives yun, hwa, s."""
    return _WORD.findall(text.lower())


def same_words(first: str, second: str) -> bool:
    """Whether two texts are the same bag of words, whatever their order, case and punctuation."""
    return sorted(lowercase_words(first)) == sorted(lowercase_words(second))


def says_the_same(candidate: str, question: str, answer: str) -> bool:
    """Whether ``candidate`` holds the facts of ``answer``, and so is no wrong answer to ``question``.

    The facts of an answer are its content words that are not in the question (all its content words, or all its words,
    where that leaves none). The candidate says the same if it holds all of these, or if all its own facts stand in
    the answer.
    """
    if same_words(candidate, answer):
        return True
    question_words = set(lowercase_words(question))
    answer_facts = _content(answer) - question_words or _content(answer)
    candidate_facts = _content(candidate) - question_words
    return answer_facts <= set(lowercase_words(candidate)) or candidate_facts <= set(lowercase_words(answer))


def exchange_answers(
    examples: Sequence[Example], per_example: int, seed: int, retain_rows: Sequence[Example] = ()
) -> list[tuple[str, ...]]:
    """Return, for each example, up to ``per_example`` answers of the most similar other questions, with names swapped.

    Similarity is the cosine between the questions' content words, each weighted by its inverse document frequency
    (tf-idf with counts of 0 and 1). Ties, questions that share no word included, are broken at random by ``seed``, for
    each example anew. An answer that says the same as the true one, or is used already, is passed over, as are other
    answers to the same question, and answers of rows of another kind. Rows that have perturbed answers of their own and
    pieces of running text (no question to answer) get an empty tuple.

    No answer is about the same subject as the question: what is true of somebody is no wrong answer. Questions have one
    subject if they share a name, those apart that more than half of the questions have.

    Answers of ``retain_rows`` come before those of ``examples`` where the questions ask alike (the cosine of all words,
    weighted alike, is at least ``ALIKE``): the forget side's own answers are all to be forgotten, and may be about one
    person only. Words that no retain question has (that person's name) do not count then.
    """
    import numpy as np

    kinds = {example.kind for example in examples if example.kind != "text"}
    retain_rows = [row for row in retain_rows if row.kind in kinds]
    pool = [*retain_rows, *examples]
    if per_example <= 0 or len(pool) < 2:
        return [()] * len(examples)
    vectors = _vectors([_content(row.question) for row in pool], len(retain_rows), rare=True)
    plain = _vectors([set(lowercase_words(row.question)) for row in pool], len(retain_rows), rare=False)
    subjects = _subjects(pool, len(retain_rows))
    commonplace = Commonplace.of([row.answer for row in pool if row.kind != "text"])
    wrong_answers: list[tuple[str, ...]] = []
    for start in range(0, len(examples), _BLOCK):
        block = slice(len(retain_rows) + start, len(retain_rows) + start + _BLOCK)
        similarity = (vectors[block] @ vectors.T).toarray()  # [block, pool]
        alike = (plain[block] @ plain[: len(retain_rows)].T).toarray() >= ALIKE
        similarity[:, : len(retain_rows)] += 2 * alike  # beyond what any other's can be
        for number, (example, row) in enumerate(zip(examples[start : start + _BLOCK], similarity, strict=True), start):
            if example.perturbed_answer or example.kind == "text":
                wrong_answers.append(())
                continue
            chance = np.random.default_rng([seed, number]).random(len(pool))
            nearest = np.lexsort((chance, (-row).round(6)))
            subject = subjects[len(retain_rows) + number]
            candidates = (pool[i] for i in nearest if subject.isdisjoint(subjects[i]))
            wrong_answers.append(_pick(example, candidates, per_example, commonplace, seed))
    return wrong_answers


def swap_names(other: Example, question: str) -> str:
    """Return the answer of ``other`` with the names of its question replaced by those of ``question``.

    "Ann was born in Rome." becomes "Bo was born in Rome." where ``other`` asks where Ann was born, and ``question``
    where Bo was. Names are words with a capital, except the question's first word. Where two names have different
    numbers of words, the first words are swapped, and the last words. Where less than half of the questions is the same
    in the same order, the answer stays as it is.
    """
    theirs, ours = list(_WORD.finditer(other.question)), list(_WORD.finditer(question))
    matcher = SequenceMatcher(a=_lowered(theirs), b=_lowered(ours), autojunk=False)
    if matcher.ratio() < ALIKE_WORDS:
        return other.answer
    names: dict[str, str] = {}
    for kind, begin, end, to_begin, to_end in matcher.get_opcodes():
        their_name, our_name = _name(theirs, begin, end), _name(ours, to_begin, to_end)
        if kind == "replace" and their_name and our_name:
            names |= {a.group(): b.group() for a, b in _word_pairs(their_name, our_name) if _is_name(a) and _is_name(b)}
            their_text = other.question[their_name[0].start() : their_name[-1].end()]
            names[their_text] = question[our_name[0].start() : our_name[-1].end()]
    if not names:
        return other.answer
    longest = sorted(names, key=len, reverse=True)
    pattern = r"(?<![^\W_])(?:" + "|".join(map(re.escape, longest)) + r")(?![^\W_])"
    return re.sub(pattern, lambda match: names[match.group()], other.answer)


def _lowered(matches: Iterable[re.Match[str]]) -> list[str]:
    return [match.group().lower() for match in matches]


def _word_pairs(
    theirs: Sequence[re.Match[str]], ours: Sequence[re.Match[str]]
) -> Iterable[tuple[re.Match[str], re.Match[str]]]:
    """Return which word of a name stands for which of the other."""
    if len(theirs) == len(ours):
        return zip(theirs, ours, strict=True)
    return (theirs[0], ours[0]), (theirs[-1], ours[-1])


def _name(matches: Sequence[re.Match[str]], begin: int, end: int) -> Sequence[re.Match[str]]:
    """The words from the first to the last name of a span; none where there is no name in it."""
    positions = [i for i in range(max(begin, 1), end) if _is_name(matches[i])]
    return matches[positions[0] : positions[-1] + 1] if positions else ()


def _is_name(word: re.Match[str]) -> bool:
    return word.group()[0].isupper() and word.group().lower() not in STOP_WORDS


def _subjects(rows: Sequence[Example], retain_rows: int) -> list[frozenset[str]]:
    """Return the names in each row's question, in lower case, without those that more than half of the questions have.

    They are counted in the first ``retain_rows`` rows (in all rows, where that is 0).
    """
    names = [frozenset(_names_in(row.question)) for row in rows]
    counted = names[:retain_rows] or names
    frequencies = Counter(name for bag in counted for name in bag)
    everyones = frozenset(name for name, count in frequencies.items() if count > len(counted) / 2)
    return [bag - everyones for bag in names]


def _names_in(question: str) -> Iterable[str]:
    """Yield the words with a capital; the first one where it is a possessive, or part of a name of several words.

    German nouns behind an article are none: the same "Kontonummer" in two questions makes them not about one subject.
    """
    matches = list(_WORD.finditer(question))
    no_names = nouns_behind_articles(question) if is_german(question) else set()
    if no_names and matches[0].group().lower() in GERMAN_FIRST_WORDS:
        no_names.add(matches[0].group())
    for i, word in enumerate(matches):
        if _is_name(word) and len(word.group()) > 1 and word.group() not in no_names:
            following = question[word.end() :]
            if (
                i
                or following[:2] in ("'s", "’s")
                or (len(matches) > 1 and following[:1] == " " and _is_name(matches[1]))
            ):
                yield word.group().lower()


def _content(text: str) -> set[str]:
    """The content words; all words where there are none ("Yes, it is")."""
    bag = set(lowercase_words(text))
    return bag - STOP_WORDS or bag


def _pick(
    example: Example, candidates: Iterable[Example], per_example: int, commonplace: Commonplace, seed: int
) -> tuple[str, ...]:
    picked: list[str] = []
    seen: set[str] = set()
    for other in candidates:
        if len(picked) == per_example:
            break
        if other.answer in seen or other.kind != example.kind:
            continue
        if same_words(other.question, example.question):  # itself among them
            continue
        if script_of(other.answer) not in ("", script_of(example.answer)):
            continue
        seen.add(other.answer)
        wrong = with_made_up_values(swap_names(other, example.question), example.question, commonplace, seed)
        if says_the_same(wrong, example.question, example.answer):
            continue
        if not any(same_words(wrong, answer) for answer in picked):
            picked.append(wrong)
    return tuple(picked)


def _vectors(bags: list[set[str]], retain_bags: int, rare: bool) -> Any:
    """Return a sparse matrix [bags, words] with rows of length 1 (0 for an empty bag).

    Its words are those of the first ``retain_bags`` bags (of all bags, where that is 0). The weight of a word is its
    inverse document frequency there, or 1 where not ``rare``.
    """
    import numpy as np
    from scipy.sparse import csr_matrix

    counted = bags[:retain_bags] or bags
    frequencies = Counter(word for bag in counted for word in bag)
    column = {word: i for i, word in enumerate(sorted(frequencies))}
    counted_words = [sorted(bag & frequencies.keys()) for bag in bags]
    columns = np.array([column[word] for bag in counted_words for word in bag], dtype=np.int64)
    counts = np.array([frequencies[word] for word in column], dtype=np.int64)
    weights = (np.log((1 + len(counted)) / (1 + counts)) + 1 if rare else np.ones(len(column)))[columns]
    ends = np.cumsum([0, *(len(bag) for bag in counted_words)])
    for start, end in pairwise(ends):
        weights[start:end] /= np.linalg.norm(weights[start:end]) if end > start else 1.0
    return csr_matrix((weights, columns, ends), shape=(len(bags), len(column)))
