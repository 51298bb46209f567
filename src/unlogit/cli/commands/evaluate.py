"""``unlogit evaluate``: what was forgotten and what was kept, beside target and retain model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlogit.errors import ConfigError
from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import sectioned, updated
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import CombinationOptions, EvaluateOptions, PickOptions
from unlogit.terminal import warn

if TYPE_CHECKING:
    from unlogit.runs.evaluate_run import Evaluated


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "evaluate",
        "RUN [options]",
        "Score the unlearned model of a run, its target and its retain model, print one table and write "
        "RUN/results.json. No setting of the run changes: flags take precedence over RUN/config.yaml this once. "
        "alpha, filter_rate and rule need no training; with --pick.enabled they are chosen on rows not scored. "
        "`unlogit combine` stores them.",
        (
            "runs/mine --retain_model RETAIN_MODEL",
            "runs/mine --retain_model RETAIN_MODEL --pick.enabled true",
            "runs/mine --model OTHER_MODEL --max_rows 100",
        ),
    )
    command.add_argument("run", metavar="RUN", type=str, help="Run folder with an unlearned model.")
    command.add_argument("--model", type=str, help="Score this model (folder or hub id) on the run's rows instead.")
    command.add_argument("--target", type=str, help="Where the target is now, if it has moved.")
    add_options(command, EvaluateOptions)
    add_options(command, CombinationOptions)
    add_options(command, PickOptions, "pick")
    return command


def run(given: dict[str, Any]) -> None:
    """Score, print the table, and say where the results are."""
    from unlogit.runs.combine import check_combines
    from unlogit.runs.evaluate_run import evaluate_other, evaluate_run

    folder = RunFolder(Path(given["run"]))
    tree = sectioned(given, "evaluate", "combination")
    config = updated(folder.current_config(), tree)
    if "model" in given:
        if "target" in given:
            raise ConfigError("--model and --target were given; expected one: --target is of the run's own model")
        show_evaluated(evaluate_other(folder, config, given["model"]))
        return
    if tree.get("combination"):
        check_combines(folder, config, *tree["combination"])
    show_evaluated(evaluate_run(folder, config, target=given.get("target", "")))


def show_evaluated(evaluated: "Evaluated") -> None:
    """Print the table of an evaluation, where it is, and how to store what was picked."""
    from unlogit.report.print_table import print_table
    from unlogit.report.run_table import run_table

    print_table(run_table(evaluated.results, evaluated.notes))
    print(f"The whole of it is in {evaluated.path}.")
    if evaluated.open_unlearning:
        print(
            "TOFU_EVAL.json and TOFU_SUMMARY.json of each model, as OpenUnlearning writes them, are in "
            f"{evaluated.open_unlearning}."
        )
    if (picked := evaluated.picked) is not None:
        flags = f"--rule {picked.rule} --alpha {picked.alpha:g} --filter_rate {picked.filter_rate:g}"
        print(f"Nothing was changed. To store what was picked: unlogit combine {evaluated.path.parent} {flags}")
    if evaluated.warning:
        warn(evaluated.warning)
