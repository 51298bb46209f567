"""One number of forgetting, privacy and utility, with a bootstrap interval.

OpenUnlearning, arXiv 2506.12618, appendix F. HM is the harmonic mean; all of it is in [0, 1] but for utility, which may
exceed 1 by a little:

    memorisation  HM of 1 − extraction strength, 1 − exact memorisation, 1 − paraphrase probability and
                  1 − p'/(p' + p_w), on forget rows: higher has forgotten more
    privacy       HM over loss, zlib, min-k and min-k++ of 1 − |AUC − the retain model's AUC|
    utility       HM(model utility, fluency), divided by the target's
    aggregate     HM of these three

p' is the probability of a paraphrase, p_w the geometric mean of the wrong answers', so that p'/(p' + p_w) is
1/(1 + truth ratio). Not as there: fluency is the share of forget answers that do not end in a repeated fragment; there,
a classifier judges.

The interval is from percentiles of 1,000 bootstraps over the rows of each split; models are resampled alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unlogit.evaluate.metrics.membership_inference import SCORES
from unlogit.evaluate.metrics.model_utility import utility_parts
from unlogit.evaluate.protocol import PROTOCOLS
from unlogit.evaluate.results import Aggregate, MetricResult, Results, role_of

BOOTSTRAPS = 1000
INTERVAL = (0.5, 99.5)
"""Percentiles of the bootstraps: a 99 % interval."""
SEED = 0

RETAIN_MISSING = "a retain model scored on the same rows"

Values = np.ndarray[Any, np.dtype[np.float64]]
"""A number of all rows, then of each bootstrap: [1 + ``BOOTSTRAPS``]."""


def aggregate(results: Results, target: Results | None, retain: Results | None) -> Aggregate:
    """Return the aggregate of a model as far as it can be had, and what is missing for the rest.

    ``target`` and ``retain`` are results of the target and the retain model on the same rows; None: there are none.
    """
    weights = _Resampled(results)
    missing: list[str] = []
    scores = {
        "memorisation": _memorisation(results, weights, missing),
        "privacy": _privacy(results, retain, weights, missing),
        "utility": _utility(results, target, weights, missing),
    }
    three = {name: None if values is None else values["score"] for name, values in scores.items()}
    available = [values for values in three.values() if values is not None]
    all_of_it = _harmonic(available) if len(available) == len(three) else None
    low, high = (None, None) if all_of_it is None else _interval(all_of_it[1:])
    first = {name: None if values is None else float(values[0]) for name, values in three.items()}
    value = None if all_of_it is None else float(all_of_it[0])
    components = {
        f"{name}.{component}": float(values[0])
        for name, by_component in scores.items()
        for component, values in (by_component or {}).items()
        if component != "score"
    }
    return Aggregate(value, low, high, **first, components=components, missing=tuple(missing))


def _interval(bootstraps: Values) -> tuple[float, float] | tuple[None, None]:
    """Return the percentiles of those bootstraps that have a value: one may draw no row that a metric needs."""
    finite = bootstraps[np.isfinite(bootstraps)]
    if not len(finite):
        return None, None
    low, high = np.percentile(finite, INTERVAL)
    return float(low), float(high)


@dataclass(frozen=True)
class _Resampled:
    """How often each row of a split is drawn: once each, then with replacement, the same for all models."""

    results: Results

    def __call__(self, split: str) -> Values:
        """Return the counts [1 + ``BOOTSTRAPS``, rows]."""
        rows = len(self.results.splits[split].rows)
        seed = [SEED, *split.encode()]
        drawn = np.random.default_rng(seed).multinomial(rows, np.full(rows, 1 / rows), BOOTSTRAPS)
        return np.vstack([np.ones(rows), drawn])


def _mean(metric: MetricResult, weights: Values, values: Sequence[float] | None = None) -> Values:
    """Return the mean of a metric's rows; not a number where none of its rows was drawn."""
    of_rows = weights[:, list(metric.row_indices)]
    with np.errstate(invalid="ignore"):
        return np.asarray(of_rows @ np.asarray(values or metric.per_example) / of_rows.sum(1))


def _harmonic(values: Sequence[Values]) -> Values:
    """Return the harmonic mean of numbers of at least 0, position by position; 0 where one is 0."""
    table = np.stack(list(values))
    with np.errstate(divide="ignore"):
        return np.asarray(len(values) / (1 / np.clip(table, 0, None)).sum(0))


