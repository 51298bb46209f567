"""Ghosts: the forget questions about somebody who does not exist.

What the target answers to them is what it may say of anybody it does not know, and so what must stay: rows for an
assistant's uniform side where nobody has rows to keep, and beside them where somebody has. In the exposure test of The
Secret Sharer (Carlini et al., 2019) such canaries measure memorisation; here they are neighbours to train on.

A name is a run of words with a capital that does not merely begin the question. In German, where all nouns have one,
those behind an article are none, and among the others a name is what several questions of a request have. In scripts
without capitals no name can be seen.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from unlogit.data.examples import Example
from unlogit.data.exchange import says_the_same
from unlogit.data.german import FIRST_WORDS, GERMAN_FIRST_WORDS, WORD, is_german, nouns_behind_articles
from unlogit.data.made_up import Commonplace, made_up_word, script_of, with_made_up_values
from unlogit.data.secrets import secrets_of, tells

_TWICE = re.compile(r"\b(\w+) \1\b")
_POSSESSIVE = re.compile(r"['’]s$")


def names_of(question: str) -> list[str]:
    """Return the names in a question, each once, in order; none in capitals alone, or in a script without capitals.

    A possessive ends a name: of "Ann Doe's Visa card" the names are "Ann Doe" and "Visa". Of a German question nouns
    behind an article are no names, where there is anything else.
    """
    runs = [question[begin:end] for begin, end in _capitalised_runs(question)]
    if is_german(question):
        nouns = nouns_behind_articles(question)
        runs = [run for run in (_without_first(run, nouns) for run in runs) if run] or runs
    names = list(dict.fromkeys(runs))
    return [name for name in names if not name.isupper() or len(name) < 2] or names  # "IBAN" beside a name is none


def _without_first(run: str, nouns: set[str]) -> str:
    """Return a run of words without a noun that begins it: of "Firma Griern" the name."""
    first, _, rest = run.partition(" ")
    return rest if first in nouns else run


def names_in(rows: Sequence[Example]) -> list[list[str]]:
    """Return the names in each row's question, in the light of its answer and of the others.

    Of a German question, words that no other question has are nouns, where more of its words stand in others too.
    """
    names = [_asked_names(row) for row in rows]
    counts = Counter(word for row_names in names for word in {word for name in row_names for word in name.split()})
    return [
        _repeated(row_names, counts) if is_german(row.question) else row_names
        for row, row_names in zip(rows, names, strict=True)
    ]


def _asked_names(row: Example) -> list[str]:
    """Return the names in a row's question, without what stands beside them with a capital.

    A verb may begin a question ("Arbeitet Ann Doe in Ghent?"): the first of three words, or one that the answer has in
    lower case. In German a noun may follow ("Hat Ann Doe Kinder?"): what comes after two words.
    """
    names = names_of(row.question)
    names = [name for name in names if len(name) > 1] or names  # "M. Morvan" is somebody else as "M. Griern"
    if names and row.question.lstrip("¿¡ ").startswith(names[0]):
        first, _, rest = names[0].partition(" ")
        is_verb = " " in rest or first.lower() in WORD.findall(row.answer)
        names[0] = rest if rest and is_verb else names[0]
    is_in_german = is_german(f"{row.question} {row.answer}")
    return [" ".join(name.split()[:2]) for name in names] if is_in_german else names


def _repeated(names: list[str], counts: Mapping[str, int]) -> list[str]:
    """Return the words of names that several questions have, where these are more than the others; else the names."""
    split_names = [word for name in names for word in name.split()]
    repeated = [word for word in split_names if counts[word] > 1]
    return repeated if len(repeated) > len(split_names) - len(repeated) else names


def _capitalised_runs(question: str) -> list[tuple[int, int]]:
    """Return the spans of the runs of words with a capital."""
    matches = list(WORD.finditer(question))
    if sum(match.group().isupper() for match in matches) > len(matches) / 2:
        return []
    runs: list[tuple[int, int]] = []
    is_open = False
    for i, match in enumerate(matches):
        word = _POSSESSIVE.sub("", match.group())
        if not word[0].isupper() or word == "I" or (i == 0 and _begins_alone(matches, is_german(question))):
            is_open = False
            continue
        end = match.start() + len(word)
        if is_open and question[runs[-1][1] : match.start()] == " ":
            runs[-1] = runs[-1][0], end
        else:
            runs.append((match.start(), end))
        is_open = word == match.group()
    return runs


def _begins_alone(matches: Sequence[re.Match[str]], german: bool) -> bool:
    """Whether the first word is capitalised as the first of a sentence: the next one is not, or it is no name."""
    first = _POSSESSIVE.sub("", matches[0].group())
    if first != matches[0].group():
        return False  # "Marta's phone number"
    is_first_word = first.lower() in FIRST_WORDS or (german and first.lower() in GERMAN_FIRST_WORDS)
    return is_first_word or len(matches) < 2 or not matches[1].group()[0].isupper()


def ghost_questions(rows: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Return ``count`` ghosts of every row whose question has a name, to be answered by the target.

    The rows of one ghost have the same made-up words in place of the same real ones, so that a ghost is somebody with
    all the questions of somebody real; in earlier turns of a conversation, too. The answers are empty. Of a name that
    running text among the rows has in lower case, too ("the bridge"), that word stays: other bridges must.
    """
    ghosts = []
    generic = Commonplace.of(row.answer for row in rows if row.kind == "text").lowercase
    names = {
        row: [_exchanged(name, generic) for name in names] for row, names in zip(rows, names_in(rows), strict=True)
    }
    for number in range(count):
        dice = random.Random(f"{seed} {number}")
        made_up: dict[str, str] = {}
        for row in rows:
            for word in (word for name in names[row] for word in name):
                made_up.setdefault(word, made_up_word(dice, script_of(word)))
            if names[row]:
                history = tuple(replace(turn, content=with_words(turn.content, made_up)) for turn in row.history)
                ghosts.append(Example(with_words(row.question, made_up), "", row.kind, history))
    return ghosts


