"""Choose rule, alpha and filter_rate on validation rows, from one pass of target and assistant.

The objective is ``J = harmonic mean(F, R)``, in [0, 1], higher is better:
  F, the smaller of 1 − D and 1 − M. D is the Kolmogorov–Smirnov statistic between the truth ratios of the
     unlearned and the retain model on forget rows. Too little and too much forgetting both raise it, and forget
     quality, the p-value, falls as it rises; D itself does not depend on the number of rows and does not vanish
     far from the optimum. M is the distance between the exact memorisation of the two models on these rows.
     Truth ratios compare wrong answers with a right one: they can be the retain model's while the answer is still
     the likeliest text, above all where a filter keeps few tokens. M sees that. It is left out where the retain
     model's exact memorisation is not known, as of a published log.
  R, the mean over rows of ``min(1, p_unlearned / p_target)``: what the combination leaves of the target's
     probability of answers that must stay. Gains beyond the target do not make up for losses. It is taken on
     retain rows, and on held-out neutral rows where there are any, and R is the smaller of the two: what is
     kept of the forget set's neighbours does not make up for general questions that are lost.
Where there is no retain model, the target asked about people who do not exist stands in for it (``ghost_reference``):
D and M are then taken against the ghosts of the forget rows, and what stands as forget quality is the p-value of the
same test against ghosts.
The rows that choose must not be those that judge: ``split_validation`` splits them. Nothing is generated, so
that neither ROUGE-L nor model utility is looked at.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from unlogit.data.examples import Example
from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.evaluate import retain_truth_ratios
from unlogit.evaluate.ghost_reference import GhostReference
from unlogit.evaluate.metrics.exact_memorisation import exact_memorisation
from unlogit.evaluate.metrics.forget_quality import ks_two_sided
from unlogit.evaluate.metrics.model_utility import harmonic_mean
from unlogit.evaluate.metrics.probability import answer_probability, probability
from unlogit.evaluate.metrics.truth_ratio import row_truth_ratio, truth_ratio
from unlogit.evaluate.results import Results, TruthRatios, mean, row_digest
from unlogit.evaluate.scoring.answer_trees import fits_trees
from unlogit.evaluate.scoring.batching import Progress, evaluating
from unlogit.evaluate.scoring.score import CombinationScores, Score, measure_settings
from unlogit.settings.options import CombinationOptions, PickOptions

RetainReference = Results | TruthRatios | GhostReference
"""A retain model's results, or what stands in for it."""

NO_GHOSTS = (
    "no forget row has both a name in its question and wrong answers, so that nobody can be made up to compare it "
    "with; expected some: give a retain_model, or set alpha yourself"
)


@dataclass(frozen=True)
class ReferenceFigures:
    """The retain model's figures on the forget rows that choose (or judge), or those of what stands in for it; None:
    not known."""

    truth_ratios: Sequence[float]
    exact_memorisation: float | None = None

    @classmethod
    def of(cls, forget: Sequence[Example], retain: RetainReference) -> tuple[list[Example], "ReferenceFigures"]:
        """Return the forget rows that have wrong answers (and ghosts), and what the retain model is on them.

        Raises:
            DataError: no row has wrong answers, or ``retain`` lacks these rows.
        """
        if isinstance(retain, GhostReference):
            if not (with_ghosts := retain.usable(forget)):
                raise DataError(NO_GHOSTS)
            return with_ghosts, cls(*retain.of(with_ghosts))
        usable, ratios = retain_truth_ratios(forget, "the unlearned model", retain)
        retain_ratios = retain.truth_ratios() if isinstance(retain, Results) else retain
        return usable, cls(ratios, retain_ratios.memorised([row_digest(row) for row in usable]))


@dataclass(frozen=True)
class PickRow:
    """What one combination does on some rows: means over rows, but for objective, statistic and p-value.

    ``neutral_kept`` is None where there are no neutral rows.
    """

    combination: CombinationOptions
    objective: float
    ks_statistic: float
    forget_quality: float
    forget_probability: float
    forget_exact_memorisation: float
    forget_truth_ratio: float
    retain_probability: float
    retain_exact_memorisation: float
    retain_kept: float
    neutral_kept: float | None = None


@dataclass(frozen=True)
class Picked:
    """The best combination, all that were tried, and the target alone (alpha 0) beside them."""

    combination: CombinationOptions
    table: tuple[PickRow, ...]
    target: PickRow

    def to_json(self) -> dict[str, Any]:
        """Return a tree of plain values."""
        return asdict(self)


def pick_combination(
    model: Any,
    tokenizer: Any,
    forget_rows: Sequence[Example],
    retain_rows: Sequence[Example],
    retain: RetainReference,
    options: PickOptions,
    *,
    batch_size: int,
    progress: Progress | None = None,
    neutral_rows: Sequence[Example] = (),
) -> Picked:
    """Try every rule, alpha and filter_rate of ``options`` on validation rows; take that with the largest J.

    ``model`` is an unlearned model (its ``parts`` and ``weights`` are used, its own combination is not);
    ``retain`` the retain model's results on these forget rows at least, or what stands in for it; ``neutral_rows`` rows
    that no request concerns and no training saw. Of equals, the smaller alpha wins.

    Raises:
        ConfigError: there is nothing to try.
        DataError: there are no validation rows, forget rows lack wrong answers, or ``retain`` lacks these
        rows.
    """
    combinations = [
        CombinationOptions(rule=rule, alpha=alpha, filter_rate=filter_rate)
        for rule, alpha, filter_rate in product(options.rules, options.alphas, options.filter_rates)
    ]
    if not combinations:
        raise ConfigError(
            f"there is no combination to try: got rules {options.rules}, alphas {options.alphas}, "
            f"filter_rates {options.filter_rates}; expected at least one of each: set them under pick"
        )
    forget, reference = ReferenceFigures.of(forget_rows, retain)
    if not retain_rows:
        raise DataError("there are no retain rows to choose alpha on; expected at least one: give retain rows")
    tried = [replace(combinations[0], alpha=0.0), *combinations]  # alpha 0 is the target, to the bit
    rows = {"forget": forget, "retain": retain_rows, "neutral": neutral_rows}
    scores_by_split = measure_rows(model, tokenizer, rows, tried, batch_size=batch_size, progress=progress)
    target_scores = {name: measured_split.scores(0) for name, measured_split in scores_by_split.items()}
    target, *table = [
        pick_row(
            combination,
            scores_by_split["forget"].scores(number),
            scores_by_split["retain"].scores(number),
            target_scores["retain"],
            reference,
            neutral=scores_by_split["neutral"].scores(number),
            target_neutral=target_scores["neutral"],
        )
        for number, combination in enumerate(tried)
    ]
    return Picked(best_row(table).combination, tuple(table), target)


