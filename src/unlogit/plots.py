"""Plots of what was measured, in one style: drawn off-screen, written whole or not at all.

``figure``, ``legend`` and ``save`` are the style: readable type, colours that the colour-blind can tell apart (Okabe
and Ito, https://jfly.uni-koeln.de/color/), a title that says in a sentence what to see, a light grid, the legend beside
the data.
A plot is a function from results to a ``Figure``; it computes nothing that the results do not hold.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unlogit.run_results import INDISTINGUISHABLE as INDISTINGUISHABLE  # every plot of forget quality has its line

if TYPE_CHECKING:
    from unlogit.evaluate.sweep import Sweep, SweepRow

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
"""Blue, vermilion, green, purple, orange, sky blue, yellow: in this order by default."""

INK = "#222222"
GREY = "#888888"

RULE_COLOURS = dict(zip(("centred", "paper", "suppress", "tail"), COLOURS, strict=False))
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
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        made = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(made)
        axes = made.subplots(1, panels, sharey=True, squeeze=False)[0]
        made.suptitle(title, x=0.01, horizontalalignment="left", fontweight="bold", wrap=True)
    return made, list(axes)


def legend(made: Any, axes: Any) -> None:
    """Put the legend of an axes beside the data."""
    handles, names = axes.get_legend_handles_labels()
    made.legend(handles, names, loc="outside right upper", frameon=False, fontsize=STYLE["legend.fontsize"])


def save(made: Any, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    from unlogit.files import atomic_file

    with atomic_file(path) as temporary:
        made.savefig(temporary, format="png", dpi=DOTS_PER_INCH, facecolor="white")


FRONT_AXES = {
    "retain_kept": "retain answers kept\n(share of the target's probability)",
    "neutral_kept": "general answers kept\n(share of the target's probability)",
    "forget_quality": "forget quality (p-value; log scale)",
    "ks_statistic": "distance from the retain model\n(Kolmogorov–Smirnov statistic)",
}
"""Axis labels of ``front_plot``."""


def front_plot(sweep: "Sweep", y: Literal["forget_quality", "ks_statistic"] = "forget_quality") -> Any:
    """Draw what each combination keeps (x) and how well it forgets (y) on the test rows; return the figure.

    One colour a rule, one path over alpha for each filter_rate, from the target on; the front joins what no other
    combination beats. Where there are neutral rows, a second panel has what is kept of them. Up is better under both
    ``y``. Forget quality far below the target's is outside the picture, and how many lie there is said.
    """
    kept = ["retain_kept", *(["neutral_kept"] if sweep.target.test.neutral_kept is not None else [])]
    chosen = sweep.picked.combination
    made, panels = figure(
        f"The higher, the better forgotten; the further right, the more kept.\nPicked on other rows than these: "
        f"{chosen.rule}, α {chosen.alpha:g}, filter {chosen.filter_rate:g}",
        len(kept),
        width=4.4 * len(kept) + 2.2,
    )
    for axes, x in zip(panels, kept, strict=True):
        _draw_paths(axes, sweep, x, y)
        _draw_front(axes, sweep, x, y)
        _draw_marks(axes, sweep, x, y)
        axes.set_xlabel(FRONT_AXES[x])
    panels[0].set_ylabel(FRONT_AXES[y])
    _limit(panels, sweep, kept, y)
    legend(made, panels[0])
    return made


def _xy(rows: Sequence["SweepRow"], x: str, y: str) -> tuple[list[float], list[float]]:
    return [getattr(row.test, x) for row in rows], [getattr(row.test, y) for row in rows]


def _draw_paths(axes: Any, sweep: "Sweep", x: str, y: str) -> None:
    """A thin path over alpha for each rule and filter_rate, a dot for each combination."""
    for rule in dict.fromkeys(row.combination.rule for row in sweep.rows):
        colour = RULE_COLOURS[rule]
        own = [row for row in sweep.rows if row.combination.rule == rule]
        axes.plot([], [], "o-", color=colour, markersize=4, linewidth=1, label=rule)
        for rate in dict.fromkeys(row.combination.filter_rate for row in own):
            path = [row for row in own if row.combination.filter_rate == rate]
            path = [sweep.target, *sorted(path, key=lambda row: row.combination.alpha)]
            axes.plot(*_xy(path, x, y), "-", color=colour, linewidth=0.8, alpha=0.45, zorder=2)
            axes.plot(*_xy(path[1:], x, y), "o", color=colour, markersize=3.2, alpha=0.8, markeredgewidth=0, zorder=3)


def _draw_front(axes: Any, sweep: "Sweep", x: str, y: str) -> None:
    """Join what no other combination beats in this panel."""
    line = {"color": INK, "linewidth": 1.8, "alpha": 0.8, "zorder": 4}
    axes.plot(*_xy(sweep.front(x), x, y), "-", label="front: no other is better in both", **line)


def _draw_marks(axes: Any, sweep: "Sweep", x: str, y: str) -> None:
    """The target, the retain model, the picked combination, and the usual level of the test."""
    mark = {"linestyle": "", "zorder": 6, "markeredgecolor": "white", "markersize": 9}
    axes.plot(*_xy([sweep.target], x, y), marker="s", color=INK, label="target (α 0)", **mark)
    if sweep.retain_model.get(x) is not None:
        place = [sweep.retain_model[x]], [sweep.retain_model[y]]
        axes.plot(*place, marker="D", color=GREY, label="retain model", **mark)
    star = {"marker": "*", "color": COLOURS[-1], "markersize": 19, "markeredgecolor": INK}
    axes.plot(*_xy([sweep.picked], x, y), label="picked", **mark | star)
    if y == "forget_quality":
        level = {"color": INK, "linewidth": 1.0, "linestyle": (0, (4, 3)), "zorder": 1}
        axes.axhline(INDISTINGUISHABLE, label=f"{INDISTINGUISHABLE}: not told apart above", **level)


def _limit(panels: Sequence[Any], sweep: "Sweep", kept: Sequence[str], y: str) -> None:
    """Show what lies above a tenth of the target's forget quality, and say how much lies below."""
    low = 0.0
    if y == "forget_quality":
        low = max(min(sweep.target.test.forget_quality, INDISTINGUISHABLE) / 10, 1e-300)
        panels[0].set_yscale("log")
        panels[0].set_ylim(low, 2.0)
    else:
        panels[0].set_ylim(1.02, -0.03)
    rows = [sweep.target, *sweep.rows]
    seen = [row for row in rows if getattr(row.test, y) >= low]
    for axes, x in zip(panels, kept, strict=True):
        values = _xy(seen, x, y)[0] + [value for value in [sweep.retain_model.get(x)] if value is not None]
        margin = max(0.04 * (max(values) - min(values)), 0.002)
        axes.set_xlim(min(values) - margin, max(values) + margin)
        if len(seen) < len(rows):
            text = f"{len(rows) - len(seen)} of {len(rows)} lie below"
            axes.annotate(text, (0.02, 0.02), xycoords="axes fraction", color=GREY, fontsize=9)
