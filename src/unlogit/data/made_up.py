"""Made-up values of the same form: what stands in for somebody's name, number, date, code or address.

A digit becomes another digit, a letter of a code another letter, a name a name that nobody has. In scripts without
capitals a name cannot be seen: all characters that few answers have become others of the same script. What comes out
depends on the seed and on the value alone, so that a value becomes the same one wherever it stands.
"""

import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from unlogit.data.content_words import is_within_sentence

_ONSETS = "b br c d dr f g gr h j k l m n p qu r s st t tr v w z"
_VOWELS = "a e i o u ai ea ie oa"
_CODAS = "d ck l ld lm m n nd r rd rk rn s sk t th x"
_CYRILLIC = str.maketrans(dict(zip("abcdefghijklmnopqrstuvwz", "абкдефгхийклмнопкрстуввз", strict=True)) | {"x": "кс"})
_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
CALENDAR = frozenset(f"{_MONTHS} {_DAYS}".split())
_SHORT_WORDS = """
yes no the a an i it he she they we you this that there his her
ja nein der die das ein eine er sie es wir seit ihr ihre sein seine
oui non le la les un une il elle ils elles son sa ses
sí el los las una él ella su sus
да нет он она они это его её
"""
_FIRST_WORDS = frozenset(_SHORT_WORDS.split())
"""Begin a sentence with a capital and are no names, though short texts may not have them in lower case."""

_ADDRESS = r"[^\s,;<>()\"]*(?:@|://|www\.)[^\s,;<>()\"]*[^\W_]"
_TOKEN = re.compile(rf"{_ADDRESS}|[^\W_]+")
_PIECE = re.compile(r"[^\W\d_]+|\d+")
_YEAR = re.compile(r"(?:19|20)\d\d")

LEAST_ROWS, LEAST_FRACTION = 5, 0.1
"""A word, or a character of a script without capitals, that stands in so many texts is nobody's own."""

TRIES = 20
"""Throws at a value that nobody has; of few digits all may be somebody's."""


def made_up_word(dice: random.Random, script: str = "LATIN") -> str:
    """Return a name of one or two syllables, in Cyrillic or else in Latin letters."""
    syllables = [dice.choice(_ONSETS.split()) + dice.choice(_VOWELS.split()) for _ in range(dice.randint(1, 2))]
    word = "".join(syllables) + dice.choice(_CODAS.split())
    return (word.translate(_CYRILLIC) if script == "CYRILLIC" else word).capitalize()


