"""What a comparison found: a row for each model, as JSON, CSV, a table for the terminal and one for a README.

The columns are those of the ULD paper's Table 2 (arXiv 2406.08607): forget quality and ROUGE-L of the forget rows,
model utility and ROUGE-L of the retain rows; beside them what the training cost.
"""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlogit.errors import DataError
from unlogit.evaluate.results import Results, read_json
from unlogit.files import atomic_file, write_json

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = "unlogit compare 1"

FIGURES: tuple[tuple[str, str, str, str], ...] = (
    ("forget_quality", "forget\nquality ↑", "", "forget_quality"),
    ("forget_rouge_l", "forget\nR-L ≈", "forget", "rouge_l_recall"),
    ("model_utility", "model\nutility ↑", "", "model_utility"),
    ("retain_rouge_l", "retain\nR-L ↑", "retain", "rouge_l_recall"),
    ("forget_probability", "forget\np ≈", "forget", "probability"),
    ("retain_probability", "retain\np ↑", "retain", "probability"),
)
"""Name, heading, split (empty: of all together) and metric of each figure."""

MORE: tuple[tuple[str, str], ...] = (
    ("general_kept", "general answers kept"),
    ("forget.repetition", "forget answers that repeat ↓"),
    ("flatness.retain", "flatness on retain rows, nats ↓"),
    ("flatness.neutral", "flatness on neutral rows, nats ↓"),
)
"""Name and heading of what has a column in Markdown, where it was measured; the terminal has no room for it."""

COSTS: tuple[tuple[str, str], ...] = (
    ("seconds_a_step", "seconds\na step"),
    ("seconds", "seconds"),
    ("trainable_parameters", "trained\nparams"),
    ("peak_memory_bytes", "peak\nmemory"),
)
"""Name and heading of what a training cost."""


@dataclass(frozen=True)
class Row:
    """One model: a method with one seed, under one combination."""

    name: str
    """Of the method, or ``target`` or ``retain model``."""
    seed: int | None = None
    combination: Mapping[str, Any] | None = None
    """Rule, alpha and filter_rate; None where nothing is combined."""
    picked: bool = False
    """Whether the combination was chosen on validation rows."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Every metric that was measured: those of ``FIGURES`` by name, all by ``SPLIT.METRIC``."""
    costs: Mapping[str, float] = field(default_factory=dict)
    path: tuple[Mapping[str, Any], ...] = ()
    """Figures after each pass, on few rows, where they were measured."""

    @property
    def label(self) -> str:
        """Name in the table: rows of one label differ by their seed."""
        return f"{self.name}, picked" if self.picked else self.name


def figures_of(results: Results) -> dict[str, float]:
    """Return the values of all metrics."""
    found = {
        f"{split}.{name}": metric.value
        for split, part in results.splits.items()
        for name, metric in part.metrics.items()
    }
    for name, _, split, metric in FIGURES:
        if split and f"{split}.{metric}" in found:
            found[name] = found[f"{split}.{metric}"]
    if results.forget_quality is not None:
        found["forget_quality"] = results.forget_quality.value
    if results.model_utility is not None:
        found["model_utility"] = results.model_utility.value
    return found


def flatness_of(training: Mapping[str, Any] | None) -> dict[str, float]:
    """Return how far an assistant is from flat on rows that it was not trained on, where it has to be flat."""
    found = (training or {}).get("flatness_nats") or {}
    return {f"flatness.{name.removeprefix('holdout_')}": value for name, value in found.items()}


def costs_of(training: Mapping[str, Any] | None) -> dict[str, float]:
    """Return what a training cost, of what is known."""
    if not training:
        return {}
    found = {name: training[name] for name, _ in COSTS if name in training}
    if training.get("steps"):
        found["seconds_a_step"] = (training["seconds"] - training.get("setup_seconds", 0)) / training["steps"]
        found["steps"] = training["steps"]
    return found


