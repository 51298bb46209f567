"""OpenUnlearning's result files: ``TOFU_EVAL.json`` and ``TOFU_SUMMARY.json``, written, and a retain model's read.

    TOFU_EVAL.json      {metric: {"agg_value": number, "value_by_index": {"0": {field: number}, …}}}
    TOFU_SUMMARY.json   {metric: number}

Metrics and fields are called as in src/evals/metrics and configs/eval/tofu_metrics of
github.com/locuslab/open-unlearning (arXiv 2506.12618): ``prob`` and ``avg_loss`` of answers (lists where a row has
several), ``score``, ``rougeL_recall``, ``generation``. An index is a row's position among the rows scored, which is
TOFU's where a whole split was scored in its order.

Only what was measured is written. Never there: ``forget_Q_A_gibberish``, ROUGE of paraphrased and wrong answers,
``rouge1_recall``, ``rougeL_f1``, ``input`` and ``ground_truth`` of a row, rows of membership inference (``mia_…`` has
its AUC alone), ``mia_gradnorm``, extraction strength and exact memorisation of rows that stay, splits that TOFU has
not; ``model_utility`` only of all nine numbers. Probabilities of paraphrased and wrong answers are there if the results
kept losses.
The numbers follow the protocol of the results; under the key ``unlogit``, which that project passes over, the file
says which, and names the forget rows. A file without that key is taken for that project's own: its rows have indices,
no names, so that only their number can be checked.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlogit.errors import DataError
from unlogit.evaluate.metrics.model_utility import METRICS_OF_EACH, UTILITY_SPLITS
from unlogit.evaluate.results import AnswerLosses, MetricResult, Results, SplitResult, TruthRatios, mean, read_json
from unlogit.files import write_json

EVAL = "TOFU_EVAL.json"
SUMMARY = "TOFU_SUMMARY.json"
OURS = "unlogit"
"""The key of what that project's files do not say."""

FORGET_TRUTH_RATIO = "forget_truth_ratio"

PREFIXES = {"forget": "forget", "retain": "retain", "real_authors": "ra", "world_facts": "wf"}
"""Split to what its metrics' names begin with."""

Entry = dict[str, Any]
"""What the file holds of one metric."""


def write_open_unlearning(results: Results, folder: Path) -> None:
    """Write both files of one model into a folder."""
    metrics: dict[str, Entry] = {}
    for split, prefix in PREFIXES.items():
        if split in results.splits:
            metrics |= _split_entries(results.splits[split], prefix)
    metrics = dict(sorted((metrics | _overall_entries(results)).items()))
    about = {"model": results.model, "protocol": results.protocol, "forget_rows": _forget_rows(results)}
    write_json(folder / EVAL, metrics | {OURS: about})
    write_json(folder / SUMMARY, {name: entry["agg_value"] for name, entry in metrics.items()})


def is_open_unlearning(value: Any) -> bool:
    """Whether parsed JSON is one of the two files: it has a metric of TOFU by that project's name."""
    names = {FORGET_TRUTH_RATIO, "forget_quality", "model_utility", "forget_Q_A_Prob", "forget_Q_A_ROUGE"}
    return isinstance(value, Mapping) and "format" not in value and bool(names & set(value))


def read_open_unlearning(path: Path) -> TruthRatios:
    """Read a retain model's truth ratios on forget rows from its ``TOFU_EVAL.json``, for forget quality.

    ``rows`` is empty unless we wrote the file: the rows cannot be named, and are compared as they stand.

    Raises:
        DataError: the file is missing, is the summary, or has no truth ratios on forget rows.
    """
    value = read_json(path)
    if not is_open_unlearning(value):
        raise DataError(f"{path} has none of OpenUnlearning's TOFU metrics; expected a {EVAL}: check the path")
    if all(not isinstance(entry, Mapping) for entry in value.values()):
        raise DataError(f"{path} has one number for each metric; expected one for each row: give the {EVAL} beside it")
    try:
        by_index = value[FORGET_TRUTH_RATIO]["value_by_index"]
        values = tuple(float(by_index[index]["score"]) for index in sorted(by_index, key=int))
        about = value.get(OURS, {"model": str(path), "protocol": "open_unlearning", "forget_rows": []})
        ratios = TruthRatios(
            about["model"], tuple(about["forget_rows"]), values, about.get("protocol", about.get("conventions"))
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} lacks or misplaces the truth ratios on forget rows ({type(error).__name__}: {error}); expected "
            f"{FORGET_TRUTH_RATIO!r} with a score for each index: evaluate the retain model with that metric"
        ) from error
    if not values or not all(map(math.isfinite, values)) or (ratios.rows and len(ratios.rows) != len(values)):
        raise DataError(
            f"{path} has {len(values)} truth ratios on {len(ratios.rows) or 'unnamed'} forget rows, or one that is no "
            "finite number; expected one for each row: evaluate the retain model again"
        )
    return ratios


