"""``results.json`` of a run folder: the results of several models on the same rows, and their table.

Each model's own results are as ``evaluate.results`` defines them; here they only stand side by side.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlogit.errors import DataError
from unlogit.evaluate.results import MetricResult, Results, TruthRatios, read_json
from unlogit.files import write_json
from unlogit.settings.config_file import recorded
from unlogit.settings.options import RunConfig

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

    def __post_init__(self) -> None:
        """Refuse numbers side by side that are not of one kind."""
        found = {results.conventions: name for name, results in self.models.items()}
        if len(found) > 1:
            said = ", ".join(f"those of {name!r} by {conventions!r}" for conventions, name in found.items())
            raise DataError(
                f"these results follow different conventions: {said}; expected one kind: evaluate all by the same "
                "--conventions"
            )

    def made_with(self, config: RunConfig) -> bool:
        """Whether a run with these settings has these results, wherever it stands."""
        return replace(recorded(self.config), output=config.output) == config

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


def load_retain(path: Path, conventions: str = "unlogit") -> Results | TruthRatios:
    """Read a retain model's results: a run's results.json that has one, one model's results, a published log, or
    OpenUnlearning's TOFU_EVAL.json.

    A published log holds losses: its numbers are computed by ``conventions``. The others have theirs.

    Raises:
        DataError: the file is none of these.
    """
    from unlogit.evaluate.open_unlearning.files import is_open_unlearning, read_open_unlearning
    from unlogit.evaluate.published_logs import load_retain_truth_ratios

    value = read_json(path)
    if is_open_unlearning(value):
        return read_open_unlearning(path)
    if not is_run_results(value):
        return load_retain_truth_ratios(path, conventions)
    run = RunResults.read(path)
    if RETAIN not in run.models:
        raise DataError(
            f"{path} has results of {', '.join(run.models)}; expected a {RETAIN}'s: evaluate that run with "
            "--retain_model, or give the model itself"
        )
    return run.models[RETAIN]


def write_run_open_unlearning(found: RunResults, path: Path) -> Path:
    """Write OpenUnlearning's two files of each model beside ``path``, the run's results; return their folder.

    Results of another model on a run's rows have a folder of their own.
    """
    from unlogit.evaluate.open_unlearning.files import write_open_unlearning

    folder = path.parent / "open_unlearning"
    if path.name != "results.json":
        folder /= path.stem
    for name, results in found.models.items():
        write_open_unlearning(results, folder / re.sub(r"[^\w.-]+", "_", Path(name).name))
    return folder


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

TEXT_COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("forget\nver-\nbatim ≈", "forget", "verbatim_completion"),
    ("forget\nperplex-\nity ≈", "forget", "perplexity"),
    ("holdout\nperplex-\nity ↓", "holdout", "perplexity"),
    ("member-\nship\nAUC ≈", "", "membership_inference"),
    ("priv-\nleak\n0 best", "", "privleak"),
    ("retain\nver-\nbatim ↑", "retain", "verbatim_completion"),
    ("retain\nperplex-\nity ↓", "retain", "perplexity"),
    ("retain\nholdout\nperpl. ↓", "retain_holdout", "perplexity"),
)
"""The same where the rows are running text."""

SIGNS = "↑ higher is better · ↓ lower is better · ≈ best as the retain model's."


def given_out_warning(picked: float, target: float, retain: float) -> str:
    """Return one line where forget answers are still given out by what was picked; else an empty string.

    They are where the share of answer tokens that are the likeliest (exact memorisation, 0 to 1) is nearer to the
    target's than to the retain model's.
    """
    if picked <= (target + retain) / 2:
        return ""
    return (
        f"with what was picked, {picked:.0%} of the forget answers' tokens are still the likeliest (target "
        f"{target:.0%}, retain model {retain:.0%}): look for another with less exact memorisation, or choose on "
        "more rows"
    )


def results_table(found: RunResults, notes: Mapping[str, str] | None = None) -> "Table":
    """Return a table with a row for each model, 80 columns wide (88 where the seconds of a training are known).

    Args:
        found: results of all models.
        notes: how a model was made, said below the table.
    """
    from rich import box
    from rich.table import Table

    text = any("perplexity" in one.splits["forget"].metrics for one in found.models.values() if "forget" in one.splits)
    columns, caption = (TEXT_COLUMNS, _text_caption(found)) if text else (COLUMNS, _caption(found))
    caption += "".join(f"\n{name}: {note}" for name, note in (notes or {}).items())
    table = Table(
        caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False
    )
    table.add_column("model", overflow="fold", min_width=12)
    for heading, _, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    seconds = {name: summary["seconds"] for name, summary in found.training.items() if name in found.models}
    if seconds:
        table.add_column("training\nseconds", justify="right", no_wrap=True)
    for name, results in found.models.items():
        took = [f"{seconds[name]:.0f}" if name in seconds else "–"] if seconds else []
        table.add_row(name, *(_number(_metric(results, split, metric)) for _, split, metric in columns), *took)
    return table


def _caption(found: RunResults) -> str:
    """What the columns mean; what was measured beside them."""
    caption = (
        f"{SIGNS} Extraction strength and exact memorisation are those of the forget rows. Forget quality is a "
        f"p-value: from {INDISTINGUISHABLE} on, the model cannot be told from the retain model."
    )
    if not any(results.forget_quality for results in found.models.values()):
        caption += " It needs a retain model: give --retain_model."
    target = found.models.get("target")
    if target and target.forget_quality and target.forget_quality.value >= INDISTINGUISHABLE:
        rows = target.forget_quality.count
        caption += f" These {rows} rows are too few to tell by: not even the target is told apart."
    members = {name: one.membership_inference for name, one in found.models.items() if one.membership_inference}
    if members:
        words = ", ".join(f"{name} {metric.value:.3f}" for name, metric in members.items())
        caption += f"\nMembership inference, AUC of forget against held-out rows (0.5: not told apart): {words}."
    return caption


def _text_caption(found: RunResults) -> str:
    caption = (
        f"{SIGNS} Verbatim: ROUGE-L of the continuation of a text's beginning. Membership AUC: forget rows told from "
        "held-out ones by min-k; 0.5 is not at all. Privleak: -100 gives away all, 0 is the retain model."
    )
    if not any(results.membership_inference for results in found.models.values()):
        caption += " Both need rows that no model was trained on: prepare with --holdout."
    elif not any(results.privleak for results in found.models.values()):
        caption += " The latter needs a retain model: give --retain_model."
    return caption


def _metric(results: Results, split: str, metric: str) -> MetricResult | None:
    if split:
        return results.splits[split].metrics.get(metric) if split in results.splits else None
    overall = {
        "forget_quality": results.forget_quality,
        "model_utility": results.model_utility,
        "membership_inference": results.membership_inference,
        "privleak": results.privleak,
    }
    return overall[metric]


def _number(metric: MetricResult | None) -> str:
    if metric is None:
        return "–"
    size = abs(metric.value)
    if 10 <= size < 10_000:
        return f"{metric.value:.1f}"
    return f"{metric.value:.3f}" if 0.0005 <= size < 10 or size == 0 else f"{metric.value:.1e}"
