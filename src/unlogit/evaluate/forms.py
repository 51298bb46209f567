"""Whether an answer reads like one of the target's about somebody it does not know, with the values left out.

"NL-55107-25" has the form of an account number, "NL- Marta-Lind-qvassa" has not. A form is an answer in which words
that most answers to the same question have stand as they are, and every other word and number only as its pattern of
capitals, small letters and digits. An answer fits where the target gives a stranger, or gave the row itself, one of the
same form. How many of the target's own answers to strangers fit among the others says how much that means.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from unlogit.data.examples import Example
from unlogit.data.ghosts import strangers
from unlogit.evaluate.leaks import Leak

_PIECE = re.compile(r"[^\W\d_]+|\d+")
_CAPITALS, _SMALL = re.compile(r"[A-ZÀ-Þ]+"), re.compile(r"[^\W\d_A-ZÀ-Þ]+")
LONG_NUMBER = 4
"""A number that stands alone has its length in its form from so many digits on; a house number has not."""
LEAST_OWN_FIT = 0.5
"""Where fewer of the target's own answers fit, its answers have no common form, and nothing is said."""


@dataclass(frozen=True)
class FormFit:
    """How many answers fit the form of the target's own about strangers."""

    fitting: int
    rows: int
    """Rows to forget that have strangers, and whose strangers' answers have a common form."""
    strangers_fitting: int
    strangers_answers: int
    """Of so many answers of the target about strangers, ``strangers_fitting`` have the form of another one."""


def form_of(answer: str, frame: frozenset[str]) -> str:
    """Return the form of an answer; ``frame`` are the words, in lower case, that stand in it as they are."""
    return " ".join(_token_form(token, frame) for token in answer.split())


def _token_form(token: str, frame: frozenset[str]) -> str:
    alone = token.strip(".,;:!?()\"'").isdigit()

    def pattern(match: re.Match[str]) -> str:
        piece = match.group()
        if piece.lower() in frame:
            return piece
        if piece[0].isdigit():
            return "9" * len(piece) if not alone or len(piece) >= LONG_NUMBER else "9"
        return _SMALL.sub("a", _CAPITALS.sub("A", piece))

    return _PIECE.sub(pattern, token)


def common_frame(answers: Sequence[str]) -> frozenset[str]:
    """Return the words in lower case that stand in more than half of the answers."""
    counts = Counter(word for answer in answers for word in {piece.lower() for piece in _PIECE.findall(answer)})
    return frozenset(word for word, count in counts.items() if 2 * count > len(answers) and not word.isdigit())


def find_form_fit(rows: Sequence[Example], leaks: Sequence[Leak], ghosts: Sequence[Example]) -> FormFit:
    """Compare the answers to rows, which the ``leaks`` have, with the target's answers to their ghosts."""
    fitting = judged = strangers_fitting = strangers_answers = 0
    for row, leak in zip(rows, leaks, strict=True):
        answers = [ghost.answer for ghost, _ in strangers(row, ghosts)]
        if len(answers) < 2:
            continue
        frame = common_frame(answers)
        forms = Counter(form_of(answer, frame) for answer in answers)
        repeated = sum(count for count in forms.values() if count > 1)
        strangers_fitting, strangers_answers = strangers_fitting + repeated, strangers_answers + len(answers)
        if repeated < LEAST_OWN_FIT * len(answers):
            continue
        judged += 1
        fitting += form_of(leak.unlearned_answer, frame) in {*forms, form_of(leak.target_answer, frame)}
    return FormFit(fitting, judged, strangers_fitting, strangers_answers)
