"""One line on repeated sampling, under the tables of runs and sweeps."""

from collections.abc import Mapping

from unlogit.evaluate.metrics.leak_at_k import BINARY, GRADED, largest_k


def leak_line(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Return Leak@k of each model for the largest k, on a line of its own; nothing where no answers were drawn.

    ``figures`` are values of metrics by model and name.
    """
    k = max((largest_k(list(values)) for values in figures.values()), default=0)
    if not k:
        return ""
    listed = ", ".join(
        f"{model} {_value(values, f'{GRADED}{k}')} / {_value(values, f'{BINARY}{k}')}"
        for model, values in figures.items()
        if largest_k(list(values))
    )
    return (
        f"\nLeak@{k}, the worst of {k} drawn answers to forget rows (≈), ROUGE-L / share of rows whose secret is told: "
        f"{listed}."
    )


def _value(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.3f}" if name in values else "–"
