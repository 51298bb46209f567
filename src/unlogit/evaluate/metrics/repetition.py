"""Repetition: share of generated answers that end in a repeated fragment, the usual way in which a damaged model talks.

The end of a text repeats itself if its last characters have a period: each is the same as the one n before it, over at
least ``COPIES`` times n characters (a separator less) and at least ``SHORTEST`` of them, or over twice n where n is
``LONG_FRAGMENT`` or more. Characters, not words, since a looping answer is cut off anywhere, and damaged ones loop
inside a word as well. Case and runs of blanks do not count.
"""

from collections.abc import Sequence

from unlogit.evaluate.results import MetricResult, Role, mean
from unlogit.evaluate.scoring.score import Score

NAME = "repetition"
PAPER = "none: our own count of degenerate endings"
COPIES = 3
SHORTEST = 12
"""Characters that repeat themselves at least: those of "www", "1,000,000" or "no, no, no" do not."""
SEPARATOR = 2
"""Characters that may be missing at the end, as the comma and blank after the last copy."""
LONG_FRAGMENT = 30
"""Characters from which a fragment that stands twice is no accident."""
LONGEST_FRAGMENT = 200


def repetition(scores: Sequence[Score], role: Role) -> MetricResult:
    """Return the share. Every score needs ``generated``; a row's value is 0 or 1."""
    values = tuple(float(ends_in_repetition(score.generated or "")) for score in scores)
    return MetricResult(NAME, mean(values), values, len(values), "lower", PAPER)


def ends_in_repetition(text: str) -> bool:
    """Whether the text ends in a repeated fragment."""
    backwards = " ".join(text.lower().split())[::-1]
    for n in range(1, min(LONGEST_FRAGMENT, (len(backwards) + SEPARATOR) // 2) + 1):
        same = n
        while same < len(backwards) and backwards[same] == backwards[same - n]:
            same += 1
        if same >= max(SHORTEST, n * (2 if n >= LONG_FRAGMENT else COPIES) - SEPARATOR):
            return True
    return False