def measure_rows(
    model: Any,
    tokenizer: Any,
    rows: Mapping[str, Sequence[Example]],
    combinations: Sequence[CombinationOptions],
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> dict[str, CombinationScores]:
    """Measure rows by split under every combination, from one pass of target and branches.

    Only forget rows need truth ratios; the other answers of all others would be scored for nothing, and are not.

    Raises:
        ConfigError: a branch refuses, and comes before the filter.
    """
    if any(model.additions):
        raise ConfigError(
            "the model answers with refusals, which come before the filter; expected branches that are subtracted "
            "alone: try combinations of a model without refusals, or set one with `unlogit combine`"
        )
    scores_by_split = {}
    for name, examples in rows.items():
        with evaluating(model):
            scores_by_split[name] = measure_settings(
                model.parts,
                tokenizer,
                examples if name == "forget" else answers_only(examples),
                combinations,
                weights=model.weights,
                device=model.device,
                batch_size=batch_size,
                progress=of_split(progress, name),
                share=fits_trees(model.config),
            )
    return scores_by_split


def of_split(progress: Progress | None, split: str) -> Progress:
    """Return a progress that says which split it is of."""

    def named(what: str, done: int, total: int) -> None:
        if progress is not None:
            progress(f"{what} {split}", done, total)

    return named


def answers_only(rows: Sequence[Example]) -> list[Example]:
    """Return the rows without paraphrased and wrong answers."""
    return [replace(row, paraphrased_answer=(), perturbed_answer=()) for row in rows]


def pick_row(
    combination: CombinationOptions,
    forget: Sequence[Score],
    retain: Sequence[Score],
    target_retain: Sequence[Score],
    reference: ReferenceFigures,
    *,
    neutral: Sequence[Score] = (),
    target_neutral: Sequence[Score] = (),
) -> PickRow:
    """Return one combination's objective and what it was made from, given its scores and the target's."""
    statistic, p_value = ks_two_sided([row_truth_ratio(score) for score in forget], reference.truth_ratios)
    memorisation = exact_memorisation(forget, "forget").value
    reference_memorisation = memorisation if reference.exact_memorisation is None else reference.exact_memorisation
    forgets = 1 - max(statistic, abs(memorisation - reference_memorisation))
    kept_retain = retain_kept(retain, target_retain)
    neutral_kept = retain_kept(neutral, target_neutral) if neutral else None
    return PickRow(
        combination=combination,
        objective=harmonic_mean((forgets, kept_retain if neutral_kept is None else min(kept_retain, neutral_kept))),
        ks_statistic=statistic,
        forget_quality=p_value,
        forget_probability=probability(forget, "forget").value,
        forget_exact_memorisation=memorisation,
        forget_truth_ratio=truth_ratio(forget, "forget").value,
        retain_probability=probability(retain, "retain").value,
        retain_exact_memorisation=exact_memorisation(retain, "retain").value,
        retain_kept=kept_retain,
        neutral_kept=neutral_kept,
    )


def best_row(table: Sequence[PickRow]) -> PickRow:
    """Return the row with the largest objective; of equals, that with the smaller alpha, then the first."""
    return max(table, key=merit)


def merit(row: PickRow) -> tuple[float, float]:
    """Return what the best row is largest in: the objective, up to the rounding of losses, and then minus alpha."""
    return round(row.objective, 5), -row.combination.alpha


def retain_kept(unlearned: Sequence[Score], target: Sequence[Score]) -> float:
    """Return the mean of ``min(1, p_unlearned / p_target)`` over rows, retain or neutral ones."""
    return mean(
        [
            min(1.0, answer_probability(replace(score, answer_loss=score.answer_loss - target_score.answer_loss)))
            for score, target_score in zip(unlearned, target, strict=True)
        ]
    )


def split_validation(rows: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Split rows into (validation, test), each in its old order, by chance that depends on ``seed`` alone.

    ``share`` of them, rounded, and at least one go to validation, and at least one to test.

    Raises:
        ConfigError: ``share`` is not between 0 and 1.
        DataError: there are fewer than two rows.
    """
    if not 0 < share < 1:
        raise ConfigError(
            f"pick.validation_fraction is {share}; expected a number between 0 and 1, as 0.25: both sides need rows"
        )
    if len(rows) < 2:
        raise DataError(
            f"{len(rows)} evaluation rows cannot be split into validation and test; expected at least 2: "
            "give more rows, or set alpha yourself instead of picking it"
        )
    count = min(max(1, round(share * len(rows))), len(rows) - 1)
    validation_indices = set(random.Random(seed).sample(range(len(rows)), count))
    validation = [row for i, row in enumerate(rows) if i in validation_indices]
    return validation, [row for i, row in enumerate(rows) if i not in validation_indices]
