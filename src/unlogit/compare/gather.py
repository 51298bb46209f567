"""From the runs of a comparison that have ended to its rows: everything is read, nothing is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from unlogit.compare.comparison import METHOD_KEYS, Comparison
from unlogit.compare.results import ComparisonResults, Row, costs_of, figures_of, uniform_kl_of
from unlogit.errors import DataError
from unlogit.evaluate.aggregate import aggregate
from unlogit.evaluate.evaluate import compare_with_retain
from unlogit.evaluate.metrics.knowledge_retention import knowledge_retention
from unlogit.evaluate.results import Results
from unlogit.evaluate.subset import on_rows
from unlogit.runs.results import RETAIN, RunResults
from unlogit.settings.config_file import plain, record

SHOWN = ("unlearned", "picked")
"""The models of a run that are rows: as its settings combine it, and as was picked."""


def gather(comparison: Comparison) -> ComparisonResults:
    """Return a row for target and retain model, and for each method, seed and combination that was measured.

    Raises:
        DataError: runs were scored on other rows than each other, or results cannot be read.
    """
    finished = comparison.finished()
    runs = {key: RunResults.read(folder.results) for key, folder in finished.items()}
    reference = RunResults.read(comparison.reference.results)
    rows = _common_rows({f"{name}, seed {seed}": run for (name, seed), run in runs.items()})
    top = {name: on_rows(model, rows) if rows else model for name, model in reference.models.items()}
    if RETAIN in top and "truth_ratio" in top["target"].splits["forget"].metrics:
        quality = compare_with_retain(top["target"], top[RETAIN])
        top["target"] = replace(top["target"], forget_quality=quality)
    table = [
        Row(name, figures=_figures(model, top), costs=costs_of(reference.training.get(name)))
        for name, model in top.items()
    ]
    for (name, seed), results in runs.items():
        table += _rows_of(name, seed, results, top, finished[name, seed].read_path())
    missing = aggregate(top["target"], top["target"], top.get(RETAIN)).missing
    return ComparisonResults(tuple(table), _about(comparison, top["target"]) | {"aggregate_lacks": list(missing)})


def _figures(results: Results, top: Mapping[str, Results]) -> dict[str, float]:
    """All metrics, how many of the target's right answers to general questions are left, and the aggregate.

    ``top`` are target and retain model.
    """
    target = top["target"]
    combined = aggregate(results, target, top.get(RETAIN)).figures()
    return figures_of(results) | knowledge_retention(results, target) | combined


def _rows_of(
    name: str, seed: int, results: RunResults, top: Mapping[str, Results], path: Sequence[Mapping[str, Any]]
) -> list[Row]:
    training = results.training.get("unlearned")
    return [
        Row(
            name,
            seed,
            model_results.config.get("combination"),
            picked=model == "picked",
            figures=_figures(model_results, top) | uniform_kl_of(training),
            costs=costs_of(training),
            path=tuple(path) if model == "unlearned" else (),
        )
        for model, model_results in results.models.items()
        if model in SHOWN
    ]


def _common_rows(runs: Mapping[str, RunResults]) -> dict[str, tuple[str, ...]]:
    """Return the digests of the rows that all runs were scored on, by split; nothing where there are no runs."""
    common_rows: dict[str, tuple[str, ...]] = {}
    for name, run in runs.items():
        run_rows = {split: split_result.rows for split, split_result in run.models["unlearned"].splits.items()}
        if common_rows and run_rows != common_rows:
            raise DataError(
                f"the run {name} was scored on other rows than the ones before it; expected the same for all: give "
                "all methods the same data.seed and evaluation settings, and compare them --again"
            )
        common_rows = run_rows
    return common_rows


def _about(comparison: Comparison, target: Results) -> dict[str, Any]:
    methods = {
        method.name: {"seeds": list(method.seeds)}
        | {section: asdict(getattr(method.config, section)) for section in METHOD_KEYS}
        for method in comparison.methods
    }
    return {
        "config": record(comparison.base),
        "methods": plain(methods),
        "rows": {split: len(split_result.rows) for split, split_result in target.splits.items()},
        "machine": target.machine,
        "versions": dict(target.versions),
    }
