"""Sweeping a run: its rows and models, and the files that come of it.

    RUN/sweep.json  every combination with its figures, the settings, what was picked
    RUN/sweep.csv   the same, a line for each combination

The rows that choose are those of ``unlogit evaluate --pick.enabled true``. What is measured is the business of
``evaluate.sweep``.
"""

import csv
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unlogit.data.content_words import common_words
from unlogit.data.examples import Example
from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.evaluate import draw_samples
from unlogit.evaluate.metrics.leak_at_k import leak_at_k
from unlogit.evaluate.metrics.truth_ratio import score_truth_ratios
from unlogit.evaluate.pick import RetainReference, answers_only, of_split
from unlogit.evaluate.results import Results, TruthRatios
from unlogit.evaluate.scoring.sampling import COMMON_FRACTION
from unlogit.evaluate.scoring.score import Score, score_examples
from unlogit.evaluate.sweep import SWEEP_SPLITS, Sweep, figures, sweep_combinations, sweep_grid
from unlogit.files import atomic_file, write_json
from unlogit.model.loading import load_target, load_tokenizer, load_unlearned, model_place
from unlogit.runs.checks import check_evaluation, retain_log
from unlogit.runs.evaluate import NO_WRONG_ANSWERS, EvaluationRows, Scorer, stand_in
from unlogit.runs.folder import RunFolder
from unlogit.runs.results import RETAIN, given_out_warning, load_retain
from unlogit.settings.config_file import plain, record
from unlogit.settings.options import EvaluateOptions, PickOptions, RunConfig, SweepOptions
from unlogit.terminal import scoring_bar
from unlogit.training.recipe import combines

log = logging.getLogger(__name__)

FORMAT = "unlogit sweep 1"
"""Stands in sweep.json; another number means that the fields changed."""


def sweep_run(folder: RunFolder, config: RunConfig, options: SweepOptions) -> Sweep:
    """Score the grid on a run's rows; writes nothing.

    Raises:
        ConfigError: the grid or a setting is wrong, or nothing is combined in this run.
        DataError: rows are missing, or the retain model's results are of other rows.
        ModelError: a model is missing, or the target is not the assistant's.
    """
    grid = sweep_grid(options)
    config = replace(config, pick=PickOptions(enabled=True, validation_fraction=options.validation_fraction))
    _check(folder, config)
    rows = EvaluationRows.read(folder, config)
    for rows_ in (rows.validation, rows.scored):
        if not any(row.perturbed_answer for row in rows_["forget"]):
            raise DataError(NO_WRONG_ANSWERS)
    test = {**rows.scored, "neutral": rows.neutral}
    dtype = Scorer(config, rows).dtype
    common = common_words(test["retain"], COMMON_FRACTION)

    def leaks_of(model: Any, tokenizer: Any) -> dict[str, float]:
        return _leaks(model, tokenizer, test["forget"], config.evaluate, common)

    retain: RetainReference
    retain_scores: dict[str, list[Score]] | None = None
    leaks: dict[str, dict[str, float]] = {}
    if config.evaluate.retain_model:  # it is let go of: never two models in memory
        retain, retain_scores, leaks = _retain(config, rows.validation, test, dtype, leaks_of)
    target_path = config.target if Path(config.target).is_dir() else ""
    model, tokenizer = load_unlearned(str(folder.path), target_path, dtype), load_tokenizer(str(folder.unlearned))
    if not config.evaluate.retain_model:
        forget = [*rows.validation["forget"], *test["forget"]]
        retain = stand_in(model.target, tokenizer, forget, config)
    log.info(f"Scoring {len(grid)} combinations: {_counts(rows.validation)} choose, {_counts(test)} judge.")
    with scoring_bar("sweep") as progress:
        sweep = sweep_combinations(
            model,
            tokenizer,
            rows.validation,
            test,
            retain,
            grid,
            batch_size=config.evaluate.batch_size,
            progress=progress,
            retain_scores=retain_scores,
        )
    if config.evaluate.samples:
        leaks = {"target": leaks_of(model.target, tokenizer)} | leaks
        model.combination = sweep.picked.combination
        leaks["picked"] = leaks_of(model, tokenizer)
    return replace(sweep, leaks=leaks)


