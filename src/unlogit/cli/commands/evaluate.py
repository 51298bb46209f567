"""``unlogit evaluate``: what was forgotten and what was kept, beside target and retain model."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from unlogit.errors import ConfigError
from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import plain, sectioned, updated
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import CombinationOptions, EvaluateOptions, PickOptions, RunConfig
from unlogit.terminal import console, warn


def parser() -> Any:
    """What the command line takes."""
    new = new_parser(
        "evaluate",
        "RUN [options]",
        "Score the unlearned model of a run, its target and its retain model, print one table and write "
        "RUN/results.json. Flags go before the settings in RUN/config.yaml, and are written there. alpha, "
        "filter_rate and rule need no training; with --pick.enabled they are chosen on rows that are not scored.",
        (
            "runs/mine --retain_model RETAIN_MODEL",
            "runs/mine --retain_model RETAIN_MODEL --pick.enabled true",
            "runs/mine --model OTHER_MODEL --max_rows 100",
        ),
    )
    new.add_argument("run", metavar="RUN", type=str, help="Run folder with an unlearned model.")
    new.add_argument("--model", type=str, help="Score this model (folder or hub id) on the run's rows instead.")
    new.add_argument("--target", type=str, help="Where the target is now, if it has moved.")
    add_options(new, EvaluateOptions)
    add_options(new, CombinationOptions)
    add_options(new, PickOptions, "pick")
    return new


def run(given: dict[str, Any]) -> None:
    """Score, print the table, and say where the results are."""
    from unlogit.objectives import OBJECTIVES

    folder = RunFolder(Path(given["run"]))
    tree = sectioned(given, "evaluate", "combination")
    config = updated(folder.read_config(), tree)
    if "model" in given:
        if "target" in given:
            raise ConfigError("--model and --target were given; expected one: --target is of the run's own model")
        evaluate_other(folder, config, given["model"])
    else:
        if tree.get("combination") and OBJECTIVES[config.train.objective] == "weights":
            raise ConfigError(
                f"{', '.join(tree['combination'])} given, and {config.train.objective} rewrote the weights of this "
                "run: nothing is combined; leave it out"
            )
        evaluate_run(folder, config, target=given.get("target", ""))


def evaluate_run(
    folder: RunFolder,
    config: RunConfig,
    *,
    target: str = "",
) -> None:
    """Score the models of a run, print their table, and write ``results.json`` (and with ``pick``, ``pick.json``).

    Args:
        folder: a run with an unlearned model.
        config: its settings; written into the folder. The unlearned model combines by ``config.combination`` from
            now on, and with ``pick`` as was picked: config.yaml then holds that, and results.json holds both.
        target: where the target is, taken or refused; empty for ``config.target``, or where that is gone, for where it
            was when the assistant was trained.

    Raises:
        ConfigError: a setting is wrong, or the rows are not those that the assistant was trained beside.
        DataError: rows are missing, or the retain model's results are of other rows.
        ModelError: a model is missing, or the target is not the assistant's.
    """
    from unlogit.files import write_json
    from unlogit.model.loading import model_place
    from unlogit.model.logit_difference import check_combination
    from unlogit.objectives import OBJECTIVES
    from unlogit.runs import evaluate as runs
    from unlogit.runs.results import RETAIN, RunResults
    from unlogit.settings.checks import check_evaluation, check_pick

    check_evaluation(config.evaluate, config.pick)
    check_pick(config)
    combination = config.combination
    check_combination(combination.rule, combination.alpha, combination.filter_rate)
    for name in filter(None, (str(folder.path), target)):
        model_place(name)  # an error now, not after the retain model was scored
    folder.check_rows()
    rows = runs.EvaluationRows.read(folder, config)
    scorer = runs.Scorer(config, rows)
    scorer.score_retain()  # and let go of, before the others are loaded: never two models in memory
    own = _score_rewritten if OBJECTIVES[config.train.objective] == "weights" else _score_combined
    found, notes, picked = own(folder, config, scorer, target)
    if scorer.retain.shown is not None:
        first = {"target": found["target"]} if "target" in found else {}
        found = first | {RETAIN: scorer.retain.shown} | found
    asked = config
    if picked is not None:
        write_json(folder.pick, picked.to_json())
        config = replace(config, combination=picked.combination)
    folder.write_config(config)
    if target:
        folder.move_target(target)
    trainings = folder.trainings(config)
    if "picked" in found and "unlearned" in trainings:
        trainings["picked"] = trainings["unlearned"]
    results = RunResults(found, plain(asdict(asked)), "test" if rows.validation else "all", trainings)
    _show(folder.results, results, notes)
    if picked is not None:
        print(f"The run combines as was picked from now on: {notes['picked']}. --alpha and the like change it again.")
        _warn_where_still_given_out(found)


def _warn_where_still_given_out(found: Mapping[str, Any]) -> None:
    """Warn where what was picked still gives out the forget answers, if target and retain model say what to expect."""
    from unlogit.runs.results import RETAIN, given_out_warning

    shares = [
        found[name].splits["forget"].metrics["exact_memorisation"].value
        for name in ("picked", "target", RETAIN)
        if name in found
    ]
    if len(shares) == 3 and (message := given_out_warning(*shares)):
        warn(message)


def _score_combined(folder: RunFolder, config: RunConfig, scorer: Any, target: str) -> tuple[Any, dict[str, str], Any]:
    """Score a target and its branches as combined, and as picked.

    Returns:
        Results by model, how they were combined, and what was picked (or None).
    """
    from unlogit.model.loading import load_tokenizer, load_unlearned
    from unlogit.runs import evaluate as runs

    tokenizer = load_tokenizer(str(folder.unlearned))
    place = target or (config.target if Path(config.target).is_dir() else "")
    model = load_unlearned(str(folder.path), place, scorer.dtype)
    runs.set_combination(model, config.combination)
    found = {"target": scorer.score("target", model.target, tokenizer)} if config.evaluate.with_target else {}
    found["unlearned"] = scorer.score("unlearned model", model, tokenizer, config.combination)
    notes = {"unlearned": runs.combination_words(config.combination)}
    picked = None
    if config.pick.enabled:
        picked = scorer.pick(model, tokenizer)
        runs.set_combination(model, picked.combination)
        found["picked"] = scorer.score("picked combination", model, tokenizer, picked.combination)
        notes["picked"] = runs.combination_words(picked.combination)
    folder.write_combination(config.combination if picked is None else picked.combination)
    return found, notes, picked


def _score_rewritten(
    folder: RunFolder, config: RunConfig, scorer: Any, target: str
) -> tuple[Any, dict[str, str], None]:
    """Score the target, and an unlearned model that is one of its own; there is nothing to combine."""
    from unlogit.model.loading import load_target, load_tokenizer

    found = {}
    if config.evaluate.with_target:
        place = target or config.target
        found["target"] = scorer.score("target", load_target(place, scorer.dtype), load_tokenizer(place))
    place = str(folder.unlearned)
    found["unlearned"] = scorer.score("unlearned model", load_target(place, scorer.dtype), load_tokenizer(place))
    return found, {"unlearned": f"weights rewritten by {config.train.objective}"}, None


def evaluate_other(folder: RunFolder, config: RunConfig, name: str) -> None:
    """Score a model that is not the run's on the run's rows, into a file beside results.json.

    Raises:
        ConfigError, DataError, ModelError: as ``evaluate_run``.
    """
    from unlogit.model.loading import load_target, load_tokenizer
    from unlogit.runs import evaluate as runs
    from unlogit.runs.results import RETAIN, RunResults
    from unlogit.settings.checks import check_evaluation

    config = replace(config, pick=replace(config.pick, enabled=False))
    check_evaluation(config.evaluate, config.pick)
    scorer = runs.Scorer(config, runs.EvaluationRows.read(folder, config))
    model, tokenizer = load_target(name, scorer.dtype), load_tokenizer(name)
    scorer.score_retain()
    found = {} if scorer.retain.shown is None else {RETAIN: scorer.retain.shown}
    found[name] = scorer.score("model", model, tokenizer)
    _show(runs.other_results(folder, name), RunResults(found, plain(asdict(config))), {})


def _show(path: Path, results: Any, notes: Mapping[str, str]) -> None:
    from unlogit.report.run_table import run_table
    from unlogit.runs.results import write_run_open_unlearning

    results.write(path)
    console().print(run_table(results, notes))
    print(f"The whole of it is in {path}.")
    if results.config["evaluate"]["open_unlearning"]:
        written = write_run_open_unlearning(results, path)
        print(f"TOFU_EVAL.json and TOFU_SUMMARY.json of each model, as OpenUnlearning writes them, are in {written}.")
