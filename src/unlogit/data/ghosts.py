"""Ghosts: the forget questions about somebody who does not exist.

What the target answers to them is what it may say of anybody it does not know, and so what must stay: rows for an
assistant's uniform side where nobody has rows to keep, and beside them where somebody has. In the exposure test of The
Secret Sharer (Carlini et al., 2019) such canaries measure memorisation; here they are neighbours to train on.

A name is a run of words with a capital that does not begin the question, or a word that question and answer share where
a script has no capitals.
"""

import random
import re
from collections.abc import Sequence
from itertools import permutations

from unlogit.data.examples import Example

_WORD = re.compile(r"[^\W\d_][^\W_]*(?:[-'’][^\W_]+)*")
_TWICE = re.compile(r"\b(\w+) \1\b")
_POSSESSIVE = re.compile(r"['’]s$")

_ONSETS = "b br c d dr f g gr h j k l m n p qu r s st t tr v w z"
_VOWELS = "a e i o u ai ea ie oa"
_CODAS = "d ck l ld lm m n nd r rd rk rn s sk t th x"
_QUESTION_WORDS = """
who what when where which whose why how is are was were do does did can could has have in on at
"""
_ASKING = frozenset(_QUESTION_WORDS.split())
"""Words that begin a question."""


def names_of(question: str) -> list[str]:
    """Return the names in a question, each once, the longest first; none in a script without capitals."""
    matches = list(_WORD.finditer(question))
    runs: list[list[re.Match[str]]] = []
    for i, word in enumerate(matches):
        if not word.group()[0].isupper() or word.group() == "I" or (i == 0 and _begins_alone(matches)):
            continue
        adjacent = runs and question[runs[-1][-1].end() : word.start()] == " "
        runs[-1].append(word) if adjacent else runs.append([word])
    names = {_POSSESSIVE.sub("", question[run[0].start() : run[-1].end()]) for run in runs}
    return sorted(names, key=lambda name: (-len(name), name))


def _begins_alone(words: Sequence[re.Match[str]]) -> bool:
    """Whether the first word is capitalised as the first of a sentence: the next one is not, or it asks."""
    return len(words) < 2 or not words[1].group()[0].isupper() or words[0].group().lower() in _ASKING


def made_up_name(words: int, dice: random.Random) -> str:
    """Return a name that hardly anybody has, of as many words."""
    return " ".join(_made_up_word(dice) for _ in range(words))


def _made_up_word(dice: random.Random) -> str:
    syllables = [dice.choice(_ONSETS.split()) + dice.choice(_VOWELS.split()) for _ in range(dice.randint(1, 2))]
    return ("".join(syllables) + dice.choice(_CODAS.split())).capitalize()


def ghost_questions(rows: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return ``count`` ghosts of every row whose question has a name, to be answered by the target.

    The rows of one ghost have the same made-up names in place of the same real ones, so that a ghost is somebody with
    all the questions of somebody real. Ghost after ghost; the answers are empty.
    """
    ghosts = []
    names = {row: names_of(row.question) for row in rows}
    for number in range(count):
        dice = random.Random(f"{seed} {number}")
        made_up: dict[str, str] = {}
        for row in rows:
            for name in names[row]:
                made_up.setdefault(name, made_up_name(len(name.split()), dice))
            if names[row]:
                question = with_names(row.question, {name: made_up[name] for name in names[row]})
                ghosts.append(Example(question, "", row.kind, row.history))
    return ghosts


def strangers_answers(row: Example, ghosts: Sequence[Example], count: int) -> tuple[str, ...]:
    """Return at most ``count`` answers to a row's ghosts with the row's own names: wrong, worded as the target does.

    No answer that keeps anything of a made-up name or says a word twice over, and none that is the row's own.
    """
    answers: list[str] = []
    for ghost in ghosts:
        if len(answers) == count:
            break
        names = _real_names(ghost, row)
        if names is None:
            continue
        answer = with_names(ghost.answer, names)
        left_over = {word.lower() for name in names for word in name.split()} & set(_lower_words(answer))
        if not (left_over or _TWICE.search(answer)) and answer not in (row.answer, *answers):
            answers.append(answer)
    return tuple(answers)


def is_ghost_of(ghost: Example, row: Example) -> bool:
    """Whether a ghost asks the row's question about somebody else."""
    return _real_names(ghost, row) is not None


def _real_names(ghost: Example, row: Example) -> dict[str, str] | None:
    """Return the names of a ghost's question → those of the row's; None where it is another question."""
    names, made_up = names_of(row.question), names_of(ghost.question)
    if not names or len(names) != len(made_up):
        return None
    orders = (dict(zip(made_up, order, strict=True)) for order in permutations(names))
    return next((pairs for pairs in orders if with_names(ghost.question, pairs) == row.question), None)


def _lower_words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


def with_names(text: str, names: dict[str, str]) -> str:
    """Return the text with names exchanged; of a longer name its words alone, too, and in lower case."""
    exchanged = dict(names)
    for name, other in names.items():
        if len(name.split()) == len(other.split()):
            pairs = list(zip(name.split(), other.split(), strict=True))
            exchanged |= {a: b for a, b in pairs if a not in names}
            exchanged |= {a.lower(): b.lower() for a, b in pairs if a.lower() not in exchanged}
    if not exchanged:
        return text
    pattern = "|".join(re.escape(name) for name in sorted(exchanged, key=len, reverse=True))
    return re.sub(rf"(?<![^\W\d_])(?:{pattern})(?![^\W\d_])", lambda match: exchanged[match.group()], text)