@dataclass(frozen=True)
class Commonplace:
    """What of texts is nobody's own value."""

    lowercase: frozenset[str]
    """Words that stand somewhere in lower case: at the beginning of a sentence they are no names."""
    frequent: frozenset[str]
    """Words in lower case, and single characters of scripts without capitals, that many texts have."""
    present: frozenset[str]
    """All words in lower case: a made-up one is none of them, as far as there are others."""
    characters: str
    """Every letter that the texts have, sorted."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Commonplace":
        """Count what stands in many of the texts."""
        bags = [_bag(text) for text in texts]
        counts = Counter(word.lower() for bag in bags for word in {word.lower() for word in bag})
        least = max(LEAST_ROWS, LEAST_FRACTION * len(bags))
        return cls(
            _FIRST_WORDS.union(w for bag in bags for w in bag if w == w.lower() and w != w.upper()),
            frozenset(word for word, count in counts.items() if count >= least),
            frozenset(counts),
            "".join(sorted({letter for bag in bags for word in bag for letter in word if letter.isalpha()})),
        )


def with_made_up_values(text: str, own_text: str, commonplace: Commonplace, seed: int) -> str:
    """Return ``text`` with made-up values; words of ``own_text`` (the question that it answers) stay as they are."""
    own_words = {word.lower() for word in _bag(own_text)}
    kept_letters = own_words | commonplace.frequent

    def replaced(match: re.Match[str]) -> str:
        """Return what stands in place of one token."""
        token = match.group()
        if is_address(token):
            return _made_up(token, _made_up_address, commonplace, seed)
        if token.lower() in own_words:
            return token
        if any(character.isdigit() for character in token):
            return _made_up(token, _made_up_code, commonplace, seed)
        if has_no_case(token[0]):
            return "".join(
                letter if letter in kept_letters else _made_up(letter, _made_up_code, commonplace, seed)
                for letter in token
            )
        is_name = token[0].isupper() and token.lower() not in commonplace.frequent
        if is_name and (token.lower() not in commonplace.lowercase or is_within_sentence(text, match.start())):
            return _made_up(token, _made_up_name, commonplace, seed)
        return token

    return _TOKEN.sub(replaced, text)


def is_address(token: str) -> bool:
    """Whether a word without spaces is an e-mail or web address."""
    return len(token) > 1 and ("@" in token or "://" in token or token.startswith("www."))


def _made_up(value: str, form: Callable[[str, Commonplace, random.Random], str], known: Commonplace, seed: int) -> str:
    """Return a made-up value that none of the texts has, if one is found in a few throws."""
    candidate = value
    for throw in range(TRIES):
        candidate = form(value, known, random.Random(f"{seed} {value} {throw}"))
        if candidate.lower() not in known.present and candidate.lower() != value.lower():
            break
    return candidate


def has_no_case(letter: str) -> bool:
    """Whether a character is a letter of a script without capitals."""
    return letter.isalpha() and letter.lower() == letter.upper()


def script_of(text: str) -> str:
    """Return the name of the script that most letters of a text are of, as "LATIN"; empty where it has none."""
    counts = Counter(unicodedata.name(letter, "").split(" ")[0] for letter in text if letter.isalpha())
    for kana in ("HIRAGANA", "KATAKANA"):
        counts["CJK"] += counts.pop(kana, 0)
    return max(sorted(counts), key=lambda name: counts[name]) if any(counts.values()) else ""


def _bag(text: str) -> set[str]:
    """Return the words of a text, and the single characters of scripts without capitals."""
    tokens = {token for token in _TOKEN.findall(text) if not has_no_case(token[0])}
    return tokens | {letter for letter in text if has_no_case(letter)}


def _made_up_name(word: str, commonplace: Commonplace, dice: random.Random) -> str:
    for names in (_MONTHS.split(), _DAYS.split()):
        if word in names:
            return dice.choice([name for name in names if name != word])
    if script_of(word) != "LATIN" or (word.isupper() and len(word) < 5):
        return "".join(_other_letter(letter, commonplace.characters, dice) for letter in word)
    name = made_up_word(dice)
    return name.upper() if word.isupper() else name


def _made_up_code(word: str, commonplace: Commonplace, dice: random.Random) -> str:
    """Return other digits, but a year in the same century, and other letters."""
    century = 2 if _YEAR.fullmatch(word) else 0
    return word[:century] + "".join(
        _other_digit(character, dice)
        if character.isdigit()
        else character
        if has_no_case(character) and character in commonplace.frequent
        else _other_letter(character, commonplace.characters, dice)
        for character in word[century:]
    )


def _made_up_address(address: str, commonplace: Commonplace, dice: random.Random) -> str:
    """Return an address with made-up names and digits; what comes before "://" and after the last dot stays."""
    begin = address.find("://") + 3 if "://" in address else 4 if address.startswith("www.") else 0
    path = address.find("/", begin)
    host_end = path if path >= 0 else len(address)
    dot = address.rfind(".", begin, host_end)
    end = dot if dot > begin else host_end

    def replaced(match: re.Match[str]) -> str:
        piece = match.group()
        if piece.isdigit():
            return "".join(_other_digit(digit, dice) for digit in piece)
        return made_up_word(dice).lower()

    name, suffix, rest = address[begin:end], address[end:host_end], address[host_end:]
    return address[:begin] + _PIECE.sub(replaced, name) + suffix + _PIECE.sub(replaced, rest)


def _other_digit(digit: str, dice: random.Random) -> str:
    """Return another digit of the same script, none of them a zero, which may not lead."""
    value = unicodedata.digit(digit, None)
    if value is None:
        return digit
    other = dice.choice([number for number in range(1, 10) if number != value])
    return chr(ord(digit) - value + other)


def _other_letter(letter: str, characters: str, dice: random.Random) -> str:
    """Return another letter of the same script and case: one that the texts have, or the next in the alphabet."""
    name = unicodedata.name(letter, "").split(" ")[0]
    alphabet = "abcdefghijklmnopqrstuvwxyz" if name == "LATIN" else characters
    if letter.isupper():
        alphabet = "".join(sorted({upper for upper in map(str.upper, alphabet) if len(upper) == 1}))
    elif not has_no_case(letter):
        alphabet = "".join(sorted(set(alphabet.lower())))
    same_script = [c for c in alphabet if c != letter and unicodedata.name(c, "").split(" ")[0] == name]
    if same_script:
        return dice.choice(same_script)
    following, preceding = chr(ord(letter) + 1), chr(ord(letter) - 1)
    return following if unicodedata.name(following, "").split(" ")[0] == name else preceding
