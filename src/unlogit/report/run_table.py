"""The table of a run: a row for each model on the same rows, a column for each metric."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from unlogit.evaluate.results import MetricResult, Results
from unlogit.runs.results import INDISTINGUISHABLE, RunResults

if TYPE_CHECKING:
    from rich.table import Table

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


def run_table(results: RunResults, notes: Mapping[str, str] | None = None) -> "Table":
    """Return a table with a row for each model, 80 columns wide (88 where the seconds of a training are known).

    Args:
        results: those of all models.
        notes: how a model was made, said below the table.
    """
    from rich import box
    from rich.table import Table

    text = any(
        "perplexity" in model.splits["forget"].metrics for model in results.models.values() if "forget" in model.splits
    )
    columns, caption = (TEXT_COLUMNS, _text_caption(results)) if text else (COLUMNS, _caption(results))
    caption += "".join(f"\n{name}: {note}" for name, note in (notes or {}).items())
    table = Table(
        caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False
    )
    table.add_column("model", overflow="fold", min_width=12)
    for heading, _, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    seconds = {name: summary["seconds"] for name, summary in results.training.items() if name in results.models}
    if seconds:
        table.add_column("training\nseconds", justify="right", no_wrap=True)
    for name, model in results.models.items():
        took = [f"{seconds[name]:.0f}" if name in seconds else "–"] if seconds else []
        table.add_row(name, *(_number(_metric(model, split, metric)) for _, split, metric in columns), *took)
    return table


def _caption(results: RunResults) -> str:
    """What the columns mean; what was measured beside them."""
    caption = (
        f"{SIGNS} Extraction strength and exact memorisation are those of the forget rows. Forget quality is a "
        f"p-value: from {INDISTINGUISHABLE} on, the model is indistinguishable from the retain model."
    )
    if not any(model.forget_quality for model in results.models.values()):
        caption += " It needs a retain model: give --retain_model."
    target = results.models.get("target")
    if target and target.forget_quality and target.forget_quality.value >= INDISTINGUISHABLE:
        rows = target.forget_quality.count
        caption += f" These {rows} rows are too few to tell: even the target is indistinguishable."
    aucs = {
        name: model.membership_inference.value for name, model in results.models.items() if model.membership_inference
    }
    if aucs:
        listed = ", ".join(f"{name} {auc:.3f}" for name, auc in aucs.items())
        caption += f"\nMembership inference, AUC of forget against held-out rows (0.5: chance): {listed}."
    return caption


def _text_caption(results: RunResults) -> str:
    caption = (
        f"{SIGNS} Verbatim: ROUGE-L of the continuation of a text's beginning. Membership AUC: forget rows against "
        "held-out ones by min-k; 0.5 is chance. Privleak: -100 gives away all, 0 is the retain model."
    )
    if not any(model.membership_inference for model in results.models.values()):
        caption += " Both need rows that no model was trained on: prepare with --holdout."
    elif not any(model.privleak for model in results.models.values()):
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