def _leaks(
    model: Any, tokenizer: Any, forget: Sequence[Example], options: EvaluateOptions, common: frozenset[str]
) -> dict[str, float]:
    """Return Leak@k of a model on forget rows by metric."""
    if not options.samples:
        return {}
    log.info(f"Drawing {options.samples} answers to each of {len(forget)} forget rows.")
    scores = score_examples(model, tokenizer, forget, batch_size=options.batch_size, generate=False)
    with scoring_bar("leak@k") as progress:
        scores = draw_samples(model, tokenizer, forget, scores, options, common, progress)
    return {name: metric.value for name, metric in leak_at_k(scores).items()}


def _check(folder: RunFolder, config: RunConfig) -> None:
    """Refuse what cannot be swept before anything is loaded."""
    if not combines(config.train.objective):
        raise ConfigError(
            f"{folder.path} was trained with {config.train.objective}, full-model unlearning: nothing is combined; "
            "expected a run with an assistant: use `unlogit evaluate`"
        )
    check_evaluation(config.evaluate, config.pick)
    model_place(str(folder.path))
    folder.check_rows()


def _retain(
    config: RunConfig,
    validation: Mapping[str, list[Any]],
    test: Mapping[str, list[Any]],
    dtype: str,
    leaks_of: Callable[[Any, Any], dict[str, float]],
) -> tuple[Results | TruthRatios, dict[str, list[Score]] | None, dict[str, dict[str, float]]]:
    """Return the retain model's truth ratios on the forget rows of both parts, its scores of the test rows, its leaks.

    Where results stand for the model, there are no scores and no leaks.
    """
    name = config.evaluate.retain_model
    if (results_file := retain_log(name)) is not None:
        return load_retain(results_file), None, {}
    model, tokenizer = load_target(name, dtype), load_tokenizer(name)
    usable = [[row for row in rows_["forget"] if row.perturbed_answer] for rows_ in (validation, test)]
    rows = {"forget": [*usable[0], *usable[1]]} | {split: answers_only(test[split]) for split in SWEEP_SPLITS[1:]}
    log.info(f"Scoring the retain model on {_counts(rows)}.")
    scores = {}
    with scoring_bar(RETAIN) as progress:
        for split, examples in rows.items():
            scores[split] = score_examples(
                model,
                tokenizer,
                examples,
                batch_size=config.evaluate.batch_size,
                generate=False,
                progress=of_split(progress, split),
            )
    needed = score_truth_ratios(name, rows["forget"], scores["forget"])
    leaks = leaks_of(model, tokenizer)
    test_scores = scores | {"forget": scores["forget"][len(usable[0]) :]}
    return needed, test_scores, {RETAIN: leaks} if leaks else {}


def _counts(rows: Mapping[str, Any]) -> str:
    """Say how many rows of each split there are."""
    counts = [f"{len(rows[split])} {split}" for split in SWEEP_SPLITS if rows.get(split)]
    return f"{', '.join(counts[:-1])} and {counts[-1]} rows"


def write_sweep(folder: RunFolder, sweep: Sweep, config: RunConfig, options: SweepOptions) -> None:
    """Write the lines as CSV and everything as JSON, each whole or not at all."""
    with atomic_file(folder.sweep.with_suffix(".csv")) as temporary:
        temporary.write_text(sweep_csv(sweep), encoding="utf-8")
    settings = record(config) | {"sweep": plain(asdict(options))}
    write_json(folder.sweep, {"format": FORMAT, "config": settings, **sweep.to_json()})


def sweep_csv(sweep: Sweep) -> str:
    """Return a line for each combination under a heading, the target (alpha 0) first."""
    columns = ("validation", "test")
    names = list(figures(sweep.target.test))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(
        ["rule", "alpha", "filter_rate", "picked", "front", *(f"{group}_{name}" for group in columns for name in names)]
    )
    front = set(sweep.front())
    for row in (sweep.target, *sweep.rows):
        tree = row.to_json()
        rule = "target" if row is sweep.target else row.combination.rule
        flags = [int(row is sweep.picked), int(row in front)]
        values = [tree[group][name] for group in columns for name in names]
        writer.writerow([rule, row.combination.alpha, row.combination.filter_rate, *flags, *values])
    return lines.getvalue()


def memorisation_warning(sweep: Sweep) -> str:
    """Return one line where forget answers are still given out by what was picked; else an empty string."""
    picked, target = (row.test.forget_exact_memorisation for row in (sweep.picked, sweep.target))
    retain = sweep.retain_model.get("forget_exact_memorisation")
    return "" if retain is None else given_out_warning(picked, target, retain)
