"""Score every rule, alpha and filter_rate of a grid on the rows that choose and on the rows that judge.

Target and branches run once over each answer; every combination is scored from their logits. The picked one has the
largest objective of ``pick`` on the validation rows, and nothing of the test rows enters the choice. The test figures
of all others are there to be looked at, not to be chosen from: the best of hundreds on the test rows is better there
than it is.

Alpha 0 is the target under every rule and filter_rate: it stands once, beside the grid.

Nothing is generated for the grid, so that there is no ROUGE-L and no model utility: ``unlogit evaluate`` has them for
one combination. Leak@k, where it is asked for, is that of what was picked. Retain and neutral rows are scored by their
answer alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from unlogit.data.examples import Example
from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.ghost_reference import GhostReference
from unlogit.evaluate.pick import PickRow, ReferenceFigures, RetainReference, best_row, measure_rows, merit, pick_row
from unlogit.evaluate.scoring.batching import Progress
from unlogit.evaluate.scoring.score import CombinationScores, Score
from unlogit.settings.options import CombinationOptions, SweepOptions

SWEEP_SPLITS = ("forget", "retain", "neutral")
"""What is scored, by name; neutral rows may be missing."""


@dataclass(frozen=True)
class SweepRow:
    """One combination on the rows that choose and on those that judge."""

    validation: PickRow
    test: PickRow

    @property
    def combination(self) -> CombinationOptions:
        """Rule, alpha and filter_rate."""
        return self.test.combination

    def to_json(self) -> dict[str, Any]:
        """Return a tree of plain values."""
        return {
            **asdict(self.combination),
            "validation": figures(self.validation),
            "test": figures(self.test),
        }


@dataclass(frozen=True)
class Sweep:
    """The grid, the target (alpha 0) and what was picked.

    ``counts`` has the number of rows by purpose (validation, test) and split. ``retain_model`` has its figures
    on the test rows, empty where the model itself was not scored. ``leaks`` has Leak@k on the forget rows among them by
    model and metric, where answers were drawn: of the target, the retain model and what was picked. ``by_ghosts`` says
    that there was no retain model: forget quality is then the p-value against ghosts.
    """

    rows: tuple[SweepRow, ...]
    target: SweepRow
    picked: SweepRow
    counts: Mapping[str, Mapping[str, int]]
    retain_model: Mapping[str, float | None]
    leaks: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    by_ghosts: bool = False

    def best(self, count: int) -> list[SweepRow]:
        """Return the rows with the largest objective on validation rows, the picked one first.

        Of rows with the same figures (without a filter, ``centred``, ``paper`` and ``tail`` are one distribution) only
        the first is returned.
        """
        order = sorted(self.rows, key=lambda row: merit(row.validation), reverse=True)
        distinct: dict[tuple[float, ...], SweepRow] = {}
        for row in order:
            values = (*figures(row.validation).values(), *figures(row.test).values())
            distinct.setdefault(tuple(round(value, 4) for value in values if value is not None), row)
        return list(distinct.values())[:count]

    def front(self, kept_figure: str = "retain_kept") -> list[SweepRow]:
        """Return the rows, the target among them, that no other beats on test rows: both forgetting and keeping more.

        They are the ``pareto_front`` of ``kept_figure`` (``retain_kept`` or ``neutral_kept``) and the KS statistic,
        with which forget quality falls. Those that keep most come first.
        """
        rows = [self.target, *self.rows]
        points = [(getattr(row.test, kept_figure), -row.test.ks_statistic) for row in rows]
        return [rows[i] for i in pareto_front(points)]

    def to_json(self) -> dict[str, Any]:
        """Return a tree of plain values."""
        front = set(self.front())
        return {
            "picked": self.picked.to_json(),
            "target": self.target.to_json(),
            "retain_model": dict(self.retain_model),
            "by_ghosts": self.by_ghosts,
            "leaks": {model: dict(leaks) for model, leaks in self.leaks.items()},
            "counts": {purpose: dict(counts) for purpose, counts in self.counts.items()},
            "rows": [row.to_json() | {"front": row in front} for row in self.rows],
        }


def figures(row: PickRow) -> dict[str, float | None]:
    """Return the figures of a row by name, without the combination."""
    return {name: value for name, value in asdict(row).items() if name != "combination"}


def sweep_grid(options: SweepOptions) -> list[CombinationOptions]:
    """Return every combination of a grid once, without alpha 0.

    Raises:
        ConfigError: a value means nothing, or no combination is left; all problems are said.
    """
    names = ("alphas", "filter_rates", "rules")
    problems = [f"{name} is empty; expected at least one value" for name in names if not getattr(options, name)]
    tried: list[dict[str, Any]] = [
        *({"alpha": alpha} for alpha in options.alphas),
        *({"filter_rate": filter_rate} for filter_rate in options.filter_rates),
        *({"rule": rule} for rule in options.rules),
    ]
    for values in tried:
        try:
            CombinationOptions(**values)
        except ConfigError as error:
            problems.append(str(error))
    if options.alphas and not any(options.alphas):
        problems.append("alphas has 0 only, which is the target; expected at least one above 0")
    if not 0 < options.validation_fraction < 1:
        problems.append(
            f"validation_fraction is {options.validation_fraction}; expected a number between 0 and 1, as 0.25"
        )
    if problems:
        raise ConfigError(f"{'; '.join(problems)}: change it")
    grid = product(options.rules, options.alphas, options.filter_rates)
    return [CombinationOptions(*combination) for combination in dict.fromkeys(grid) if combination[1] != 0]


def sweep_combinations(
    model: Any,
    tokenizer: Any,
    validation: Mapping[str, Sequence[Example]],
    test: Mapping[str, Sequence[Example]],
    retain: RetainReference,
    combinations: Sequence[CombinationOptions],
    *,
    batch_size: int,
    progress: Progress | None = None,
    retain_scores: Mapping[str, Sequence[Score]] | None = None,
) -> Sweep:
    """Score the combinations on validation and test rows, and pick by the validation rows.

    Args:
        model: an unlearned model; its ``parts`` and ``weights`` are used, its own combination is not.
        tokenizer: the target's.
        validation: rows that choose, by split (``SWEEP_SPLITS``; forget and retain at least).
        test: rows that judge, likewise. Forget rows without wrong answers are left out.
        retain: the retain model's results on the forget rows of both at least, or what stands in for it.
        combinations: what to score, see ``sweep_grid``.
        batch_size: rows at once.
        progress: called as rows are done.
        retain_scores: the retain model's scores of the test rows by split, those left out excepted.

    Raises:
        DataError: either has no forget rows with wrong answers or no retain rows, or ``retain`` lacks some.
        ModelError: a loss is not a finite number.
    """
    rows: dict[str, dict[str, Sequence[Example]]] = {}
    references = {}
    for purpose, splits in (("validation", validation), ("test", test)):
        rows[purpose], references[purpose] = _usable_rows(purpose, splits, retain)
    tried = [CombinationOptions(combinations[0].rule, 0.0, 0.0), *combinations]  # alpha 0 is the target
    both = {split: [*rows["validation"][split], *rows["test"][split]] for split in SWEEP_SPLITS}
    scores_by_split = measure_rows(model, tokenizer, both, tried, batch_size=batch_size, progress=progress)
    validation_counts = {split: len(examples) for split, examples in rows["validation"].items()}
    target_scores = _by_purpose(scores_by_split, 0, validation_counts)
    table = []
    for number, combination in enumerate(tried):
        scores = _by_purpose(scores_by_split, number, validation_counts)
        pick_rows = {
            purpose: _row(combination, scores[purpose], target_scores[purpose], references[purpose]) for purpose in rows
        }
        table.append(SweepRow(pick_rows["validation"], pick_rows["test"]))
    target, *swept = table
    best = best_row([row.validation for row in swept])
    return Sweep(
        rows=tuple(swept),
        target=target,
        picked=next(row for row in swept if row.validation is best),
        counts={
            purpose: {split: len(examples) for split, examples in splits.items()} for purpose, splits in rows.items()
        },
        retain_model={}
        if retain_scores is None
        else figures(_row(tried[0], retain_scores, target_scores["test"], references["test"])),
        by_ghosts=isinstance(retain, GhostReference),
    )


def _usable_rows(
    purpose: str, splits: Mapping[str, Sequence[Example]], retain: RetainReference
) -> tuple[dict[str, Sequence[Example]], ReferenceFigures]:
    """Return the rows of a purpose by split, the forget rows without wrong answers left out, and their reference."""
    forget, reference = ReferenceFigures.of(splits["forget"], retain)
    if not splits["retain"]:
        raise DataError(f"there are no retain rows for {purpose}; expected at least one: give more retain rows")
    return {"forget": forget, "retain": splits["retain"], "neutral": splits.get("neutral", ())}, reference


def _by_purpose(
    scores_by_split: Mapping[str, CombinationScores], number: int, validation_counts: Mapping[str, int]
) -> dict[str, dict[str, list[Score]]]:
    """Return the scores of one combination by purpose and split; the validation rows of a split come first."""
    by_purpose: dict[str, dict[str, list[Score]]] = {"validation": {}, "test": {}}
    for split, combination_scores in scores_by_split.items():
        scores, count = combination_scores.scores(number), validation_counts[split]
        by_purpose["validation"][split], by_purpose["test"][split] = scores[:count], scores[count:]
    return by_purpose


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the positions of points (larger is better in both) that no other point beats, the largest first first.

    A point beats another if it is at least as large in both and larger in one; equal points do not beat each other.
    """
    order = sorted(range(len(points)), key=lambda i: points[i], reverse=True)
    front: list[int] = []
    highest, first_of_highest = -math.inf, math.nan
    for i in order:
        first, second = points[i]
        if second > highest or (second == highest and first == first_of_highest):
            front.append(i)
            highest, first_of_highest = second, first
    return front


def _row(
    combination: CombinationOptions,
    scores: Mapping[str, Sequence[Score]],
    target: Mapping[str, Sequence[Score]],
    reference: ReferenceFigures,
) -> PickRow:
    return pick_row(
        combination,
        scores["forget"],
        scores["retain"],
        target["retain"],
        reference,
        neutral=scores["neutral"],
        target_neutral=target["neutral"],
    )
