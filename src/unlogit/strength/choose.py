"""Find the strength of a request that has no retain model: one that tells and loses nothing, on the user's own rows.

A strength is a factor on alpha. Where none is given, alpha is ``ALPHA``: the assistant holds what the target gained by
the rows as a logit above uniform, and at 1 that much is taken away; what the filter leaves alone asks for a little
more. Where the truth is known (results/strength.md) 1.0 and 1.1 do best. From there it is looked for in both
directions: stronger while rows are told, weaker where too much is lost; then between one that loses too much and the
next weaker one. Of those that tell nothing and lose nothing it is the strongest: wordings that the check does not ask
are told less often.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

ALPHA = 1.1
STRONGER = (1.2, 1.4)
WEAKER = (0.7, 0.5)
HALVINGS = 2
MOST_CHECKS = 1 + len(STRONGER) + len(WEAKER) + HALVINGS


class Checked(Protocol):
    """What came out of checking one strength."""

    @property
    def told_rows(self) -> int:
        """Rows to forget that are still told, by the greedy answer or a sampled one."""

    @property
    def loses(self) -> bool:
        """Whether more of what should stay is lost than may be, or rows are suppressed too much."""


Found = TypeVar("Found", bound=Checked)


@dataclass(frozen=True)
class Tried:
    """One strength and what it did."""

    strength: float
    told_rows: int
    loses: bool


@dataclass(frozen=True)
class Chosen(Generic[Found]):
    """The strength that was taken, what it did, and what else was tried."""

    strength: float
    checked: Found
    tried: tuple[Tried, ...]

    @property
    def why(self) -> str:
        """Say in words how it was found."""
        passed_over = [entry for entry in self.tried if entry.strength != self.strength]
        if not passed_over:
            return "the first that was tried"
        shown = "; ".join(f"{entry.strength:g}: {_what(entry)}" for entry in passed_over)
        return f"the best of {len(self.tried)} that were tried ({shown})"


def choose_strength(check: Callable[[float], Found]) -> Chosen[Found]:
    """Check strengths from 1 on, until one tells nothing and loses nothing.

    Then in the middle between one that loses and the next weaker one, see ``_halve``; the strongest of those that do
    both is taken. Where rows are told and too much is lost at 1, a stronger one is tried first, then weaker ones: where
    all else is taken away, chance tells more. Where none does both: of those that were tried the one that tells the
    fewest rows, of these one that loses nothing, of these the weakest.

    Args:
        check: sets a strength and checks it.
    """
    results: dict[float, Found] = {1.0: check(1.0)}
    first = results[1.0]
    for strength in STRONGER if first.told_rows else ():
        results[strength] = check(strength)
        if not results[strength].told_rows or results[strength].loses:
            break
    fewest = min(result.told_rows for result in results.values())
    is_lost = all(result.told_rows or result.loses for result in results.values())
    for strength in WEAKER if first.loses and is_lost else ():
        results[strength] = check(strength)
        if results[strength].told_rows > fewest or not results[strength].loses:
            break
    _halve(results, check)
    passing = [strength for strength, result in results.items() if not result.told_rows and not result.loses]
    failing_best = min(results, key=lambda strength: (results[strength].told_rows, results[strength].loses, strength))
    best = max(passing, default=failing_best)
    tried = tuple(Tried(strength, result.told_rows, result.loses) for strength, result in results.items())
    return Chosen(best, results[best], tried)


def _halve(results: dict[float, Found], check: Callable[[float], Found]) -> None:
    """Check between one that loses and tells nothing, and the next weaker one that does not lose, where there are both.

    ``HALVINGS`` times at most; it ends at one that passes, and at one that both tells and loses.
    """
    losing = [strength for strength, result in results.items() if result.loses and not result.told_rows]
    strong = min(losing, default=0.0)
    weaker = [strength for strength, result in results.items() if strength < strong and not result.loses]
    if not weaker:
        return
    weak = max(weaker)
    for _ in range(HALVINGS):
        middle = round((weak + strong) / 2, 3)
        result = results[middle] = check(middle)
        if bool(result.told_rows) == result.loses:
            return
        weak, strong = (middle, strong) if result.told_rows else (weak, middle)


def _what(entry: Tried) -> str:
    tells = f"tells {entry.told_rows} rows" if entry.told_rows else "tells none"
    return f"{tells}{', loses too much' if entry.loses else ''}"
