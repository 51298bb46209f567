"""What a comparison measured: a row for each model, as JSON and CSV.

The figures are those of the ULD paper's Table 2 (arXiv 2406.08607): forget quality and ROUGE-L of the forget rows,
model utility and ROUGE-L of the retain rows; beside them what the training cost.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from unlogit.errors import DataError
from unlogit.evaluate.results import Results, read_json
from unlogit.files import atomic_file, write_json
from unlogit.settings.retired import figure_name

FORMAT = "unlogit compare 1"

FIGURES: dict[str, tuple[str, str]] = {
    "forget_quality": ("", "forget_quality"),
    "forget_rouge_l": ("forget", "rouge_l_recall"),
    "model_utility": ("", "model_utility"),
    "retain_rouge_l": ("retain", "rouge_l_recall"),
    "forget_probability": ("forget", "probability"),
    "retain_probability": ("retain", "probability"),
}
"""Split (empty: of all together) and metric of each figure by name, in the order of the table."""

COSTS = ("seconds_a_step", "seconds", "trainable_parameters", "peak_memory_bytes")
"""What a training cost, in the order of the table."""


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
    figures = {
        f"{split}.{name}": metric.value
        for split, split_result in results.splits.items()
        for name, metric in split_result.metrics.items()
    }
    for name, (split, metric) in FIGURES.items():
        if split and f"{split}.{metric}" in figures:
            figures[name] = figures[f"{split}.{metric}"]
    for name in ("forget_quality", "model_utility", "membership_inference", "privleak"):
        if (overall := results.overall(name)) is not None:
            figures[name] = overall.value
    return figures


def uniform_kl_of(training: Mapping[str, Any] | None) -> dict[str, float]:
    """Return an assistant's KL from uniform on rows that it was not trained on, where it is measured."""
    values = {figure_name(name): value for name, value in (training or {}).items()}.get("uniform_kl_nats") or {}
    return {f"uniform_kl.{name.removeprefix('holdout_')}": value for name, value in values.items()}


def costs_of(training: Mapping[str, Any] | None) -> dict[str, float]:
    """Return what a training cost, of what is known."""
    if not training:
        return {}
    costs = {name: training[name] for name in COSTS if name in training}
    if training.get("steps"):
        costs["seconds_a_step"] = (training["seconds"] - training.get("setup_seconds", 0)) / training["steps"]
        costs["steps"] = training["steps"]
    return costs


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it was written, figures of 0.1 under the names that they have now."""
    figures = {figure_name(name): value for name, value in row["figures"].items()}
    return {**row, "figures": figures, "path": tuple(row["path"])}


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
            rows = tuple(Row(**_renamed(row)) for row in value["rows"])
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{path}: a row lacks or misplaces a field ({error}); expected all: compare again"
            ) from error
        return cls(rows, value["about"])

    def write_csv(self, path: Path) -> None:
        """Write one line a row, one column a figure; what was not measured is empty."""
        names = sorted({name for row in self.rows for name in row.figures})
        costs = ["steps", *COSTS]
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
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.label, []).append(row)
        return groups
