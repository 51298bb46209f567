"""Repetition: share of generated answers that end in a repeated fragment, the usual way in which a damaged model talks.

The end of a text repeats itself if its last words have a period: each is the same as the one n words before it, over
at least three times n words where n is below ``LONG_FRAGMENT``, else over twice n. A last copy may be cut off. Words
are compared without case and punctuation, so that a list of different things is none.
"""

import re
from collections.abc import Sequence

from unlogit.evaluate.results import MetricResult, Role, mean
from unlogit.evaluate.scoring import Score

NAME = "repetition"
PAPER = "none: our own count of degenerate endings"
LONGEST_FRAGMENT = 20
LONG_FRAGMENT = 5
"""Words from which a fragment that stands twice is no accident."""


def repetition(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the share. Every score needs ``generated``; a row's value is 0 or 1."""
    values = tuple(float(ends_in_repetition(score.generated or "")) for score in scores)
    return MetricResult(NAME, mean(values), values, len(values), "lower", PAPER)


def ends_in_repetition(text: str) -> bool:
    """Whether the text ends in a repeated fragment."""
    words = re.findall(r"\w+", text.lower())
    for n in range(1, min(LONGEST_FRAGMENT, len(words) // 2) + 1):
        same = 0
        while same < len(words) - n and words[-1 - same] == words[-1 - same - n]:
            same += 1
        if same + n >= n * (2 if n >= LONG_FRAGMENT else 3):
            return True
    return False
