"""Evaluating a run: its target, retain model and unlearned model on its rows. Writes results, and what judged them.

The unlearned model is scored as it is stored (``RunFolder.combination``), or as it is asked to combine this once; what
is picked is scored beside it and not stored. ``runs.combine`` stores a combination.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unlogit.evaluate.results import Results
from unlogit.files import write_json
from unlogit.model.loading import load_target, load_tokenizer, load_unlearned, model_place
from unlogit.runs.checks import check_evaluation, check_pick
from unlogit.runs.digests import changes, record_retain_model
from unlogit.runs.evaluate import EvaluationRows, Scorer, combination_words, other_results
from unlogit.runs.folder import RunFolder
from unlogit.runs.results import RETAIN, RunResults, given_out_warning, with_aggregates, write_run_open_unlearning
from unlogit.settings.config_file import record
from unlogit.settings.options import CombinationOptions, RunConfig
from unlogit.training.recipe import combines

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found and where it was written."""

    results: RunResults
    path: Path
    notes: Mapping[str, str] = field(default_factory=dict)
    """How each model was made, in a few words."""
    picked: CombinationOptions | None = None
    """What was picked, if that was asked for."""
    warning: str = ""
    """Where what was picked still gives out forget answers."""
    open_unlearning: Path | None = None
    """Folder of OpenUnlearning's files, if these were asked for."""


def evaluate_run(folder: RunFolder, config: RunConfig, *, target: str = "") -> Evaluated:
    """Score the models of a run and write ``results.json`` (and with ``pick``, ``pick.json``).

    Args:
        folder: a run with an unlearned model; neither that nor config.yaml is changed.
        config: its settings; ``config.combination`` is how the unlearned model combines this once.
        target: where the target is, taken or refused; empty for ``config.target``, or where that is gone, for where it
            was when the assistant was trained.

    Raises:
        ConfigError: a setting is wrong, or the rows are not those that the assistant was trained beside.
        DataError: rows are missing, or the retain model's results are of other rows.
        ModelError: a model is missing, or the target is not the assistant's.
    """
    check_evaluation(config.evaluate, config.pick)
    check_pick(config)
    for name in filter(None, (str(folder.path), target)):
        model_place(name)  # an error now, not after the retain model was scored
    folder.check_rows()
    for line in changes(folder, config):
        log.warning(line)
    record_retain_model(folder, config)
    rows = EvaluationRows.read(folder, config)
    scorer = Scorer(config, rows)
    scorer.score_retain()  # and let go of, before the others are loaded: never two models in memory
    score_own = _score_combined if combines(config.train.objective) else _score_full_model
    models, notes, picked = score_own(folder, config, scorer, target)
    if scorer.retain.shown is not None:
        first = {"target": models["target"]} if "target" in models else {}
        models = first | {RETAIN: scorer.retain.shown} | models
    if picked is not None:
        write_json(folder.pick, picked.to_json())
    trainings = folder.trainings(config)
    if "picked" in models and "unlearned" in trainings:
        trainings["picked"] = trainings["unlearned"]
    models = with_aggregates(models)
    results = RunResults(models, record(config), "test" if rows.validation else "all", trainings)
    return _written(results, folder.results, notes, None if picked is None else picked.combination)


def _written(
    results: RunResults, path: Path, notes: Mapping[str, str], picked: CombinationOptions | None = None
) -> Evaluated:
    results.write(path)
    files = write_run_open_unlearning(results, path) if results.config["evaluate"]["open_unlearning"] else None
    warning = _leak_warning(results.models) if picked is not None else ""
    return Evaluated(results, path, notes, picked, warning, files)


def _leak_warning(models: Mapping[str, Results]) -> str:
    """Say where what was picked still gives out the forget answers, if target and retain model say what to expect."""
    memorised = [
        models[name].splits["forget"].metrics["exact_memorisation"].value
        for name in ("picked", "target", RETAIN)
        if name in models
    ]
    return given_out_warning(*memorised) if len(memorised) == 3 else ""


def _score_combined(
    folder: RunFolder, config: RunConfig, scorer: Scorer, target: str
) -> tuple[Any, dict[str, str], Any]:
    """Score a target and its branches as combined, and as picked.

    Returns:
        Results by model, how they were combined, and what was picked (or None).
    """
    tokenizer = load_tokenizer(str(folder.unlearned))
    target_path = target or (config.target if Path(config.target).is_dir() else "")
    model = load_unlearned(str(folder.path), target_path, scorer.dtype)
    model.combination = config.combination
    models = {"target": scorer.score("target", model.target, tokenizer)} if config.evaluate.with_target else {}
    models["unlearned"] = scorer.score("unlearned model", model, tokenizer, config.combination)
    notes = {"unlearned": combination_words(config.combination)}
    picked = None
    if config.pick.enabled:
        picked = scorer.pick(model, tokenizer)
        model.combination = picked.combination
        models["picked"] = scorer.score("picked combination", model, tokenizer, picked.combination)
        notes["picked"] = combination_words(picked.combination)
    return models, notes, picked


def _score_full_model(
    folder: RunFolder, config: RunConfig, scorer: Scorer, target: str
) -> tuple[Any, dict[str, str], None]:
    """Score the target, and an unlearned model that is one of its own; there is nothing to combine."""
    models = {}
    if config.evaluate.with_target:
        model_path = target or config.target
        models["target"] = scorer.score("target", load_target(model_path, scorer.dtype), load_tokenizer(model_path))
    model_path = str(folder.unlearned)
    models["unlearned"] = scorer.score(
        "unlearned model", load_target(model_path, scorer.dtype), load_tokenizer(model_path)
    )
    return models, {"unlearned": f"full-model unlearning by {config.train.objective}"}, None


def evaluate_other(folder: RunFolder, config: RunConfig, name: str) -> Evaluated:
    """Score a model that is not the run's on the run's rows, into a file beside results.json.

    Raises:
        ConfigError, DataError, ModelError: as ``evaluate_run``.
    """
    config = replace(config, pick=replace(config.pick, enabled=False))
    check_evaluation(config.evaluate, config.pick)
    scorer = Scorer(config, EvaluationRows.read(folder, config))
    model, tokenizer = load_target(name, scorer.dtype), load_tokenizer(name)
    scorer.score_retain()
    models = {} if scorer.retain.shown is None else {RETAIN: scorer.retain.shown}
    models[name] = scorer.score("model", model, tokenizer)
    return _written(RunResults(with_aggregates(models), record(config)), other_results(folder, name), {})
