"""The table of a run: a row for each model on the same rows, a column for each metric."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from unlogit.evaluate.metrics.knowledge_retention import knowledge_retention, questions_answered, right_answers
from unlogit.evaluate.results import MetricResult, Results
from unlogit.report.leak_line import leak_line
from unlogit.runs.results import INDISTINGUISHABLE, RETAIN, RunResults

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

GENERAL = "general\nright\n↑"

NARROW = {
    "forget\nproba-\nbility ≈": "forget\nprob.\n≈",
    "extrac-\ntion str.\n↓": "extr.\nstr.\n↓",
    "retain\nproba-\nbility ↑": "retain\nprob.\n↑",
}
"""Headings that leave room for the column of general questions."""

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
    caption += leak_line({name: _forget_values(model) for name, model in results.models.items()})
    caption += "".join(f"\n{name}: {note}" for name, note in (notes or {}).items())
    table = Table(
        caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0, show_edge=False
    )
    table.add_column("model", overflow="fold", min_width=12)
    general = general_right(results)
    for heading, _, _ in columns:
        table.add_column(NARROW.get(heading, heading) if general else heading, justify="right", no_wrap=True)
    if general:
        table.add_column(GENERAL, justify="right", no_wrap=True)
    seconds = {name: summary["seconds"] for name, summary in results.training.items() if name in results.models}
    if seconds:
        table.add_column("training\nseconds", justify="right", no_wrap=True)
    for name, model in results.models.items():
        took = [f"{seconds[name]:.0f}" if name in seconds else "–"] if seconds else []
        right = [general.get(name, "–")] if general else []
        table.add_row(name, *(_number(_metric(model, split, metric)) for _, split, metric in columns), *right, *took)
    return table


def general_right(results: RunResults) -> dict[str, str]:
    """Return, by model, how many general questions it answers right of those that the target does, as "49/50".

    Where the target was not scored, of all that were asked; nothing where none were.
    """
    target = results.models.get("target")
    counts = {}
    for name, model in results.models.items():
        if target is not None:
            retention = knowledge_retention(model, target)
            if retention:
                counts[name] = f"{retention['general_kept']:.0f}/{retention['general_right']:.0f}"
        elif questions := questions_answered(model):
            counts[name] = f"{len(right_answers(model))}/{questions}"
    return counts


def _forget_values(results: Results) -> dict[str, float]:
    metrics = results.splits["forget"].metrics if "forget" in results.splits else {}
    return {name: metric.value for name, metric in metrics.items()}


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
    if general_right(results):
        caption += " General: questions that the target answers right and the model does, too."
    aucs = {
        name: model.membership_inference.value for name, model in results.models.items() if model.membership_inference
    }
    if aucs:
        listed = ", ".join(f"{name} {auc:.3f}" for name, auc in aucs.items())
        caption += f"\nMembership inference, AUC of forget against held-out rows by min-k: {listed}. {_aim(aucs)}"
    return caption + aggregate_line(results)


def _aim(aucs: Mapping[str, float]) -> str:
    """Say what to read an AUC against: forget and held-out rows differ by themselves."""
    if RETAIN in aucs:
        return f"Best is the retain model's {aucs[RETAIN]:.3f}, not 0.5."
    return "Without a retain model there is nothing to read it against: give --retain_model."


def aggregate_line(results: RunResults) -> str:
    """Return the aggregate of each model on a line of its own, or what it lacks."""
    models = {name: model.aggregate for name, model in results.models.items() if model.aggregate}
    lines = [
        f"{name} {all_of_it.value:.3f} ({all_of_it.low:.3f}–{all_of_it.high:.3f}; {all_of_it.memorisation:.3f}, "
        f"{all_of_it.privacy:.3f}, {all_of_it.utility:.3f})"
        for name, all_of_it in models.items()
        if None not in (all_of_it.value, all_of_it.low)
    ]
    if lines:
        explained = "Aggregate ↑ (99 % interval; its memorisation, privacy, utility)"
        return f"\n{explained}: {', '.join(lines)}."
    lacks = list(dict.fromkeys(what for all_of_it in models.values() for what in all_of_it.missing))
    return f"\nNo aggregate: it lacks {'; '.join(lacks)}." if lacks else ""


def _text_caption(results: RunResults) -> str:
    caption = (
        f"{SIGNS} Verbatim: ROUGE-L of the continuation of a text's beginning. Membership AUC: forget rows against "
        "held-out ones by min-k; best is the retain model's, not 0.5. Privleak: -100 gives away all, 0 is the retain "
        "model."
    )
    if not any(model.membership_inference for model in results.models.values()):
        caption += " Both need rows that no model was trained on: prepare with --holdout."
    elif not any(model.privleak for model in results.models.values()):
        caption += " Without a retain model there is nothing to read them against: give --retain_model."
    return caption


def _metric(results: Results, split: str, metric: str) -> MetricResult | None:
    if split:
        return results.splits[split].metrics.get(metric) if split in results.splits else None
    return results.overall(metric)


def _number(metric: MetricResult | None) -> str:
    if metric is None:
        return "–"
    size = abs(metric.value)
    if 10 <= size < 10_000:
        return f"{metric.value:.1f}"
    return f"{metric.value:.3f}" if 0.0005 <= size < 10 or size == 0 else f"{metric.value:.1e}"
