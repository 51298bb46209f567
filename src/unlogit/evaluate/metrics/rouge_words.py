"""The words that ROUGE counts, of every script.

The package ``rouge_score`` counts runs of a–z and 0–9 alone: an answer in Chinese or Russian has no words there, and
"Müller" and "Möller" are both "m", "ller". Here a word is a run of letters and digits of any script, with the marks
that are put on them; where a script puts no spaces between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer), every
letter is a word. ASCII texts have the same words as there, and the same stems.

``english_scorer`` is that package's own, for figures that stand beside published ones.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer

_UNSPACED = (
    "CJK",
    "HIRAGANA",
    "KATAKANA",
    "HALFWIDTH KATAKANA",
    "BOPOMOFO",
    "IDEOGRAPHIC",
    "THAI",
    "LAO",
    "MYANMAR",
    "KHMER",
)
"""What the Unicode names of letters begin with that each count as a word."""


class AllScriptsTokenizer(Tokenizer):  # type: ignore[misc]  # the package has no types
    """Words of every script, in lower case; English ones stemmed with ``use_stemmer``."""

    def __init__(self, use_stemmer: bool) -> None:
        self._english = DefaultTokenizer(use_stemmer)

    def tokenize(self, text: str) -> list[str]:
        """Return the words of a text, in order."""
        if text.isascii():
            return list(self._english.tokenize(text))
        tokens: list[str] = []
        for word in _words(unicodedata.normalize("NFC", text.lower())):
            tokens += self._english.tokenize(word) if word.isascii() else [word]
        return tokens


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case."""
    word = ""
    for character in text:
        kind = _kind(character)
        if kind == "mark":
            word += character if word else ""
        elif kind == "letter":
            if word and _kind(word[0]) == "word":
                yield word
                word = ""
            word += character
        else:
            if word:
                yield word
            word = character if kind == "word" else ""
    if word:
        yield word


@cache
def _kind(character: str) -> str:
    """Return ``letter`` (or digit), ``mark`` on one, ``word`` (a letter that is a word) or nothing."""
    category = unicodedata.category(character)
    if category in ("Mn", "Mc"):
        return "" if unicodedata.name(character, "").startswith("VARIATION SELECTOR") else "mark"
    if category[0] != "L" and category != "Nd":
        return ""
    return "word" if unicodedata.name(character, "").startswith(_UNSPACED) else "letter"


@cache
def all_scripts_scorer(use_stemmer: bool) -> RougeScorer:
    """Return a scorer of ROUGE-L by words of every script."""
    return RougeScorer(["rougeL"], tokenizer=AllScriptsTokenizer(use_stemmer))


@cache
def english_scorer(use_stemmer: bool) -> RougeScorer:
    """Return a scorer of ROUGE-L by runs of a–z and 0–9, as the package has it."""
    return RougeScorer(["rougeL"], use_stemmer=use_stemmer)


@cache
def _words_only() -> AllScriptsTokenizer:
    return AllScriptsTokenizer(use_stemmer=False)


def has_words(text: str) -> bool:
    """Whether a text has any word to count."""
    return bool(_words_only().tokenize(text))


def has_english_words(text: str) -> bool:
    """Whether a text has any a–z or 0–9."""
    return bool(DefaultTokenizer().tokenize(text))
