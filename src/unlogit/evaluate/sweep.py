"""Score every rule, alpha and filter_rate of a grid on the rows that choose and on the rows that judge.

Target and branches run once over each answer; every combination is scored from their logits. The picked one has the
largest objective of ``pick`` on the validation rows, and nothing of the test rows enters the choice. The test figures
of all others are there to be looked at, not to be chosen from: the best of hundreds on the test rows is better there
than it is.

Alpha 0 is the target under every rule and filter_rate: it stands once, beside the grid.

Nothing is generated, so that there is no ROUGE-L and no model utility: ``unlogit evaluate`` has them for one
combination. Retain and neutral rows are scored by their answer alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from unlogit.data.examples import Example
from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.pick import PickRow, ReferenceFigures, best_row, measure_rows, merit, pick_row
from unlogit.evaluate.results import Results, TruthRatios
from unlogit.evaluate.scoring.batching import Progress
from unlogit.evaluate.scoring.score import Score
from unlogit.model.logit_difference import check_combination
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
    """The grid, the target (alpha 0) and what was picked; ``counts`` has the rows of each part and split.

    ``retain_model`` has its figures on the test rows, empty where the model itself was not scored.
    """

    rows: tuple[SweepRow, ...]
    target: SweepRow
    picked: SweepRow
    counts: Mapping[str, Mapping[str, int]]
    retain_model: Mapping[str, float | None]

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

    def front(self, kept: str = "retain_kept") -> list[SweepRow]:
        """Return the rows, the target among them, that no other beats on test rows: both forgetting and keeping more.

        They are the ``pareto_front`` of ``kept`` (or ``neutral_kept``) and the KS statistic, with which forget quality
        falls. Those that keep most come first.
        """
        rows = [self.target, *self.rows]
        return [rows[i] for i in pareto_front([(getattr(row.test, kept), -row.test.ks_statistic) for row in rows])]

    def to_json(self) -> dict[str, Any]:
        """Return a tree of plain values."""
        front = set(self.front())
        return {
            "picked": self.picked.to_json(),
            "target": self.target.to_json(),
            "retain_model": dict(self.retain_model),
            "counts": {part: dict(counts) for part, counts in self.counts.items()},
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
    tried = [
        *(("centred", alpha, 0.0) for alpha in options.alphas),
        *(("centred", 1.0, filter_rate) for filter_rate in options.filter_rates),
        *((rule, 1.0, 0.0) for rule in options.rules),
    ]
    for combination in tried:
        try:
            check_combination(*combination)
        except ConfigError as error:
            problems.append(str(error))
    problems += [f"alpha is {alpha}; expected 0 or more" for alpha in options.alphas if -math.inf < alpha < 0]
    if options.alphas and not any(options.alphas):
        problems.append("alphas has 0 only, which is the target; expected at least one above 0")
    if not 0 < options.validation_share < 1:
        problems.append(f"validation_share is {options.validation_share}; expected a number between 0 and 1, as 0.25")
    if problems:
        raise ConfigError(f"{'; '.join(problems)}: change it")
    values = product(options.rules, options.alphas, options.filter_rates)
    return [CombinationOptions(*one) for one in dict.fromkeys(values) if one[1] != 0]


def sweep_combinations(
    model: Any,
    tokenizer: Any,
    validation: Mapping[str, Sequence[Example]],
    test: Mapping[str, Sequence[Example]],
    retain: Results | TruthRatios,
    combinations: Sequence[CombinationOptions],
    *,
    batch_size: int,
    progress: Progress | None = None,
    retain_scores: Mapping[str, Sequence[Score]] | None = None,
) -> Sweep:
    """Score the combinations on both parts of the rows, and pick by the validation part.

    Args:
        model: an unlearned model; its ``parts`` and ``weights`` are used, its own combination is not.
        tokenizer: the target's.
        validation: rows that choose, by split (``SWEEP_SPLITS``; forget and retain at least).
        test: rows that judge, likewise. Forget rows without wrong answers are left out.
        retain: the retain model's results on the forget rows of both parts at least.
        combinations: what to score, see ``sweep_grid``.
        batch_size: rows at once.
        progress: called as rows are done.
        retain_scores: the retain model's scores of the test rows by split, those left out excepted.

    Raises:
        DataError: a part has no forget rows with wrong answers or no retain rows, or ``retain`` lacks some.
        ModelError: a loss is not a finite number.
    """
    parts: dict[str, dict[str, Sequence[Example]]] = {}
    wanted = {}
    for name, given in (("validation", validation), ("test", test)):
        forget, wanted[name] = ReferenceFigures.of(given["forget"], retain)
        if not given["retain"]:
            raise DataError(f"there are no retain rows for {name}; expected at least one: give more retain rows")
        parts[name] = {"forget": forget, "retain": given["retain"], "neutral": given.get("neutral", ())}
    tried = [CombinationOptions(combinations[0].rule, 0.0, 0.0), *combinations]
    rows = {split: [*parts["validation"][split], *parts["test"][split]] for split in SWEEP_SPLITS}
    measured = measure_rows(model, tokenizer, rows, tried, batch_size=batch_size, progress=progress)

    def scores(number: int) -> dict[str, dict[str, list[Score]]]:
        """The scores of one combination by part and split."""
        found: dict[str, dict[str, list[Score]]] = {"validation": {}, "test": {}}
        for split, one in measured.items():
            both, first = one.scores(number), len(parts["validation"][split])
            found["validation"][split], found["test"][split] = both[:first], both[first:]
        return found

    alone = scores(0)
    table = []
    for number, combination in enumerate(tried):
        own = scores(number)
        done = {part: _row(combination, own[part], alone[part], wanted[part]) for part in parts}
        table.append(SweepRow(done["validation"], done["test"]))
    target, *swept = table
    best = best_row([row.validation for row in swept])
    return Sweep(
        rows=tuple(swept),
        target=target,
        picked=next(row for row in swept if row.validation is best),
        counts={part: {split: len(chosen) for split, chosen in one.items()} for part, one in parts.items()},
        retain_model={}
        if retain_scores is None
        else figures(_row(tried[0], retain_scores, alone["test"], wanted["test"])),
    )


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the positions of points (larger is better in both) that no other point beats, the largest first first.

    A point beats another if it is at least as large in both and larger in one; equal points do not beat each other.
    """
    order = sorted(range(len(points)), key=lambda i: points[i], reverse=True)
    found: list[int] = []
    highest, at = -math.inf, math.nan
    for i in order:
        first, second = points[i]
        if second > highest or (second == highest and first == at):
            found.append(i)
            highest, at = second, first
    return found


def _row(
    combination: CombinationOptions,
    scores: Mapping[str, Sequence[Score]],
    target: Mapping[str, Sequence[Score]],
    wanted: ReferenceFigures,
) -> PickRow:
    return pick_row(
        combination,
        scores["forget"],
        scores["retain"],
        target["retain"],
        wanted,
        neutral=scores["neutral"],
        target_neutral=target["neutral"],
    )