def _forget_rows(results: Results) -> list[str]:
    """Return the digests of the rows that have truth ratios."""
    split = results.splits.get("forget")
    metric = split.metrics.get("truth_ratio") if split else None
    return [] if split is None or metric is None else [split.rows[i] for i in metric.row_indices]


def _overall_entries(results: Results) -> dict[str, Entry]:
    """Return the entries of what is one number of all rows."""
    values = {}
    for name, metric in (("forget_quality", results.forget_quality), ("privleak", results.privleak)):
        if metric is not None:
            values[name] = metric.value
    utility = results.model_utility
    if utility is not None and utility.count == len(UTILITY_SPLITS) * len(METRICS_OF_EACH):
        values["model_utility"] = utility.value
    if results.membership_inference is not None:
        values |= {f"mia_{name}": value for name, value in results.membership_inference.parts.items()}
    return {name: {"agg_value": value} for name, value in values.items()}


def _split_entries(split: SplitResult, prefix: str) -> dict[str, Entry]:
    """Return the entries of one split by that project's names."""
    metrics, forget = split.metrics, split.name == "forget"
    knowledge = prefix in ("ra", "wf")  # the mean of its probability is over the choices
    names = {
        "probability": (f"{prefix}_Q_A_Prob_normalised" if knowledge else f"{prefix}_Q_A_Prob", "prob"),
        "rouge_l_recall": (f"{prefix}_Q_A_ROUGE", "rougeL_recall"),
        "truth_ratio": (FORGET_TRUTH_RATIO if forget else f"{prefix}_Truth_Ratio", "score"),
    }
    if forget:
        names |= {
            "extraction_strength": ("extraction_strength", "score"),
            "exact_memorisation": ("exact_memorization", "score"),
        }
    entries = {
        theirs: _metric_entry(metrics[ours], field) for ours, (theirs, field) in names.items() if ours in metrics
    }
    entries |= _loss_entries(split.losses, prefix)
    if "probability" in metrics and not split.losses and not knowledge:
        entries[f"{prefix}_Q_A_Prob"] = _with_losses(entries[f"{prefix}_Q_A_Prob"])
    if split.generated and f"{prefix}_Q_A_ROUGE" in entries:
        by_index = entries[f"{prefix}_Q_A_ROUGE"]["value_by_index"]
        for (_, row), text in zip(by_index.items(), split.generated, strict=True):
            row["generation"] = text
    return entries


def _metric_entry(metric: MetricResult, field: str) -> Entry:
    by_index = {str(i): {field: value} for i, value in zip(metric.row_indices, metric.per_example, strict=True)}
    return {"agg_value": metric.value, "value_by_index": by_index}


def _with_losses(entry: Entry) -> Entry:
    """Add the loss that a probability stands for; none where it is too small for a float."""
    rows = {
        index: row | ({"avg_loss": -math.log(row["prob"])} if row["prob"] > 0 else {})
        for index, row in entry["value_by_index"].items()
    }
    return entry | {"value_by_index": rows}


def _loss_entries(losses: Sequence[AnswerLosses], prefix: str) -> dict[str, Entry]:
    """Return the probabilities of answers, of paraphrased and of wrong ones, of the rows that have them."""
    answers: dict[str, dict[int, tuple[float, ...]]] = {
        f"{prefix}_Q_A_Prob": {i: (row.answer,) for i, row in enumerate(losses)},
        f"{prefix}_Q_A_PARA_Prob": {
            i: (row.paraphrased_answer,) for i, row in enumerate(losses) if row.paraphrased_answer is not None
        },
        f"{prefix}_Q_A_PERT_Prob": {i: row.perturbed_answer for i, row in enumerate(losses) if row.perturbed_answer},
    }
    return {name: _probability_entry(rows) for name, rows in answers.items() if rows}


def _probability_entry(losses: Mapping[int, Sequence[float]]) -> Entry:
    """Return a metric whose value is the mean over rows of each row's mean probability."""
    probabilities = {i: [math.exp(-loss) for loss in row] for i, row in losses.items()}
    by_index = {
        str(i): {"prob": _one_or_all(probabilities[i]), "avg_loss": _one_or_all(row)} for i, row in losses.items()
    }
    return {"agg_value": mean([mean(row) for row in probabilities.values()]), "value_by_index": by_index}


def _one_or_all(values: Sequence[float]) -> float | list[float]:
    return values[0] if len(values) == 1 else list(values)
