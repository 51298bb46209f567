"""The table of a comparison: a row for each method, for the terminal and as Markdown.

The columns are those of the ULD paper's Table 2 (arXiv 2406.08607); beside them what the training cost.
"""

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unlogit.compare.results import COSTS, FIGURES, ComparisonResults, Row
from unlogit.evaluate.metrics.leak_at_k import BINARY, GRADED, largest_k
from unlogit.report.leak_line import leak_line

if TYPE_CHECKING:
    from rich.table import Table

MORE = (
    *("aggregate", "aggregate.memorisation", "aggregate.privacy", "aggregate.utility", "membership_inference"),
    *("general_kept", "forget.repetition", "uniform_kl.retain", "uniform_kl.neutral"),
)
"""What has a column in Markdown, where it was measured; the terminal has no room for it. Leak@k has some, too."""

HEADINGS = {
    "forget_quality": "forget\nquality ↑",
    "forget_rouge_l": "forget\nR-L ≈",
    "model_utility": "model\nutility ↑",
    "retain_rouge_l": "retain\nR-L ↑",
    "forget_probability": "forget\np ≈",
    "retain_probability": "retain\np ↑",
    "aggregate": "aggregate ↑",
    "aggregate.memorisation": "memorisation score ↑",
    "aggregate.privacy": "privacy score ↑",
    "aggregate.utility": "utility beside the target's ↑",
    "membership_inference": "membership AUC ≈",
    "general_kept": "general answers kept",
    "forget.repetition": "forget answers that repeat ↓",
    "uniform_kl.retain": "KL from uniform on retain rows, nats ↓",
    "uniform_kl.neutral": "KL from uniform on neutral rows, nats ↓",
    "seconds_a_step": "seconds\na step",
    "seconds": "seconds",
    "trainable_parameters": "trained\nparams",
    "peak_memory_bytes": "peak\nmemory",
}
"""Heading of each figure and cost by name."""


def comparison_table(results: ComparisonResults) -> "Table":
    """Return the table for the terminal, 120 columns wide."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False, caption_justify="left")
    table.caption = caption(results)
    table.add_column("method", overflow="fold", min_width=14)
    for name in (*FIGURES, *COSTS):
        table.add_column(HEADINGS[name], justify="right", no_wrap=True)
    for label, rows in results.groups().items():
        values = [spread([row.figures[name] for row in rows if name in row.figures], name) for name in FIGURES]
        values += [spread([row.costs[name] for row in rows if name in row.costs], name) for name in COSTS]
        table.add_row(label, *values, end_section=label == "retain model")
    return table


def comparison_markdown(results: ComparisonResults) -> str:
    """Return the table as Markdown, as it stands in the README."""
    leaks = _leak_headings(results)
    more = (*leaks, *MORE)
    figures = [*FIGURES, *(name for name in more if any(name in row.figures for row in results.rows))]
    names = ((HEADINGS | leaks)[name] for name in (*figures, *COSTS))
    headings = [heading.replace("\n", " ").replace("- ", "") for heading in names]
    lines = [f"| method | {' | '.join(headings)} |", "|---|" + "---:|" * len(headings)]
    for label, rows in results.groups().items():
        values = [spread([row.figures[name] for row in rows if name in row.figures], name) for name in figures]
        values += [spread([row.costs[name] for row in rows if name in row.costs], name) for name in COSTS]
        lines.append(f"| {label} | {' | '.join(values)} |".replace("\n", ", "))
    return "\n".join(lines)


def _leak_headings(results: ComparisonResults) -> dict[str, str]:
    """Return the headings of Leak@k by figure, for the largest k; nothing where no answers were drawn."""
    k = max((largest_k(list(_forget_figures(row))) for row in results.rows), default=0)
    if not k:
        return {}
    return {f"forget.{GRADED}{k}": f"leak@{k}, R-L ≈", f"forget.{BINARY}{k}": f"leak@{k}, secret told ≈"}


def _forget_figures(row: Row) -> dict[str, float]:
    return {name.removeprefix("forget."): value for name, value in row.figures.items() if name.startswith("forget.")}


def _group_lines(results: ComparisonResults) -> str:
    """Return the lines on Leak@k and the aggregate under the table, means over seeds."""
    groups = results.groups()
    leaks = {
        label: {
            name: statistics.mean(_forget_figures(row)[name] for row in rows)
            for name in _forget_figures(rows[0])
            if all(name in _forget_figures(row) for row in rows)
        }
        for label, rows in groups.items()
    }
    text = leak_line(leaks)
    listed = []
    for label, rows in groups.items():
        with_aggregate = [row.figures for row in rows if "aggregate" in row.figures]
        if with_aggregate:
            value, low, high = (
                statistics.mean(figures[name] for figures in with_aggregate)
                for name in ("aggregate", "aggregate_low", "aggregate_high")
            )
            listed.append(f"{label} {value:.3f} ({low:.3f}–{high:.3f})")
    if listed:
        return f"{text}\nAggregate ↑ (99 % interval over rows): {', '.join(listed)}."
    lacks = results.about.get("aggregate_lacks", [])
    return text + (f"\nNo aggregate: it lacks {'; '.join(lacks)}." if lacks else "")


def caption(results: ComparisonResults) -> str:
    """Say what the columns mean, and how the combinations were chosen."""
    text = (
        "↑ higher is better · ≈ best as the retain model's · R-L ROUGE-L recall · p probability of the answer. "
        "Forget quality is a p-value: from 0.05 on, the model is indistinguishable from the retain model."
    )
    if any(len(rows) > 1 for rows in results.groups().values()):
        text += " Several seeds: mean ± standard deviation; of forget quality the median and the range."
    for label, rows in results.groups().items():
        combinations = {_combination_text(row.combination) for row in rows if row.combination}
        if combinations:
            text += f"\n{label}: {'; '.join(sorted(combinations))}"
    return text + _group_lines(results)


def _combination_text(combination: Mapping[str, Any]) -> str:
    return f"{combination['rule']}, α {combination['alpha']:g}, filter {combination['filter_rate']:g}"


def spread(values: Sequence[float], name: str) -> str:
    """Return one value, or the mean and sample standard deviation of several, in the form of the column.

    p-values span orders of magnitude: of several the median and, on a second line, the range; of counts likewise.
    Costs: the mean.
    """
    if not values:
        return "–"
    if len(values) == 1 or name in COSTS:
        return number(statistics.mean(values), name)
    if name in ("forget_quality", "general_kept"):
        low, high = number(min(values), name), number(max(values), name)
        return f"{number(statistics.median(values), name)}\n{low}–{high}"
    return f"{number(statistics.mean(values), name)}±{statistics.stdev(values):.3f}".replace("±0.", "±.")


def number(value: float, name: str) -> str:
    """Return a value as its column shows it."""
    if name == "peak_memory_bytes":
        return f"{value / 2**30:.1f} GiB"
    if name == "trainable_parameters":
        return f"{value / 1e6:.1f} M"
    if name in ("seconds", "steps", "general_kept"):
        return f"{value:.0f}"
    if name == "seconds_a_step":
        return f"{value:.2f}"
    if name == "forget_quality" and 0 < value < 0.01:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.2f}" if name == "forget_quality" else f"{value:.3f}"
