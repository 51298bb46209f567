"""The aggregate of every method with its 99 % interval, and the three numbers that it is made of."""

import statistics
from typing import TYPE_CHECKING, Any

from unlogit.report.plots import COLOURS, GREY, INK, figure, legend, note

if TYPE_CHECKING:
    from unlogit.compare.results import ComparisonResults, Row

COMPONENTS = {"memorisation": ("o", COLOURS[0]), "privacy": ("s", COLOURS[1]), "utility": ("^", COLOURS[2])}
"""Mark and colour of each number."""


def has_aggregate(results: "ComparisonResults") -> bool:
    """Whether any row has an aggregate to draw."""
    return any("aggregate" in row.figures for row in results.rows)


def aggregate_plot(results: "ComparisonResults") -> Any:
    """Draw a line for each label, the highest aggregate on top; return the figure.

    The black mark is the aggregate, its bar the interval over rows (of several seeds: their means); a grey line is the
    retain model's.
    """
    groups = [(label, rows) for label, rows in results.groups().items() if "aggregate" in rows[0].figures]
    groups.sort(key=lambda group: _mean(group[1], "aggregate"))
    title = "Aggregate of forgetting, privacy and utility: further right is better"
    drawing, (axes,) = figure(title, width=9.0, height=max(3.2, 1.6 + 0.34 * len(groups)))
    heights = list(range(len(groups)))
    for component, (marker, colour) in COMPONENTS.items():
        values = [_mean(rows, f"aggregate.{component}") for _, rows in groups]
        axes.scatter(values, heights, marker=marker, s=30, color=colour, alpha=0.8, label=component, zorder=2)
    values = [_mean(rows, "aggregate") for _, rows in groups]
    low = [value - _mean(rows, "aggregate_low") for value, (_, rows) in zip(values, groups, strict=True)]
    high = [_mean(rows, "aggregate_high") - value for value, (_, rows) in zip(values, groups, strict=True)]
    errors = [[max(0.0, length) for length in lengths] for lengths in (low, high)]
    style = {"fmt": "D", "color": INK, "capsize": 3, "markersize": 6, "label": "aggregate, 99 % interval", "zorder": 3}
    axes.errorbar(values, heights, xerr=errors, **style)
    for label, rows in groups:
        if label == "retain model":
            axes.axvline(_mean(rows, "aggregate"), color=GREY, linestyle="--", linewidth=1, zorder=1)
    axes.set_yticks(heights, [label for label, _ in groups])
    axes.set_xlabel("harmonic mean of memorisation, privacy and utility (0 to 1)")
    legend(drawing, axes)
    note(drawing, "Privacy is measured against the retain model's AUC, not against 0.5.")
    return drawing


def _mean(rows: "list[Row]", name: str) -> float:
    return statistics.mean(row.figures[name] for row in rows if name in row.figures)
