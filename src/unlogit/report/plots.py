"""Plots of what was measured, in one style: drawn off-screen, written whole or not at all.

``figure``, ``legend`` and ``save`` are the style: readable type, colours that the colour-blind can tell apart (Okabe
and Ito, https://jfly.uni-koeln.de/color/), a title that says in a sentence what to see, a light grid, the legend beside
the data.
A plot is a function from results to a ``Figure``; it computes nothing that the results do not hold.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unlogit.errors import ConfigError
from unlogit.runs.results import INDISTINGUISHABLE as INDISTINGUISHABLE  # every plot of forget quality has its line
from unlogit.settings.extras import optional_module

if TYPE_CHECKING:
    from unlogit.evaluate.sweep import Sweep, SweepRow

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
"""Blue, vermilion, green, purple, orange, sky blue, yellow: in this order by default."""

INK = "#222222"
GREY = "#888888"

RULE_COLOURS = dict(zip(("centred", "paper", "suppress", "tail", "rank"), COLOURS, strict=False))
"""A rule keeps its colour whatever other rules are drawn."""

DOTS_PER_INCH = 150

STYLE: dict[str, Any] = {
    "font.size": 10.5,
    "axes.labelsize": 10.5,
    "axes.titlesize": 10.5,
    "figure.titlesize": 12,
    "legend.fontsize": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}


def figure(title: str, panels: int = 1, *, width: float = 8.0, height: float = 5.0) -> tuple[Any, list[Any]]:
    """Return an empty figure in the style and its axes, side by side with one y axis; sizes in inches."""
    matplotlib = optional_module("matplotlib", "plots")
    agg = optional_module("matplotlib.backends.backend_agg", "plots")
    figures = optional_module("matplotlib.figure", "plots")

    with matplotlib.rc_context(STYLE):
        drawing = figures.Figure(figsize=(width, height), layout="constrained")
        agg.FigureCanvasAgg(drawing)
        axes = drawing.subplots(1, panels, sharey=True, squeeze=False)[0]
        drawing.suptitle(title, x=0.01, horizontalalignment="left", fontweight="bold", wrap=True)
    return drawing, list(axes)


def legend(drawing: Any, axes: Any) -> None:
    """Put the legend of an axes beside the data."""
    handles, names = axes.get_legend_handles_labels()
    drawing.legend(
        handles, names, loc="outside right upper", frameon=False, fontsize=STYLE["legend.fontsize"], labelspacing=0.8
    )


def note(drawing: Any, text: str) -> None:
    """Put a small line under the axes: on what was measured."""
    drawing.supxlabel(text, x=0.01, horizontalalignment="left", fontsize=9, color=GREY)


def save(drawing: Any, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    from unlogit.files import atomic_file

    with atomic_file(path) as temporary:
        drawing.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor="white")


def save_if_possible(draw: Callable[[], Any], path: Path) -> str | None:
    """Draw and write a plot; where matplotlib is missing, return why there is none, and leave no earlier one behind."""
    try:
        optional_module("matplotlib", "plots")
    except ConfigError as error:
        path.unlink(missing_ok=True)
        return f"{path.name} is skipped: {error}"
    save(draw(), path)
    return None


FRONT_AXES = {
    "retain_kept": "retain answers kept\n(share of the target's probability)",
    "neutral_kept": "neutral answers kept\n(share of the target's probability)",
    "forget_quality": "forget quality (p-value; log scale)",
    "ks_statistic": "distance from the retain model\n(Kolmogorov–Smirnov statistic)",
    "forget_quality by ghosts": "p-value against made-up people (log scale)",
    "ks_statistic by ghosts": "distance from made-up people\n(Kolmogorov–Smirnov statistic)",
}
"""Axis labels of ``front_plot``."""


def front_plot(sweep: "Sweep", y: Literal["forget_quality", "ks_statistic"] = "forget_quality") -> Any:
    """Draw what each combination keeps (x) and how well it forgets (y) on the test rows; return the figure.

    One colour a rule, one path over alpha for each filter_rate, from the target on; some alphas of the path of what was
    picked are named. The front joins what no other combination beats. Where there are neutral rows, a second panel has
    what is kept of them. Up is better under both ``y``. What lies below a tenth of the target's forget quality is left
    out, and counted.
    """
    kept_figures = ["retain_kept", *(["neutral_kept"] if sweep.target.test.neutral_kept is not None else [])]
    title = "Forgetting against keeping: better combinations lie further up and further right"
    drawing, panels = figure(title, len(kept_figures), width=4.3 * len(kept_figures) + 2.6, height=5.2)
    low = max(min(sweep.target.test.forget_quality, INDISTINGUISHABLE) / 10, 1e-300) if y == "forget_quality" else 0.0
    for axes, x in zip(panels, kept_figures, strict=True):
        _draw_paths(axes, sweep, x, y, low)
        _draw_marks(axes, sweep, x, y)
        _limit(axes, sweep, x, y, low)
        axes.set_xlabel(FRONT_AXES[x])
    panels[0].set_ylabel(FRONT_AXES[f"{y} by ghosts" if sweep.by_ghosts else y])
    if y == "forget_quality":
        panels[0].set_yscale("log")
        panels[0].set_ylim(low, 2.5)
    else:
        panels[0].set_ylim(1.02, -0.04)
    legend(drawing, panels[0])
    counts = " + ".join(f"{count} {split}" for split, count in sweep.counts["test"].items() if count)
    note(drawing, f"{counts} rows, none of which helped to choose.")
    return drawing


def _xy(rows: Sequence["SweepRow"], x: str, y: str) -> tuple[list[float], list[float]]:
    return [getattr(row.test, x) for row in rows], [getattr(row.test, y) for row in rows]


def _draw_paths(axes: Any, sweep: "Sweep", x: str, y: str, low: float) -> None:
    """A path over alpha for each rule and filter_rate, a dot for each combination, and the front."""
    picked = sweep.picked.combination
    for rule in dict.fromkeys(row.combination.rule for row in sweep.rows):
        colour = RULE_COLOURS[rule]
        rule_rows = [row for row in sweep.rows if row.combination.rule == rule]
        axes.plot([], [], "o-", color=colour, markersize=5, linewidth=1.2, label=rule)
        for rate in dict.fromkeys(row.combination.filter_rate for row in rule_rows):
            path = [row for row in rule_rows if row.combination.filter_rate == rate]
            path.sort(key=lambda row: row.combination.alpha)
            first = (rule, rate) == (picked.rule, picked.filter_rate)
            line = {"linewidth": 2.2, "alpha": 0.9, "zorder": 2.5} if first else {"linewidth": 0.8, "alpha": 0.35}
            axes.plot(*_xy([sweep.target, *path], x, y), "-", color=colour, **line)
            axes.plot(*_xy(path, x, y), "o", color=colour, markersize=3, alpha=0.7, markeredgewidth=0, zorder=3)
            if first:
                _name_alphas(axes, [row for row in path if getattr(row.test, y) >= low], x, y, colour)
    front = {"color": INK, "linewidth": 1.4, "linestyle": (0, (1, 1)), "zorder": 5}
    axes.plot(*_xy(sweep.front(x), x, y), label="front: no other is\nbetter in both", **front)


def _name_alphas(axes: Any, path: "Sequence[SweepRow]", x: str, y: str, colour: str) -> None:
    """Write every half alpha at its point."""
    from matplotlib.patheffects import withStroke

    for row in path:
        alpha = row.combination.alpha
        if (2 * alpha).is_integer():
            point = getattr(row.test, x), getattr(row.test, y)
            style = {"color": colour, "fontsize": 9, "fontweight": "bold", "zorder": 6}
            style |= {"path_effects": [withStroke(linewidth=3, foreground="white")]}
            axes.annotate(f"α {alpha:g}", point, (-6, 0), textcoords="offset points", ha="right", va="center", **style)


def _draw_marks(axes: Any, sweep: "Sweep", x: str, y: str) -> None:
    """The picked combination, the target, the retain model, and the usual level of the test."""
    mark = {"linestyle": "", "zorder": 7, "markeredgecolor": "white", "markersize": 9}
    star = {"marker": "*", "color": COLOURS[-1], "markersize": 17, "markeredgecolor": INK}
    combination = sweep.picked.combination
    label = f"picked: {combination.rule},\nα {combination.alpha:g}, filter {combination.filter_rate:g}"
    axes.plot(*_xy([sweep.picked], x, y), label=label, **mark | star)
    axes.plot(*_xy([sweep.target], x, y), marker="s", color=INK, label="target (α 0)", **mark)
    if sweep.retain_model.get(x) is not None:
        point = [sweep.retain_model[x]], [sweep.retain_model[y]]
        axes.plot(*point, marker="D", color=GREY, label="retain model", **mark)
    if y == "forget_quality":
        level = {"color": INK, "linewidth": 1.0, "linestyle": (0, (5, 4)), "zorder": 1}
        reference = "made-up people" if sweep.by_ghosts else "the retain model"
        axes.axhline(
            INDISTINGUISHABLE, label=f"{INDISTINGUISHABLE}: above, indistinguishable\nfrom {reference}", **level
        )


def _limit(axes: Any, sweep: "Sweep", x: str, y: str, low: float) -> None:
    """Show what lies at ``low`` or above, and say how much lies below."""
    rows = [sweep.target, *sweep.rows]
    seen = [row for row in rows if getattr(row.test, y) >= low]
    values = _xy(seen, x, y)[0] + [value for value in [sweep.retain_model.get(x)] if value is not None]
    margin = max(0.08 * (max(values) - min(values)), 0.002)
    axes.set_xlim(min(values) - margin, max(values) + margin)
    axes.locator_params(axis="x", nbins=6)
    if len(seen) < len(rows):
        text = f"{len(rows) - len(seen)} of {len(rows)} lie below"
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.annotate(text, (0.02, 0.02), xycoords="axes fraction", color=GREY, fontsize=9, bbox=box, zorder=8)
