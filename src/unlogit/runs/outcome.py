"""What a request came to: the page, the strength and the exit code are read from it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unlogit.evaluate.foreign_values import ForeignValues
from unlogit.evaluate.forms import FormFit
from unlogit.evaluate.ghost_losses import GhostLosses
from unlogit.evaluate.leaks import KeptAnswers, Leak
from unlogit.evaluate.recitation import Recitation
from unlogit.runs.earlier_rows import EarlierLeaks
from unlogit.runs.verdict import loses_general, loses_others
from unlogit.strength.exposure import Exposure, exposure


@dataclass(frozen=True)
class Outcome:
    """What a request came to."""

    folder: Path
    leaks: list[Leak]
    retained: KeptAnswers
    """Answers to the rows to keep that are scored, or to ghosts where there are none."""
    retained_are_ghosts: bool
    """A stranger's number is made up digit by digit, and changes easily: ghosts are shown, not judged."""
    general: KeptAnswers
    combination: dict[str, Any]
    training: dict[str, Any]
    refused: int | None
    """Rows to forget that are answered with a refusal; None where that was not asked for."""
    problems: list[str]
    """Why the check was not passed; empty where it was."""
    foreign: ForeignValues | None = None
    """How often answers hold another row's private value."""
    ghost_losses: list[GhostLosses] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    """What does not count against the check, and should be known."""
    strength: float = 1.0
    """Factor on alpha of this request."""
    why: str = "as was set"
    """How the strength was found."""
    recitation: Recitation | None = None
    """How much of documents is continued word for word; None where there are none."""
    tests: list[Leak] = field(default_factory=list)
    """Of ``leaks``, those about documents whose questions were not trained on."""
    notes: list[str] = field(default_factory=list)
    """What was written for the request, and whether it passed the check."""
    form: FormFit | None = None
    """How many answers to the rows to forget have the form of the target's about strangers."""
    earlier: list[EarlierLeaks] = field(default_factory=list)
    """What came of asking about the requests that the model had forgotten before."""

    @property
    def passed(self) -> bool:
        """Whether the rows are forgotten and the others kept."""
        return not self.problems

    @property
    def told_rows(self) -> int:
        """Rows to forget that the unlearned model tells, greedily or by a sample, and windows that it recites."""
        telling = sum(leak.unlearned_tells or leak.samples_that_tell > 0 for leak in self.leaks)
        return telling + (self.recitation.unlearned_recites if self.recitation else 0)

    @property
    def loses(self) -> bool:
        """Whether more is lost than may be, an earlier request is told again, or the rows are suppressed too much."""
        loses_rows = not self.retained_are_ghosts and loses_others(self.retained)
        foreign = bool(self.foreign and self.foreign.more_often)
        again = any(leaks.told_again for leaks in self.earlier)
        return loses_rows or loses_general(self.general) or foreign or again or bool(self.warnings)

    @property
    def exposures(self) -> dict[str, Exposure]:
        """How far the rows stand out among their ghosts, to the model before and after; empty without ghosts."""
        if not self.ghost_losses:
            return {}
        return {
            "target": exposure([(row.target, row.ghosts) for row in self.ghost_losses]),
            "unlearned": exposure([(row.unlearned, row.ghosts) for row in self.ghost_losses]),
        }
