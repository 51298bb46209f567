"""The table of a sweep: target, retain model, and the combinations that are best on validation rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from unlogit.evaluate.sweep import Sweep, SweepRow, figures
from unlogit.report.leak_line import leak_line
from unlogit.runs.results import INDISTINGUISHABLE, RETAIN

if TYPE_CHECKING:
    from rich.table import Table

BEST = 10
"""Combinations in the table."""

COLUMNS: tuple[tuple[str, str], ...] = (
    ("forget\nquality\n↑", "forget_quality"),
    ("KS\nstat.\n↓", "ks_statistic"),
    ("forget\nproba-\nbility ≈", "forget_probability"),
    ("exact\nmemor.\n≈", "forget_exact_memorisation"),
    ("truth\nratio\n≈", "forget_truth_ratio"),
    ("retain\nproba-\nbility ↑", "retain_probability"),
    ("exact\nmemor.\n↑", "retain_exact_memorisation"),
    ("retain\nkept\n↑", "retain_kept"),
    ("neutral\nkept\n↑", "neutral_kept"),
)
"""Heading and figure of each column of test rows."""


def sweep_table(sweep: Sweep) -> "Table":
    """Return a table of target, retain model and the combinations that are best on validation rows, picked first."""
    from rich import box
    from rich.table import Table

    reference = (
        "the target on made-up people, who stand in for a retain model" if sweep.by_ghosts else "the retain model"
    )
    caption = (
        f"↑ higher is better · ↓ lower is better · ≈ best as that of {reference}. J, on the rows that choose, is the "
        "harmonic mean of nearness to it (the smaller of 1 − KS statistic and 1 − the distance in exact "
        "memorisation) and what is kept; all else is of rows that do not. "
        + (
            "p is that of the KS test; it is no forget quality, which needs a retain model. "
            if sweep.by_ghosts
            else f"Forget quality is a p-value: from {INDISTINGUISHABLE} on, the model is indistinguishable from the "
            "retain model. "
        )
        + "Kept: of the target's probability of right answers."
    )
    caption += leak_line(sweep.leaks)
    table = Table(
        caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False
    )
    table.add_column("", no_wrap=True, min_width=12)
    for heading in ("rule", "α", "filter", "J ↑"):
        table.add_column(heading, justify="left" if heading == "rule" else "right", no_wrap=True)
    for heading, name in COLUMNS:
        heading = "KS\np-value\n↑" if sweep.by_ghosts and name == "forget_quality" else heading
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row(
        "target", "", "0", "", _number(sweep.target.validation.objective), *_cells(figures(sweep.target.test))
    )
    if sweep.retain_model:
        table.add_row(RETAIN, "", "", "", "", *_cells(sweep.retain_model), end_section=True)
    for number, row in enumerate(sweep.best(BEST), start=1):
        table.add_row("picked" if number == 1 else f"{number}.", *_combination_cells(row), *_cells(figures(row.test)))
    return table


def _combination_cells(row: SweepRow) -> list[str]:
    combination = row.combination
    return [
        combination.rule,
        f"{combination.alpha:g}",
        f"{combination.filter_rate:g}",
        _number(row.validation.objective),
    ]


def _cells(values: Mapping[str, float | None]) -> list[str]:
    return [_number(values.get(name)) for _, name in COLUMNS]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value >= 0.0005 or value == 0 else f"{value:.1e}"