@dataclass(frozen=True)
class ComparisonResults:
    """All rows; ``about`` says on what they were measured."""

    rows: tuple[Row, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_json(path, {"format": FORMAT, "about": self.about, "rows": [asdict(row) for row in self.rows]})

    @classmethod
    def read(cls, path: Path) -> "ComparisonResults":
        """Read what ``write`` wrote.

        Raises:
            DataError: the file is missing, not JSON, or not such results.
        """
        value = read_json(path)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise DataError(f"{path} does not say {FORMAT!r}; expected what `unlogit compare` wrote: compare again")
        try:
            rows = tuple(Row(**{**row, "path": tuple(row["path"])}) for row in value["rows"])
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}: a row lacks or misplaces a field ({error}); expected all: compare again"
            ) from error
        return cls(rows, value["about"])

    def write_csv(self, path: Path) -> None:
        """Write one line a row, one column a figure; what was not measured is empty."""
        names = sorted({name for row in self.rows for name in row.figures})
        costs = ["steps", *(name for name, _ in COSTS)]
        settings = ["rule", "alpha", "filter_rate"]
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["method", "seed", "picked", *settings, *names, *costs])
        for row in self.rows:
            combination = row.combination or {}
            values: list[Any] = [row.name, "" if row.seed is None else row.seed, row.picked]
            values += [combination.get(name, "") for name in settings]
            values += [row.figures.get(name, "") for name in names] + [row.costs.get(name, "") for name in costs]
            lines.writerow(values)
        with atomic_file(path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")

    def groups(self) -> dict[str, list[Row]]:
        """Return the rows of each label, in order: one for each seed."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.label, []).append(row)
        return found


def results_table(found: ComparisonResults) -> "Table":
    """Return the table for the terminal, 120 columns wide."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False, caption_justify="left")
    table.caption = caption(found)
    table.add_column("method", overflow="fold", min_width=14)
    for _, heading, *_ in (*FIGURES, *COSTS):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, rows in found.groups().items():
        values = [spread([row.figures[name] for row in rows if name in row.figures], name) for name, *_ in FIGURES]
        values += [spread([row.costs[name] for row in rows if name in row.costs], name) for name, _ in COSTS]
        table.add_row(label, *values, end_section=label == "retain model")
    return table


def markdown_table(found: ComparisonResults) -> str:
    """Return the table as Markdown, as it stands in the README."""
    more = [one for one in MORE if any(one[0] in row.figures for row in found.rows)]
    figures = [(name, heading) for name, heading, *_ in (*FIGURES, *more)]
    headings = [heading.replace("\n", " ").replace("- ", "") for _, heading in (*figures, *COSTS)]
    lines = [f"| method | {' | '.join(headings)} |", "|---|" + "---:|" * len(headings)]
    for label, rows in found.groups().items():
        values = [spread([row.figures[name] for row in rows if name in row.figures], name) for name, _ in figures]
        values += [spread([row.costs[name] for row in rows if name in row.costs], name) for name, _ in COSTS]
        lines.append(f"| {label} | {' | '.join(values)} |".replace("\n", ", "))
    return "\n".join(lines)


def caption(found: ComparisonResults) -> str:
    """Say what the columns mean, and how the combinations were chosen."""
    words = (
        "↑ higher is better · ≈ best as the retain model's · R-L ROUGE-L recall · p probability of the answer. "
        "Forget quality is a p-value: from 0.05 on, the model cannot be told from the retain model."
    )
    if any(len(rows) > 1 for rows in found.groups().values()):
        words += " Several seeds: mean ± standard deviation; of forget quality the median and the range."
    for label, rows in found.groups().items():
        chosen = {_combination_words(row.combination) for row in rows if row.combination}
        if chosen:
            words += f"\n{label}: {'; '.join(sorted(chosen))}"
    return words


def _combination_words(combination: Mapping[str, Any]) -> str:
    return f"{combination['rule']}, α {combination['alpha']:g}, filter {combination['filter_rate']:g}"


def spread(values: Sequence[float], name: str) -> str:
    """Return one value, or the mean and sample standard deviation of several, in the form of the column.

    p-values span orders of magnitude: of several the median and, on a second line, the range; of counts likewise.
    Costs: the mean.
    """
    if not values:
        return "–"
    if len(values) == 1 or name in dict(COSTS):
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