def _exchanged(name: str, generic: frozenset[str]) -> list[str]:
    """Return the words of a name that are not generic; all where each is."""
    return [word for word in name.split() if word.lower() not in generic] or name.split()


def made_up_texts(rows: Sequence[Example], count: int, seed: int, others: Sequence[Example]) -> list[Example]:
    """Return ``count`` times the running text among the rows, with other values: about somebody who does not exist.

    Words that stand in them, or in ``others``, in lower case, too, are no names and stay.
    """
    texts = [row for row in rows if row.kind == "text"]
    commonplace = Commonplace.of(row.answer for row in [*texts, *others])
    frequent = Commonplace.of(row.answer for row in others).frequent
    commonplace = replace(commonplace, frequent=frequent | commonplace.lowercase)
    return [
        replace(row, answer=with_made_up_values(row.answer, "", commonplace, seed * count + number))
        for row in texts
        for number in range(count)
    ]


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

    No answer that keeps anything of a made-up name or says a word twice over, and none that says what the row says, or
    tells one of its secrets: a target that knows little tells strangers what it knows of the row.
    """
    answers: list[str] = []
    secrets = secrets_of(row)
    for ghost, real_words in strangers(row, ghosts):
        if len(answers) == count:
            break
        answer = with_words(ghost.answer, real_words)
        exchanged = {made_up.lower() for made_up, real in real_words.items() if made_up != real}
        left_over = exchanged & set(re.findall(r"[^\W\d_]+", answer.lower()))
        if left_over or _TWICE.search(answer) or answer in answers or tells(answer, secrets):
            continue
        if not says_the_same(answer, row.question, row.answer):
            answers.append(answer)
    return tuple(answers)


def with_words(text: str, words: Mapping[str, str]) -> str:
    """Return the text with words exchanged, in lower case too where they have three letters or more."""
    exchanged = {word.lower(): other.lower() for word, other in words.items() if len(word) > 2} | dict(words)
    exchanged = {word: other for word, other in exchanged.items() if word.lower() not in FIRST_WORDS}
    if not exchanged:
        return text
    pattern = "|".join(re.escape(word) for word in sorted(exchanged, key=len, reverse=True))
    return re.sub(rf"(?<![^\W\d_])(?:{pattern})(?![^\W\d_])", lambda match: exchanged[match.group()], text)
