"""``unlogit sweep``: every alpha, filter_rate and rule of a grid from one pass, the best picked on rows apart."""

import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import sectioned, updated
from unlogit.settings.flags import add_options, new_parser
from unlogit.settings.options import CombinationOptions, RunConfig, SweepOptions
from unlogit.terminal import warn


def parser() -> Any:
    """What the command line takes."""
    command = new_parser(
        "sweep",
        "RUN [options]",
        "Score every combination of a grid from one pass of target and assistant, without generating anything; pick "
        "the best on a validation part of the rows, by a retain model or, without one, by how the target finds answers "
        "about made-up people; show all on the others. Writes RUN/sweep.json, RUN/sweep.csv and "
        "RUN/sweep.png; the run's settings stay as they are, unless --apply is given.",
        (
            "runs/mine --retain_model RETAIN_MODEL",
            "runs/mine --retain_model RETAIN_MODEL --max_rows 100 --apply",
            "runs/mine --alphas 0.5,0.6,0.7 --filter_rates 0,0.01 --rules centred,suppress",
        ),
    )
    command.add_argument("run", metavar="RUN", type=str, help="Run folder with an unlearned model.")
    command.add_argument("--retain_model", type=str, help="Model trained without the forget set, or its results.json.")
    command.add_argument("--max_rows", type=int, help="Use only the first N rows of each split; 0 means all.")
    command.add_argument("--batch_size", type=int, help="Rows scored at once.")
    command.add_argument(
        "--samples", type=int, help="Answers drawn to each forget row, for leak@k of what is picked; 0: none."
    )
    command.add_argument("--apply", action="store_true", help="Let the run combine as picked from now on.")
    add_options(command, SweepOptions)
    return command


def run(given: dict[str, Any]) -> None:
    """Sweep, print the table, and say what to do next."""
    from unlogit.report.plots import front_plot, save_if_possible
    from unlogit.report.print_table import print_table
    from unlogit.report.sweep_table import sweep_table
    from unlogit.runs.combine import combine_run
    from unlogit.runs.sweep import memorisation_warning, sweep_run, write_sweep

    folder = RunFolder(Path(given["run"]))
    stored_config = folder.current_config()
    config = updated(stored_config, sectioned(given, "evaluate"))
    names = {field.name for field in fields(SweepOptions)}
    options = SweepOptions(**{name: value for name, value in given.items() if name in names})
    sweep = sweep_run(folder, config, options)
    no_plot = save_if_possible(lambda: front_plot(sweep), folder.sweep.with_suffix(".png"))
    write_sweep(folder, sweep, config, options)
    picked = sweep.picked.combination
    print_table(sweep_table(sweep))
    plot = "without a plot" if no_plot else f"the plot is {folder.sweep.with_suffix('.png')}"
    print(f"All {len(sweep.rows)} are in {folder.sweep} and {folder.sweep.with_suffix('.csv').name}, {plot}.")
    if no_plot:
        warn(no_plot)
    if message := memorisation_warning(sweep):
        warn(message)
    if given.get("apply", False):
        combine_run(folder, picked)
        print(f"{folder.path} combines so from now on.")
    next_line = next_command(folder, stored_config, config, options, picked)
    print(f"Next, with generated answers and model utility: {next_line}")


def next_command(
    folder: RunFolder, stored_config: RunConfig, config: RunConfig, options: SweepOptions, picked: CombinationOptions
) -> str:
    """Return the command line that evaluates what was picked on the rows that did not choose it.

    ``stored_config`` are the settings that stand in the run folder; what was given instead is given again.
    """
    arguments = ["unlogit", "evaluate", str(folder.path)]
    arguments += ["--alpha", f"{picked.alpha}", "--rule", picked.rule, "--filter_rate", f"{picked.filter_rate}"]
    arguments += ["--part", "test"]
    for name in ("retain_model", "max_rows"):
        if (value := getattr(config.evaluate, name)) != getattr(stored_config.evaluate, name):
            arguments += [f"--{name}", f"{value}"]
    if stored_config.pick.enabled:
        arguments += ["--pick.enabled", "false"]
    if options.validation_fraction != stored_config.pick.validation_fraction:
        arguments += ["--pick.validation_fraction", f"{options.validation_fraction}"]
    return shlex.join(arguments)
