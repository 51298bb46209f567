"""Ghosts: the forget questions about somebody who does not exist.

What the target answers to them is what it may say of anybody it does not know, and so what must stay: rows for an
assistant's uniform side where nobody has rows to keep, and beside them where somebody has. In the exposure test of The
Secret Sharer (Carlini et al., 2019) such canaries measure memorisation; here they are neighbours to train on.

A name is a run of words with a capital that does not merely begin the question.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from unlogit.data.examples import Example
from unlogit.data.exchange import says_the_same

_WORD = re.compile(r"[^\W\d_][^\W_]*(?:[-'’][^\W_]+)*")
_TWICE = re.compile(r"\b(\w+) \1\b")
_POSSESSIVE = re.compile(r"['’]s$")

_ONSETS = "b br c d dr f g gr h j k l m n p qu r s st t tr v w z"
_VOWELS = "a e i o u ai ea ie oa"
_CODAS = "d ck l ld lm m n nd r rd rk rn s sk t th x"
_FIRST_WORDS = """
who what when where which whose whom why how is are was were am do does did can could will would shall should may might
must has have had in on at of to for from by with give tell name list describe explain show write find please if and
the a an i my your his her their our this that these those
"""
_NO_NAMES = frozenset(_FIRST_WORDS.split())
"""Words that begin a question with a capital without being a name, and are never exchanged."""


def names_of(question: str) -> list[str]:
    """Return the names in a question, each once, in order; none in capitals alone, or in a script without capitals.

    A possessive ends a name: of "Ann Doe's Visa card" the names are "Ann Doe" and "Visa".
    """
    matches = list(_WORD.finditer(question))
    if sum(match.group().isupper() for match in matches) > len(matches) / 2:
        return []
    runs: list[tuple[int, int]] = []
    is_open = False
    for i, match in enumerate(matches):
        word = _POSSESSIVE.sub("", match.group())
        if not word[0].isupper() or word == "I" or (i == 0 and _begins_alone(matches)):
            is_open = False
            continue
        end = match.start() + len(word)
        if is_open and question[runs[-1][1] : match.start()] == " ":
            runs[-1] = runs[-1][0], end
        else:
            runs.append((match.start(), end))
        is_open = word == match.group()
    names = list(dict.fromkeys(question[begin:end] for begin, end in runs))
    return [name for name in names if not name.isupper() or len(name) < 2] or names  # "IBAN" beside a name is none


def _begins_alone(matches: Sequence[re.Match[str]]) -> bool:
    """Whether the first word is capitalised as the first of a sentence: the next one is not, or it is no name."""
    first = _POSSESSIVE.sub("", matches[0].group())
    if first != matches[0].group():
        return False  # "Marta's phone number"
    return first.lower() in _NO_NAMES or len(matches) < 2 or not matches[1].group()[0].isupper()


def _made_up_word(dice: random.Random) -> str:
    syllables = [dice.choice(_ONSETS.split()) + dice.choice(_VOWELS.split()) for _ in range(dice.randint(1, 2))]
    return ("".join(syllables) + dice.choice(_CODAS.split())).capitalize()


def ghost_questions(rows: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return ``count`` ghosts of every row whose question has a name, to be answered by the target.

    The rows of one ghost have the same made-up words in place of the same real ones, so that a ghost is somebody with
    all the questions of somebody real; in earlier turns of a conversation, too. The answers are empty.
    """
    ghosts = []
    names = {row: names_of(row.question) for row in rows}
    for number in range(count):
        dice = random.Random(f"{seed} {number}")
        made_up: dict[str, str] = {}
        for row in rows:
            for word in (word for name in names[row] for word in name.split()):
                made_up.setdefault(word, _made_up_word(dice))
            if names[row]:
                history = tuple(replace(turn, content=with_words(turn.content, made_up)) for turn in row.history)
                ghosts.append(Example(with_words(row.question, made_up), "", row.kind, history))
    return ghosts


def strangers(row: Example, ghosts: Sequence[Example]) -> list[tuple[Example, dict[str, str]]]:
    """Return the ghosts that ask the row's question about somebody else, each with its words → the row's own."""
    real_words = [word for name in names_of(row.question) for word in name.split()]
    if not real_words:
        return []
    fixed = _fixed_parts(row.question, real_words)
    asked_alike = []
    for ghost in ghosts:
        match = fixed.fullmatch(ghost.question)
        if match and ghost.question != row.question:
            asked_alike.append((ghost, dict(zip(match.groups(), real_words, strict=True))))
    return asked_alike


def _fixed_parts(question: str, words: Sequence[str]) -> re.Pattern[str]:
    """Return the pattern of a question in which each of these words, in order, may be another."""
    pattern, position = "", 0
    for word in words:
        start = question.index(word, position)
        pattern += re.escape(question[position:start]) + r"([^\W\d_]+)"
        position = start + len(word)
    return re.compile(pattern + re.escape(question[position:]))


def strangers_answers(row: Example, ghosts: Sequence[Example], count: int) -> tuple[str, ...]:
    """Return at most ``count`` answers to a row's ghosts with the row's own names: wrong, worded as the target does.

    No answer that keeps anything of a made-up name or says a word twice over, and none that says what the row says.
    """
    answers: list[str] = []
    for ghost, real_words in strangers(row, ghosts):
        if len(answers) == count:
            break
        answer = with_words(ghost.answer, real_words)
        left_over = {word.lower() for word in real_words} & set(re.findall(r"[^\W\d_]+", answer.lower()))
        if left_over or _TWICE.search(answer) or answer in answers:
            continue
        if not says_the_same(answer, row.question, row.answer):
            answers.append(answer)
    return tuple(answers)


def with_words(text: str, words: Mapping[str, str]) -> str:
    """Return the text with words exchanged, in lower case too where they have three letters or more."""
    exchanged = {word.lower(): other.lower() for word, other in words.items() if len(word) > 2} | dict(words)
    exchanged = {word: other for word, other in exchanged.items() if word.lower() not in _NO_NAMES}
    if not exchanged:
        return text
    pattern = "|".join(re.escape(word) for word in sorted(exchanged, key=len, reverse=True))
    return re.sub(rf"(?<![^\W\d_])(?:{pattern})(?![^\W\d_])", lambda match: exchanged[match.group()], text)
