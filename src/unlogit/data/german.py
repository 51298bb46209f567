"""Questions in German, where all nouns have a capital, and which of them are no names."""

import re

WORD = re.compile(r"[^\W\d_][^\W_]*(?:[-'’][^\W_]+)*")
"""A word of letters and digits, hyphens and apostrophes within."""
_ENGLISH_FIRST = """
who what when where which whose whom why how is are was were am do does did can could will would shall should may might
must has have had in on at of to for from by with give tell name list describe explain show write find please if and
the a an i my your his her their our this that these those
"""
FIRST_WORDS = frozenset(_ENGLISH_FIRST.split())
"""Words that begin a question with a capital without being a name, and are never exchanged."""


_GERMAN = """
wie lautet welche welcher welches welchen welchem wann wo woher wohin wohnt von ist sind der das dem seit wer wem wen
wessen heißt und oder bei für über wurde wurden wird hatte ihre seine zu zum zur mit nach auf kann ich nenne gib sag
bitte noch nicht ein eine einen einem einer arbeitet geboren wieviel viele warum wieso womit
"""
_GERMAN_WORDS = frozenset(_GERMAN.split())
"""Words that no English question has, but for names such as "von" Neumann's."""
_ENGLISH_WORDS = FIRST_WORDS - frozenset(["in", "an", "am", "was", "will"])
_ARTICLES = """
der die das den dem des ein eine einen einem einer eines kein keine keinen im am zum zur vom beim ans ins welche welcher
welches welchen welchem ihre ihr ihren ihrem ihrer ihres sein seine seinen seinem seiner seines mein meine meinen meinem
meiner unser unsere diese dieser dieses diesen diesem jede jeder jedes
"""
_GERMAN_ARTICLES = frozenset(_ARTICLES.split())
GERMAN_FIRST_WORDS = _GERMAN_WORDS | _GERMAN_ARTICLES
"""Those of German questions."""
_GERMAN_ADJECTIVE = re.compile(r"[a-zäöüß]+(?:e|en|em|er|es)")


def is_german(question: str) -> bool:
    """Whether a question has more words that are German than English, and so capitals that are no names."""
    question_words = {word.lower() for word in WORD.findall(question)}
    return len(_GERMAN_WORDS & question_words) > len(_ENGLISH_WORDS & question_words)


def nouns_behind_articles(question: str) -> set[str]:
    """Return the single capitalised words behind an article, adjectives between them allowed."""
    tokens = [match.group() for match in WORD.finditer(question)]
    nouns = set()
    behind_article = False
    for word in tokens:
        if behind_article and word[0].isupper():
            nouns.add(word)
        is_article = word.lower() in _GERMAN_ARTICLES
        behind_article = is_article or (behind_article and _GERMAN_ADJECTIVE.fullmatch(word) is not None)
    return nouns
