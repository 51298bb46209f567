"""Forget quality against model utility, a point for each method and its path over the passes of training."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlogit.report.aggregate_plot import aggregate_plot, has_aggregate
from unlogit.report.plots import COLOURS, GREY, INDISTINGUISHABLE, INK, figure, legend, save_if_possible

if TYPE_CHECKING:
    from unlogit.compare.results import ComparisonResults, Row

FLOOR = 1e-20
"""A lower forget quality is drawn here: how far below hardly matters."""

HIGHEST_FLOOR = 1e-3
"""The axis goes down to here at least, so that small differences do not look large."""

TOP = ("target", "retain model")

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""For the rows of a family, filled, then hollow. Where there are more than that, all are drawn as numbers."""

PICKED = ", picked"
"""What ends the label of a row whose combination was picked."""

FAMILIES = ("uld", "ga", "dpo", "npo", "offset")
"""Methods whose name has one of these share its colour; all others take the next one."""

FAMILY_OF = {"grad_diff": "ga", "simnpo": "npo", "dual_uld": "uld", "uld_refusal": "uld"}


def save_plots(results: "ComparisonResults", folder: Path) -> str | None:
    """Write ``compare.png``, and ``aggregate.png`` where there is one; return why there is no plot, if so."""
    if has_aggregate(results):
        save_if_possible(lambda: aggregate_plot(results), folder / "aggregate.png")
    return save_if_possible(lambda: utility_plot(results), folder / "compare.png")


def utility_plot(results: "ComparisonResults") -> Any:
    """Draw model utility (x) and forget quality (y, logarithmic) of every row; return the figure.

    Target and retain model are stars; a method's seeds are points of one kind; a line is its path over the passes (on
    fewer rows than the points, so that it need not end in them).
    """
    title = "Forget quality against model utility: upper right forgets and keeps"
    groups = {label: rows for label, rows in results.groups().items() if rows[0].name not in TOP}
    kinds = Counter(_family(rows[0].name) for rows in groups.values())
    numbers = {name: i for i, name in enumerate(dict.fromkeys(map(_method, groups)), start=1)}
    numbered = max(kinds.values(), default=0) > 2 * len(MARKERS)
    lines = len(TOP) + (len(numbers) if numbered else len(groups))  # of the legend
    drawing, (axes,) = figure(title, width=9.0, height=max(5.4, 0.26 * lines))
    for label, rows in results.groups().items():
        if label not in groups:
            _draw_top(axes, label, rows[0])
    drawn: Counter[str] = Counter()
    for label, rows in groups.items():
        family, name = _family(rows[0].name), _method(label)
        colour = COLOURS[(FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)) % len(COLOURS)]
        if numbered:
            picked = label.endswith(PICKED)
            shown = name if picked or f"{name}{PICKED}" not in groups else ""
            _draw_method(axes, shown, rows, INK if picked else colour, f"${numbers[name]}$", filled=True)
        else:
            number = drawn[family]
            _draw_method(axes, label, rows, colour, MARKERS[number % len(MARKERS)], filled=number < len(MARKERS))
        drawn[family] += 1
    axes.axhline(INDISTINGUISHABLE, color=GREY, linestyle="--", linewidth=1)
    axes.annotate(
        "0.05: indistinguishable from the retain model above", (0.01, INDISTINGUISHABLE), (0, 3), fontsize=8.5,
        xycoords=("axes fraction", "data"), textcoords="offset points", color=GREY, zorder=1,
    )  # fmt: skip
    axes.set_yscale("log")
    lowest = _lowest(results)
    axes.set_ylim(lowest / 4, 4)
    axes.set_xlabel("model utility (harmonic mean, 0 to 1)")
    cut = f"; {FLOOR:.0e} and less at the bottom" if lowest <= FLOOR else ""
    axes.set_ylabel(f"forget quality (p-value{cut})")
    if numbered:
        axes.set_xlabel(f"{axes.get_xlabel()}; a black number: the combination was picked")
    legend(drawing, axes)
    return drawing


def _method(label: str) -> str:
    return label.removesuffix(PICKED)


def _lowest(results: "ComparisonResults") -> float:
    """Return the lowest forget quality of any point or path, from ``FLOOR`` to ``HIGHEST_FLOOR``."""
    figure_sets = [figures for row in results.rows for figures in (row.figures, *row.path)]
    values = [figures["forget_quality"] for figures in figure_sets if figures.get("forget_quality") is not None]
    return min(HIGHEST_FLOOR, max(FLOOR, min(values, default=HIGHEST_FLOOR)))


def _family(name: str) -> str:
    name_words = name.split("_")
    for variant, family in FAMILY_OF.items():
        if f"_{name}_".find(f"_{variant}_") >= 0:  # also of a variant, as simnpo_2e-4
            return family
    return next((family for family in reversed(FAMILIES) if family in name_words), "others")


def _draw_top(axes: Any, label: str, row: "Row") -> None:
    """Target and retain model; the latter is indistinguishable from itself."""
    utility = row.figures.get("model_utility")
    quality = row.figures.get("forget_quality", 1.0 if label == "retain model" else None)
    if utility is not None and quality is not None:
        colour = INK if label == "target" else GREY
        axes.scatter([utility], [max(quality, FLOOR)], marker="*", s=170, color=colour, label=label, zorder=4)


def _draw_method(axes: Any, label: str, rows: "list[Row]", colour: str, marker: str, filled: bool) -> None:
    def points(figure_sets: Any) -> tuple[list[float], list[float]]:
        usable = [(figures.get("model_utility"), figures.get("forget_quality")) for figures in figure_sets]
        pairs = [(x, max(y, FLOOR)) for x, y in usable if x is not None and y is not None]
        return [x for x, _ in pairs], [y for _, y in pairs]

    for row in rows:
        axes.plot(*points(row.path), color=colour, linewidth=1, alpha=0.5, marker=".", markersize=4, zorder=2)
    face = colour if filled else "none"
    x, y = points([row.figures for row in rows])
    size = 52 if len(marker) == 1 else 70 * (len(marker) - 2)  # a number of two digits is drawn as wide as one of one
    width = 1.5 if len(marker) == 1 else 0.3
    axes.scatter(
        x, y, color=colour, facecolors=face, marker=marker, s=size, linewidths=width, label=label or None, zorder=3
    )
