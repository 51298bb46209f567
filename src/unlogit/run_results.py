"""``results.json`` of a run folder: the results of several models on the same rows, and their table.

Each model's own results are as ``evaluate.results`` defines them; here they only stand side by side.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlogit.errors import DataError
from unlogit.evaluate.results import MetricResult, Results, TruthRatios, read_json
from unlogit.files import write_json

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = "unlogit run 1"
RETAIN = "retain model"
"""The key of the retain model's results."""

INDISTINGUISHABLE = 0.05
"""From this forget quality on, TOFU counts a model as one that cannot be told from the retain model."""


@dataclass(frozen=True)
class RunResults:
    """Results by model; ``config`` is the run's, ``rows`` says which evaluation rows were scored, ``training`` how each
    model was trained, as far as is known."""

    models: Mapping[str, Results]
    config: Mapping[str, Any] = field(default_factory=dict)
    rows: str = "all"
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        models = {name: results.to_json() for name, results in self.models.items()}
        about = {"format": FORMAT, "rows": self.rows, "config": self.config, "training": self.training}
        write_json(path, about | {"models": models})

    @classmethod
    def read(cls, path: Path) -> "RunResults":
        """Read what ``write`` wrote.

        Raises:
            DataError: the file is missing, not JSON, or not such results.
        """
        value = read_json(path)
        if not is_run_results(value):
            raise DataError(f"{path} does not say {FORMAT!r}; expected a run's results.json: evaluate again")
        models = {name: Results.from_json(one) for name, one in value["models"].items()}
        return cls(models, value["config"], value["rows"], value.get("training", {}))


def is_run_results(value: Any) -> bool:
    """Whether parsed JSON is a run's results."""
    return isinstance(value, Mapping) and value.get("format") == FORMAT


def load_retain(path: Path) -> Results | TruthRatios:
    """Read a retain model's results: a run's results.json that has one, one model's results, or a published log.

    Raises:
        DataError: the file is none of these.
    """
    from unlogit.evaluate.published_logs import load_retain_truth_ratios

    if not is_run_results(read_json(path)):
        return load_retain_truth_ratios(path)
    run = RunResults.read(path)
    if RETAIN not in run.models:
        raise DataError(
            f"{path} has results of {', '.join(run.models)}; expected a {RETAIN}'s: evaluate that run with "
            "--retain_model, or give the model itself"
        )
    return run.models[RETAIN]


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("forget\nquality\n↑", "", "forget_quality"),
    ("model\nutility\n↑", "", "model_utility"),
    ("forget\nproba-\nbility ≈", "forget", "probability"),
    ("forget\nROUGE-L\n≈", "forget", "rouge_l_recall"),
    ("extrac-\ntion str.\n↓", "forget", "extraction_strength"),
    ("exact\nmemor.\n↓", "forget", "exact_memorisation"),
    ("retain\nproba-\nbility ↑", "retain", "probability"),
    ("retain\nROUGE-L\n↑", "retain", "rouge_l_recall"),
)
"""Heading, split (empty: of all splits together) and metric of each column."""


def results_table(found: RunResults, notes: Mapping[str, str] | None = None) -> "Table":
    """Return a table with a row for each model, 80 columns wide (88 where the seconds of a training are known).

    Args:
        found: results of all models.
        notes: how a model was made, said below the table.
    """
    from rich import box
    from rich.table import Table

    caption = (
        "↑ higher is better · ↓ lower is better · ≈ best as the retain model's. Extraction strength and exact "
        "memorisation are those of the forget rows. Forget quality is a p-value: from "
        f"{INDISTINGUISHABLE} on, the model cannot be told from the retain model."
    )
    if not any(results.forget_quality for results in found.models.values()):
        caption += " It needs a retain model: give --retain_model."
    caption += "".join(f"\n{name}: {note}" for name, note in (notes or {}).items())
    table = Table(
        caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False
    )
    table.add_column("model", overflow="fold", min_width=12)
    for heading, _, _ in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    seconds = {name: summary["seconds"] for name, summary in found.training.items() if name in found.models}
    if seconds:
        table.add_column("training\nseconds", justify="right", no_wrap=True)
    for name, results in found.models.items():
        took = [f"{seconds[name]:.0f}" if name in seconds else "–"] if seconds else []
        table.add_row(name, *(_number(_metric(results, split, metric)) for _, split, metric in COLUMNS), *took)
    return table


def _metric(results: Results, split: str, metric: str) -> MetricResult | None:
    if split:
        return results.splits[split].metrics.get(metric) if split in results.splits else None
    return results.forget_quality if metric == "forget_quality" else results.model_utility


def _number(metric: MetricResult | None) -> str:
    if metric is None:
        return "–"
    return f"{metric.value:.3f}" if metric.value >= 0.0005 or metric.value == 0 else f"{metric.value:.1e}"