def _with_score(components: dict[str, Values]) -> dict[str, Values]:
    return {**components, "score": _harmonic(list(components.values()))}


def _memorisation(results: Results, weights: _Resampled, missing: list[str]) -> dict[str, Values] | None:
    needed = {
        "extraction_strength": "forget rows",
        "exact_memorisation": "forget rows",
        "paraphrase_probability": "paraphrased answers of forget rows",
        "truth_ratio": "wrong answers of forget rows",
    }
    metrics: Mapping[str, MetricResult] = results.splits["forget"].metrics if "forget" in results.splits else {}
    lacking = list(dict.fromkeys(what for name, what in needed.items() if name not in metrics))
    if lacking:
        missing += lacking
        return None
    of_rows = weights("forget")
    odds = [1 / (1 + ratio) for ratio in metrics["truth_ratio"].per_example]
    values = {name: odds if name == "truth_ratio" else None for name in needed}
    return _with_score({name: 1 - _mean(metrics[name], of_rows, values[name]) for name in needed})


def _privacy(
    results: Results, retain: Results | None, weights: _Resampled, missing: list[str]
) -> dict[str, Values] | None:
    splits = ("forget", "holdout")
    if not all(split in results.splits and results.splits[split].membership_scores for split in splits):
        missing.append("held-out rows (prepare with --holdout)")
        if retain is None:
            missing.append(RETAIN_MISSING)
        return None
    usable = retain is not None and all(_same_rows(results, retain, split) for split in splits)
    if retain is None or not usable or not all(retain.splits[split].membership_scores for split in splits):
        missing.append(RETAIN_MISSING)
        return None
    forget, holdout = weights("forget"), weights("holdout")

    def aucs(model: Results, name: str) -> Values:
        members, non_members = (np.array(model.splits[split].membership_scores[name]) for split in splits)
        lower = np.sign(non_members[None, :] - members[:, None]) / 2 + 0.5  # [forget, holdout]
        return np.asarray(((forget @ lower) * holdout).sum(1) / (forget.sum(1) * holdout.sum(1)))

    return _with_score({name: 1 - np.abs(aucs(results, name) - aucs(retain, name)) for name in SCORES})


def _utility(
    results: Results, target: Results | None, weights: _Resampled, missing: list[str]
) -> dict[str, Values] | None:
    names = list(utility_parts(results.splits))
    fluent = "forget" in results.splits and "repetition" in results.splits["forget"].metrics
    if not names or results.model_utility is None:
        missing.append("rows to keep, for model utility")
    elif not fluent:
        missing.append("generated answers to forget rows, for fluency")
    elif target is None or not _comparable(results, target, names):
        missing.append("the target scored on the same rows")
    else:
        values, of_target = (_utility_parts(model, names, weights) for model in (results, target))
        reference = _harmonic(list(of_target.values()))
        if reference[0] > 0:
            with np.errstate(invalid="ignore", divide="ignore"):
                return {**values, "score": _harmonic(list(values.values())) / reference}
        missing.append("a target with a utility above 0")
    return None


def _utility_parts(results: Results, names: Sequence[str], weights: _Resampled) -> dict[str, Values]:
    protocol = PROTOCOLS[results.protocol]
    values = []
    for name in names:
        split, metric_name = name.split(".")
        metric = results.splits[split].metrics[metric_name]
        of_rows = None
        if metric_name == "truth_ratio":
            of_rows = [protocol.truth_ratio((ratio,), role_of(split)) for ratio in metric.per_example]
        values.append(_mean(metric, weights(split), of_rows))
    fluency = 1 - _mean(results.splits["forget"].metrics["repetition"], weights("forget"))
    return {"model_utility": _harmonic(values), "fluency": fluency}


def _comparable(results: Results, target: Results, names: Sequence[str]) -> bool:
    """Whether the target has the same parts of model utility, on the same rows."""
    splits = {name.split(".")[0] for name in names} | {"forget"}
    same = all(_same_rows(results, target, split) for split in splits)
    return (
        same and list(utility_parts(target.splits)) == list(names) and "repetition" in target.splits["forget"].metrics
    )


def _same_rows(results: Results, other: Results, split: str) -> bool:
    first, second = results.splits.get(split), other.splits.get(split)
    if first is None or second is None or results.protocol != other.protocol:
        return False
    return first.rows == second.rows
