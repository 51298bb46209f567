"""The results of a model on some of the rows that it was scored on: nothing is scored anew."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from unlogit.errors import DataError
from unlogit.evaluate.metrics.membership_inference import MEMBERSHIP_SPLITS, membership_of
from unlogit.evaluate.protocol import PROTOCOLS, EvaluationProtocol
from unlogit.evaluate.results import MetricResult, Results, SplitResult, mean, role_of

NO_MEANS = ("perplexity",)
"""Metrics whose value is not made from those of the rows alone."""


def on_rows(results: Results, rows: Mapping[str, Sequence[str]]) -> Results:
    """Return results of exactly these rows (digests by split), in their order; other splits are left out.

    Forget quality, privleak and the aggregate are left out: they compare models. Metrics that no chosen row was
    measured by are, too, and of fewer rows than were scored also those that are no mean over rows.

    Raises:
        DataError: a split or a row was not scored.
    """
    splits, protocol = {}, PROTOCOLS[results.protocol]
    for name, digests in rows.items():
        split_result = results.splits.get(name)
        missing = len(digests) if split_result is None else len(set(digests) - set(split_result.rows))
        if split_result is None or missing:
            raise DataError(
                f"{missing} of the {len(digests)} {name} rows are not among those that {results.model!r} was scored "
                "on; expected results of all of them: evaluate it on these rows"
            )
        splits[name] = _split_on_rows(split_result, digests, protocol)
    unchanged = [name in splits and splits[name] is results.splits[name] for name in MEMBERSHIP_SPLITS]
    membership = results.membership_inference if all(unchanged) else membership_of(splits)
    return replace(
        results,
        splits=splits,
        forget_quality=None,
        model_utility=protocol.model_utility(splits),
        membership_inference=membership,
        privleak=None,
        aggregate=None,
    )


def _split_on_rows(split: SplitResult, digests: Sequence[str], protocol: EvaluationProtocol) -> SplitResult:
    if split.rows == tuple(digests):
        return split
    position_of = {digest: i for i, digest in enumerate(split.rows)}
    positions = [position_of[digest] for digest in digests]
    metrics = {}
    for name, metric in split.metrics.items():
        values = dict(zip(metric.row_indices, metric.per_example, strict=True))
        positioned_values = [(new_i, values[i]) for new_i, i in enumerate(positions) if i in values]
        if positioned_values and name not in NO_MEANS:
            metrics[name] = _metric_of(metric, split.name, positioned_values, protocol)
    generated = tuple(split.generated[i] for i in positions if i < len(split.generated))
    losses = tuple(split.losses[i] for i in positions if i < len(split.losses))
    membership = {name: tuple(values[i] for i in positions) for name, values in split.membership_scores.items()}
    return SplitResult(split.name, metrics, tuple(digests), generated, losses, membership)


def _metric_of(
    metric: MetricResult, split: str, positioned_values: Sequence[tuple[int, float]], protocol: EvaluationProtocol
) -> MetricResult:
    values = tuple(value for _, value in positioned_values)
    value = protocol.truth_ratio(values, role_of(split)) if metric.name == "truth_ratio" else mean(values)
    return replace(
        metric,
        value=value,
        per_example=values,
        count=len(values),
        row_indices=tuple(position for position, _ in positioned_values),
        parts={},
    )
